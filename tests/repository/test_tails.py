"""Tails: whatever was cut, merged, removed or hurt, the reader gives the true bytes and zeros, or an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt, ObjectMissing, UsageError, WalMismatch
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from pgvault.repository.tails import (
    Span,
    TailInfo,
    chain,
    covered_to,
    list_tails,
    put_tail,
    read_promised,
    read_tail,
    read_tails,
    remove_tails,
)
from pgvault.repository.walindex import read_inventory
from pgvault.repository.walobjects import WalInfo, WalOutcome, put_wal
from tests.fakes import MemoryStore

SYSTEM = 7501234567890123456
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SEGMENT = WalSegment(1, 7, MIB)
# Words of 8 bytes as records have them: some are zeros, none is all that was written last.
TRUE_BYTES = b"".join(
    bytes(8) if number % 5 == 3 else number.to_bytes(8, "little") for number in range(1, 513)
) + bytes(MIB - 4096)


def put(repository: Repository, start: int, end: int, content: bytes = TRUE_BYTES) -> WalOutcome:
    piece = content[start:end]
    info = TailInfo(SEGMENT, start, end, SYSTEM, hashlib.sha256(piece).digest(), AT)
    return put_tail(repository, "main", info, content=piece)


def put_whole(repository: Repository, content: bytes = TRUE_BYTES) -> None:
    digest = hashlib.sha256(content).digest()
    info = WalInfo(SEGMENT.name, len(content), digest, SYSTEM, 1, SEGMENT.start_lsn, AT, AT)
    put_wal(repository, "main", info, content=content)


def stored(repository: Repository) -> tuple[Span, ...]:
    return list_tails(repository, "main", SYSTEM, SEGMENT)


def read(repository: Repository) -> bytes:
    return read_tails(repository, "main", SYSTEM, SEGMENT, chain(stored(repository)))


def until(end: int) -> bytes:
    """The truth, as far as `end`."""
    return TRUE_BYTES[:end] + bytes(MIB - end)


def written_end(offset: int) -> int:
    """Where a tail ends when so many bytes were received."""
    end = len(TRUE_BYTES[:offset].rstrip(b"\0"))
    return end + -end % 8


offsets = st.integers(1, 512).map(lambda words: written_end(words * 8))


@settings(deadline=None, max_examples=150)
@given(steps=st.lists(st.tuples(st.sampled_from(["new", "again", "merge", "whole", "drop"]), offsets), max_size=14))
def test_the_reader_gives_a_prefix_of_the_truth(
    repository_factory: Callable[[], Repository], steps: list[tuple[str, int]]
) -> None:
    """Of any history of writes, merges and removals: all that was ever covered, then zeros, and nothing else."""
    repository = repository_factory()
    covered = 0
    for step, offset in steps:
        if step == "new" and offset > covered:
            put(repository, covered, offset)
        elif step == "again" and covered:
            put(repository, min(offset, covered) // 16 * 8, covered)
        elif step == "merge" and offset > covered:
            span = Span(min((span.start for span in stored(repository)[-3:]), default=0), offset)
            put(repository, span.start, span.end)
            remove_tails(repository, "main", SYSTEM, SEGMENT, within=span)
        elif step == "whole":
            put(repository, 0, max(offset, covered))
        elif step == "drop" and stored(repository):
            put(repository, 0, max(offset, covered))
            remove_tails(repository, "main", SYSTEM, SEGMENT, within=Span(0, max(offset, covered)))
        covered = max(covered, covered_to(stored(repository)))

    assert covered == covered_to(stored(repository))
    inventory = read_inventory(repository, "main", SYSTEM, segment_size=MIB)
    if covered > 40:
        assert read(repository) == until(covered)
        assert inventory.tails == {SEGMENT: SEGMENT.start_lsn + covered}
        assert inventory.tail_spans == {SEGMENT: chain(stored(repository))}
    else:
        assert inventory.tails == {}


spans = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: Span(pair[0], sum(pair))), max_size=8
)


@settings(max_examples=300)
@given(found=spans)
def test_a_chain_is_the_fewest_spans_without_a_hole(found: list[Span]) -> None:
    """Against an oracle that paints bytes and tries all choices."""
    painted = {byte for span in found for byte in range(span.start, span.end)}
    end = next(byte for byte in range(99) if byte not in painted)
    links = chain(found)

    assert covered_to(found) == end
    assert set(links) <= set(found)
    assert {byte for span in links for byte in range(span.start, span.end)} == set(range(end))
    fewer = (choice for count in range(len(links)) for choice in combinations(set(found), count))
    assert not any(
        {byte for span in few for byte in range(span.start, span.end)} >= set(range(end)) for few in fewer if end
    )


def test_the_same_tail_again_is_no_error_another_content_is(repository: Repository) -> None:
    """One name, one content: what a retry puts is there already, what another server wrote is refused for ever."""
    assert put(repository, 0, 96) is WalOutcome.STORED
    assert put(repository, 0, 96) is WalOutcome.ALREADY
    with pytest.raises(WalMismatch, match=r"000000010000000000000007\.tail/00000000-00000060"):
        put(repository, 0, 96, content=b"x" * MIB)
    assert read(repository) == until(96)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (8, 8), (16, 8), (0, 97), (4, 96), (0, MIB + 8)])
def test_a_span_that_no_tail_has_is_refused(repository: Repository, start: int, end: int) -> None:
    """Empty, backwards, not aligned, or longer than the segment."""
    with pytest.raises(UsageError):
        put(repository, start, end, content=b"x" * (MIB + 8))


def test_zeros_at_the_end_are_refused(repository: Repository) -> None:
    """Then the name would promise bytes of which nobody knows whether they were written."""
    end = next(word * 8 for word in range(1, 512) if not any(TRUE_BYTES[word * 8 - 8 : word * 8]))
    with pytest.raises(UsageError, match="ends in zeros"):
        put(repository, 0, end)


@pytest.mark.parametrize(
    "name",
    ["00000000-00000007", "00000000-0000000g", "00000008-00000008", "0-8", "00000000-00100008", "0000000A-00000010"],
)
def test_strange_names_are_passed_over(repository: Repository, store: MemoryStore, name: str) -> None:
    """A stray object takes nothing away from what is there."""
    put(repository, 0, 96)
    store.objects[f"{layout.tails('main', SYSTEM, SEGMENT.name)}/{name}"] = b"?"

    assert stored(repository) == (Span(0, 96),)
    assert read_inventory(repository, "main", SYSTEM, segment_size=MIB).tails == {SEGMENT: SEGMENT.start_lsn + 96}


def test_what_lies_behind_a_hole_means_nothing(repository: Repository) -> None:
    """A chain ends at the first hole; asked to read over it, the reader refuses."""
    put(repository, 0, 96)
    put(repository, 104, 208)

    assert covered_to(stored(repository)) == 96
    assert read(repository) == until(96)
    with pytest.raises(ObjectMissing, match="bytes 96 to 104"):
        read_tails(repository, "main", SYSTEM, SEGMENT, stored(repository))
    with pytest.raises(ObjectMissing):
        read_tails(repository, "main", SYSTEM, SEGMENT, ())


def test_tails_that_disagree_are_refused(repository: Repository) -> None:
    """Two servers on one timeline: nobody knows whose bytes are right."""
    put(repository, 0, 96)
    put(repository, 48, 208, content=TRUE_BYTES[:80] + b"!" * MIB)

    with pytest.raises(ObjectCorrupt, match="not what another tail says"):
        read(repository)


def test_damaged_missing_and_swapped_tails_are_refused(repository: Repository, store: MemoryStore) -> None:
    """Every one of a chain is opened under its own name."""
    put(repository, 0, 96)
    put(repository, 96, 208)
    put(repository, 104, 216)
    names = sorted(name for name in store.objects if ".tail/" in name)
    good = dict(store.objects)

    for hurt in (good[names[1]][:-1], good[names[1]][:200] + b"!" + good[names[1]][201:], good[names[2]], b""):
        store.objects[names[1]] = hurt
        with pytest.raises(ObjectCorrupt):
            read_tails(repository, "main", SYSTEM, SEGMENT, (Span(0, 96), Span(96, 208)))
    del store.objects[names[1]]
    with pytest.raises(ObjectMissing):
        read_tail(repository, "main", SYSTEM, SEGMENT, span=Span(96, 208))


def test_an_info_frame_of_another_tail_is_refused() -> None:
    """Every field that says what the bytes are is compared or read strictly."""
    info = TailInfo(SEGMENT, 8, 96, SYSTEM, bytes(32), AT, AT)
    text = info.encode().decode()
    assert TailInfo.decode(text.encode(), SEGMENT, where="x") == info

    for old, new in [
        ('"from": 8', '"from": 16'),
        ('"length": 88', '"length": 87'),
        ("000000010000000000000007", "000000010000000000000008"),
        ('"start_lsn": "0/700000"', '"start_lsn": "0/600000"'),
        ('"to": 96', '"to": "96"'),
        ('"server_at": "', '"server_at": "x'),
        ('"sha256"', '"sha"'),
        ("{", "["),
    ]:
        assert old in text
        with pytest.raises(ObjectCorrupt):
            TailInfo.decode(text.replace(old, new).encode(), SEGMENT, where="x")


def test_nothing_is_removed_before_its_bytes_are_elsewhere(repository: Repository) -> None:
    """All tails go when the segment is there, and those inside a longer one when that is."""
    put(repository, 0, 96)
    put(repository, 96, 208)
    with pytest.raises(ObjectMissing):
        remove_tails(repository, "main", SYSTEM, SEGMENT)
    with pytest.raises(ObjectMissing):
        remove_tails(repository, "main", SYSTEM, SEGMENT, within=Span(0, 216))
    assert len(stored(repository)) == 2

    put(repository, 0, 216)
    put(repository, 208, 312)
    remove_tails(repository, "main", SYSTEM, SEGMENT, within=Span(0, 216))
    assert stored(repository) == (Span(0, 216), Span(208, 312))
    put_whole(repository)
    remove_tails(repository, "main", SYSTEM, SEGMENT)
    assert stored(repository) == ()


def test_a_promise_is_kept_wherever_its_bytes_are(repository: Repository) -> None:
    """Merged, or completed and removed: what was listed comes back, and not a byte more."""
    put(repository, 0, 96)
    put(repository, 96, 208)
    promise = stored(repository)

    def kept() -> bool:
        return read_promised(repository, "main", SYSTEM, SEGMENT, promise) == until(208)

    assert kept()
    put(repository, 0, 312)
    remove_tails(repository, "main", SYSTEM, SEGMENT, within=Span(0, 312))
    assert kept()
    put_whole(repository)
    remove_tails(repository, "main", SYSTEM, SEGMENT)
    assert kept()


def test_a_broken_promise_is_an_error(repository: Repository, store: MemoryStore) -> None:
    """What is gone without a trace, or reaches less far, is never padded with zeros instead."""
    put(repository, 0, 96)
    put(repository, 96, 208)
    promise = stored(repository)
    del store.objects[layout.tail("main", SYSTEM, SEGMENT.name, start=96, end=208)]

    with pytest.raises(ObjectMissing, match="00000060-000000D0"):
        read_promised(repository, "main", SYSTEM, SEGMENT, promise)


def test_an_inventory_tells_tails_from_segments(repository: Repository) -> None:
    """A segment that is there needs no tails; those that are left over are told."""
    put(repository, 0, 96)
    put_whole(repository)
    inventory = read_inventory(repository, "main", SYSTEM, segment_size=MIB)

    assert inventory.segments == {SEGMENT}
    assert (inventory.tails, inventory.tail_spans) == ({}, {})
    assert inventory.all_tails == {SEGMENT: (Span(0, 96),)}


def test_a_tail_shorter_than_a_page_header_holds_no_record(repository: Repository) -> None:
    """It is stored, and does not count."""
    put(repository, 0, 40)

    assert read_inventory(repository, "main", SYSTEM, segment_size=MIB).tails == {}


def test_a_small_tail_is_small(repository: Repository, store: MemoryStore) -> None:
    """A beacon every ten seconds is 8,640 tails a day; at this size they are 9 MB."""
    put(repository, 96, 208)

    (name,) = (name for name in store.objects if ".tail/" in name)
    assert len(store.objects[name]) < 1000

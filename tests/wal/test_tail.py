"""Whatever happens while a segment grows: what is stored of it has no hole, and is what the file holds."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pgvault.errors import ObjectCorrupt, ObjectMissing, OtherCluster, PgvaultError, SourceUnreadable, WalMismatch
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.tails import Span, chain, covered_to, list_tails, read_tails
from pgvault.wal.push import push_wal
from pgvault.wal.tail import MERGED_BYTES_MAX, TailWriter, _Pages, merged_start
from tests.archive import AT, KEY, SYSTEM, StillClock, make_segment, small
from tests.fakes import MemoryStore

PAGE = 8192
SEGMENT = small(7)


def pages_of(segment: WalSegment, seed: int) -> bytes:
    """A segment as a server fills it: a header on every page, records of anything, many of them ending in zeros."""
    random_source = random.Random(seed)
    content = bytearray(make_segment(segment, fill=b"\0"))
    for page in range(0, segment.size, PAGE):
        for at in range(page + 40, page + PAGE, 8):
            content[at : at + 8] = random_source.choice([b"\0" * 8, random_source.randbytes(3) + b"\0" * 5])
        if page:
            content[page : page + 8] = b"\x18\xd1\1\0\1\0\0\0"
    return bytes(content)


CONTENT = pages_of(SEGMENT, 1)


@dataclass(slots=True)
class Stream:
    """A .partial that grows, and what is stored of it."""

    partial: Path
    segment: WalSegment = SEGMENT
    content: bytes = CONTENT
    store: MemoryStore = field(default_factory=MemoryStore)
    written: int = 0  # bytes
    writer: TailWriter = field(init=False)
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        self.repository, _ = init_repository([Copy("primary", self.store)], Credential("raw", KEY), now=AT)
        self.partial.write_bytes(bytes(self.segment.size))
        self.restart()

    def restart(self) -> None:
        """A new process knows nothing."""
        self.writer = TailWriter(self.repository, "main", SYSTEM, clock=StillClock())

    def grow(self, length: int) -> None:
        """What pg_receivewal does."""
        start, self.written = self.written, min(self.written + length, self.segment.size)
        with self.partial.open("r+b") as file:
            file.seek(start)
            file.write(self.content[start : self.written])

    def tail(self) -> Span | None:
        return self.writer.store(self.partial, self.segment)

    def spans(self) -> tuple[Span, ...]:
        return list_tails(self.repository, "main", SYSTEM, self.segment)

    def read(self) -> bytes:
        return read_tails(self.repository, "main", SYSTEM, self.segment, self.spans())

    def calls_of(self, verb: str) -> int:
        return sum(name == verb for name, _ in self.store.calls)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path / f"{SEGMENT.name}.partial")


@pytest.mark.parametrize("seed", range(12))
def test_what_is_stored_is_what_was_received(stream: Stream, seed: int) -> None:
    """Any growth, with restarts and a store that dies before or after any of its operations."""
    random_source = random.Random(seed)
    stream.grow(40)
    while stream.written < SEGMENT.size:
        stream.grow(8 * random_source.choice([1, 5, 25, 1024, 3000, 20_000]))
        if random_source.random() < 0.3:
            stream.restart()
        if random_source.random() < 0.4:
            break_down(stream, random_source)
            stream.store.fail_after_calls, stream.store.die_after_puts = None, ()
        if random_source.random() < 0.5:
            before = covered_to(stream.spans())
            span = stream.tail()
            assert stream.read() == stream.partial.read_bytes()
            after = covered_to(stream.spans())
            assert (span is None) == (after == before)
            assert span is None or span == Span(before, after)
            assert stream.tail() is None


def break_down(stream: Stream, random_source: random.Random) -> None:
    """Die at one of the operations of a store; what is there must never be less, nor wrong."""
    before = covered_to(stream.spans())
    if random_source.random() < 0.5:
        stream.store.fail_after_calls = len(stream.store.calls) + random_source.randrange(5)
    else:
        stream.store.die_after_puts = {stream.store.puts + 1}
    with suppress(PgvaultError):
        stream.tail()
    stream.store.fail_after_calls = None
    covered = covered_to(stream.spans())
    assert covered >= before
    if covered:
        assert stream.read()[:covered] == stream.content[:covered]
    if random_source.random() < 0.5:
        stream.restart()


def test_nothing_is_stored_where_nothing_is_new(stream: Stream) -> None:
    """No put, and no request at all once it is known what is there: an idle server costs nothing."""
    assert stream.tail() is None  # not one byte yet
    stream.grow(1000)
    assert stream.tail() is not None
    calls = len(stream.store.calls)

    assert [stream.tail() for _ in range(3)] == [None, None, None]

    assert len(stream.store.calls) == calls


def test_the_end_is_not_one_byte_further_than_what_was_written(stream: Stream) -> None:
    """A position behind it is not proven: the page that it lies in is not claimed to be there."""
    for length in (40, 8, 24, 200, PAGE):
        stream.grow(length)
        stream.tail()

        end = covered_to(stream.spans())
        assert end <= stream.written
        assert not any(stream.partial.read_bytes()[end:])


def test_small_tails_are_merged_and_few_are_left(stream: Stream) -> None:
    """A thousand beats: a handful of objects, each byte stored a few times only, and a put and a delete a beat."""
    most = 0
    for _ in range(1000):
        stream.grow(200)
        stream.tail()
        most = max(most, len(stream.store.objects))

    assert len(stream.spans()) <= 8
    assert most <= 12  # with the identity and the keys
    assert len(chain(stream.spans())) == len(stream.spans())
    verbs = {verb: stream.calls_of(verb) for verb in ("put", "children", "list", "size", "delete")}
    assert verbs["put"] <= 1000 + 10
    assert verbs["delete"] <= 1000
    assert verbs["children"] + verbs["list"] + verbs["size"] <= 10


def test_a_busy_servers_tails_are_left_alone(stream: Stream) -> None:
    """Long ones are not stored twice: each begins where the one before ended."""
    while stream.written < SEGMENT.size:
        stream.grow(SEGMENT.size // 4)
        stream.tail()

    spans = stream.spans()
    assert [span.start for span in spans][1:] == [span.end for span in spans][:-1]
    assert all(span.end - span.start <= MERGED_BYTES_MAX for span in spans)


def test_no_merged_tail_exceeds_a_mebibyte() -> None:
    """And one of a higher class is left as it is."""
    full = Span(0, MIB)
    small_one = Span(MIB, MIB + 8192)

    assert merged_start([full], Span(MIB, 2 * MIB)) == MIB
    assert merged_start([full, small_one], Span(small_one.end, small_one.end + 8192)) == MIB
    assert merged_start([small_one], Span(small_one.end, small_one.end + 100)) == MIB
    assert merged_start([Span(0, 32768)], Span(32768, 32776)) == 32768


def test_a_file_is_read_while_it_is_written(stream: Stream) -> None:
    """No tail holds a page half-written: the reader would find two that disagree, or a hole."""
    done = threading.Event()

    def write() -> None:
        while stream.written < SEGMENT.size:
            stream.grow(8 * 97)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        stream.tail()
        covered = covered_to(stream.spans())
        if covered:
            assert stream.read()[:covered] == CONTENT[:covered]
    thread.join()
    stream.tail()

    assert stream.read() == CONTENT


def test_a_page_that_was_caught_half_written_is_read_again(stream: Stream) -> None:
    """Its end is there before its middle: one pass alone would take the hole for WAL."""
    stream.grow(3000)
    reads = []

    class Torn(_Pages):
        def read(self, start: int, end: int) -> bytes:
            reads.append((start, end))
            content = _Pages.read(self, start, end)
            return content[:1000] + bytes(800) + content[1800:] if len(reads) == 2 else content

    with stream.partial.open("rb") as file:
        content = Torn(file.fileno(), SEGMENT.size, PAGE).read_new(0)

    assert content == CONTENT[: len(content or b"")]
    assert len(reads) > 3


def test_a_large_piece_is_cut(tmp_path: Path) -> None:
    """Segments may have a GiB: what came at once is stored in objects that fit into memory."""
    segment = WalSegment(1, 3, 64 * MIB)
    page = make_segment(segment)[:PAGE]
    stream = Stream(tmp_path / "partial", segment=segment, content=page * (segment.size // PAGE))
    stream.grow(40 * MIB)

    assert stream.tail() == Span(0, 40 * MIB)

    assert [span.end - span.start for span in stream.spans()] == [16 * MIB, 16 * MIB, 8 * MIB]


def test_tails_go_only_when_the_segment_is_there(stream: Stream, tmp_path: Path) -> None:
    """The whole segment takes their place; until then they are all there is."""
    stream.grow(SEGMENT.size)
    stream.tail()
    with pytest.raises(ObjectMissing):
        stream.writer.forget(SEGMENT)
    assert stream.spans()

    path = tmp_path / SEGMENT.name
    path.write_bytes(CONTENT)
    push_wal(stream.repository, "main", path, clock=StillClock())
    stream.writer.forget(SEGMENT)

    assert stream.spans() == ()


def test_two_servers_can_not_write_one_timeline(stream: Stream, tmp_path: Path) -> None:
    """Other bytes under a tail's name are an error, as with segments."""
    stream.content = CONTENT[:40] + b"\1" * (SEGMENT.size - 40)
    stream.grow(40)
    stream.tail()
    other = Stream(tmp_path / "other", content=CONTENT[:40] + b"\2" * (SEGMENT.size - 40))
    other.grow(800)
    TailWriter(stream.repository, "main", SYSTEM, clock=StillClock()).store(other.partial, SEGMENT)
    stream.grow(760)

    with pytest.raises(WalMismatch):
        stream.tail()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (CONTENT[:-1], SourceUnreadable),
        (b"", SourceUnreadable),
        (b"no WAL".ljust(SEGMENT.size, b"."), ObjectCorrupt),
        (make_segment(small(8)), ObjectCorrupt),
        (make_segment(SEGMENT, system_identifier=1), OtherCluster),
    ],
    ids=["short", "empty", "no header", "another segment", "another system"],
)
def test_what_is_not_that_segment_is_refused(stream: Stream, content: bytes, error: type[PgvaultError]) -> None:
    """And nothing is stored."""
    stream.partial.write_bytes(content)

    with pytest.raises(error):
        stream.tail()

    assert stream.spans() == ()


def test_a_file_that_went_away_is_said(stream: Stream) -> None:
    """pg_receivewal renames it when it is complete."""
    stream.partial.unlink()

    with pytest.raises(SourceUnreadable, match="can not be read"):
        stream.tail()

"""Every kind of object heals, and each check is one that tells: what passes is what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import Stored, put_frames, put_json, put_plain, read_json, read_plain
from pgvault.repository.refs import put_refs, read_refs
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.tails import Span, TailInfo, put_tail, read_promised, read_tail
from pgvault.repository.walinfo import read_info
from pgvault.repository.walobjects import WalInfo, put_wal, read_wal, read_wal_bytes
from tests.fakes import MemoryStore

SYSTEM = 7501234567890123456
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SEGMENT = WalSegment(1, 7, MIB)
CONTENT = bytes(range(1, 251)) * 40
SPAN = Span(0, 4000)
WAL = layout.wal_file("main", SYSTEM, SEGMENT.name)
TAIL = layout.tail("main", SYSTEM, SEGMENT.name, start=SPAN.start, end=SPAN.end)

Both = tuple[Repository, MemoryStore, MemoryStore]


@pytest.fixture
def both() -> Both:
    """A repository of two copies; `spread` makes the second like the first."""
    primary, dr = MemoryStore(), MemoryStore()
    copies = [Copy("primary", primary), Copy("dr", dr)]
    return init_repository(copies, Credential("raw", bytes(32)), now=AT)[0], primary, dr


def info_of(content: bytes) -> WalInfo:
    return WalInfo(SEGMENT.name, len(content), hashlib.sha256(content).digest(), SYSTEM, 1, SEGMENT.start_lsn, AT, AT)


def put_lying(repository: Repository, path: str, kind: Kind, *, info: bytes, content: bytes) -> None:
    """Seal a content that is not what its info frame says: it opens."""
    put_frames(repository, path, kind, frames=[info, content])


def damages(repository: Repository) -> list[tuple[str, str]]:
    return [(damage.copy, damage.path) for damage in repository.reader.damages]


def test_wal_that_opens_and_is_not_what_it_says_comes_from_the_next_copy(both: Both) -> None:
    """The hash in the info frame is compared where another copy can still be taken."""
    repository, primary, dr = both
    put_wal(repository, "main", info_of(CONTENT), content=CONTENT)
    dr.objects[WAL] = primary.objects.pop(WAL)
    put_lying(repository, WAL, Kind.WAL, info=info_of(CONTENT).encode(), content=CONTENT[::-1])

    wal, content = read_wal_bytes(repository, "main", SYSTEM, SEGMENT.name, is_hashed=True)

    assert content == CONTENT
    assert wal.blake3 is not None
    assert wal.blake3 == read_wal(repository, "main", SYSTEM, SEGMENT.name, is_hashed=True)[0].blake3
    assert damages(repository) == [("primary", WAL)]
    del dr.objects[WAL]
    with pytest.raises(ObjectCorrupt, match="does not hold what its info frame says"):
        read_wal(repository, "main", SYSTEM, SEGMENT.name)


def test_hash_is_of_the_copy_that_was_taken(both: Both) -> None:
    """What was hashed of a damaged copy before does not mix with it: the spool would never match."""
    repository, primary, dr = both
    put_wal(repository, "main", info_of(CONTENT), content=CONTENT)
    whole = read_wal(repository, "main", SYSTEM, SEGMENT.name, is_hashed=True)[0].blake3
    dr.objects[WAL] = primary.objects.pop(WAL)
    put_lying(repository, WAL, Kind.WAL, info=info_of(CONTENT).encode(), content=b"other")

    assert read_wal(repository, "main", SYSTEM, SEGMENT.name, is_hashed=True)[0].blake3 == whole


def test_tail_that_opens_and_is_not_what_it_says_comes_from_the_next_copy(both: Both) -> None:
    """As with whole segments."""
    repository, primary, dr = both
    piece = CONTENT[: SPAN.end]
    info = TailInfo(SEGMENT, SPAN.start, SPAN.end, SYSTEM, hashlib.sha256(piece).digest(), AT)
    put_tail(repository, "main", info, content=piece)
    dr.objects[TAIL] = primary.objects.pop(TAIL)
    put_lying(repository, TAIL, Kind.TAIL, info=info.encode(), content=piece[::-1])

    assert read_tail(repository, "main", SYSTEM, SEGMENT, span=SPAN) == (info, piece)
    assert read_promised(repository, "main", SYSTEM, SEGMENT, [SPAN])[: SPAN.end] == piece
    assert damages(repository) == [("primary", TAIL)]


Put = Callable[[Repository], object]
Read = Callable[[Repository, object], object]


def put_pack(repository: Repository) -> Stored:
    return put_plain(repository, "p/0", Kind.PACK, plain=CONTENT)


def read_pack(repository: Repository, stored: object) -> bytes:
    assert isinstance(stored, Stored)
    return read_plain(repository, "p/0", Kind.PACK, expected=stored)


def put_list(repository: Repository) -> Stored:
    return put_refs(repository, "p/refs", [Stored("p/0", 1, bytes(32), 1)])


def read_list(repository: Repository, stored: object) -> bytes:
    assert isinstance(stored, Stored)
    return read_refs(repository, stored)


KINDS: dict[str, tuple[Put, Read]] = {
    "pack": (put_pack, read_pack),
    "refs": (put_list, read_list),
    "json": (
        lambda repository: put_json(repository, "p/json", Kind.SYSTEM, document={"a": 1}),
        lambda repository, _: read_json(repository, "p/json", Kind.SYSTEM),
    ),
    "wal": (
        lambda repository: put_wal(repository, "main", info_of(CONTENT), content=CONTENT),
        lambda repository, _: read_wal_bytes(repository, "main", SYSTEM, SEGMENT.name)[1],
    ),
    "info": (
        lambda repository: put_wal(repository, "main", info_of(CONTENT), content=CONTENT),
        lambda repository, _: read_info(repository, "main", SYSTEM, SEGMENT.name),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["cut", "empty", "flip header", "flip", "delete", "swap"])
def test_every_kind_heals_from_every_harm(both: Both, kind: str, harm: str) -> None:
    """What comes back is what was written, whichever copy has it whole."""
    repository, primary, dr = both
    before = set(primary.objects)
    put, read = KINDS[kind]
    stored = put(repository)
    (path,) = set(primary.objects) - before
    dr.objects[path] = body = primary.objects[path]
    expected = read(repository, stored)
    other = put_plain(repository, "p/other", Kind.PACK, plain=b"other")
    at = 20 if harm == "flip header" else 150 % len(body)
    changed = {
        "cut": body[: len(body) // 3],
        "empty": b"",
        "flip header": body[:20] + bytes([body[20] ^ 1]) + body[21:],
        "flip": body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :],
        "delete": None,
        "swap": primary.objects[other.path],
    }[harm]
    for store in (primary, dr):
        store.objects.pop(path)
        if changed is not None:
            store.objects[path] = changed
        assert read(Repository(repository.id, repository.keys, repository.copies), stored) == expected
        store.objects[path] = body

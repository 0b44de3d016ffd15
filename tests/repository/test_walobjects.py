from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreUnreachable, WalMismatch, WrongKey
from pgvault.pipeline.header import HEADER, Kind
from pgvault.pipeline.seal import RepositoryKey
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential, Keyring
from pgvault.repository.objects import put_frames
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.walobjects import WalInfo, WalOutcome, holds_content, put_wal, read_wal, read_wal_bytes
from pgvault.stores.file import FileStore
from tests.fakes import MemoryStore

SYSTEM = 7501234567890123456
NAME = "0000000100000016000000B3"
PATH = layout.wal_file("main", SYSTEM, NAME)
CONTENT = b"\x16\xd1\x07\x00" + b"record " * 5000 + bytes(MIB)
OTHER = CONTENT.replace(b"record 17", b"record 18") + b"\1"


def describe(content: bytes, name: str = NAME) -> WalInfo:
    return WalInfo(
        name=name,
        length=len(content),
        sha256=hashlib.sha256(content).digest(),
        system_identifier=SYSTEM,
        timeline=1,
        start_lsn=Lsn.parse("16/B3000000"),
        last_write_at=datetime(2026, 1, 15, 10, 30, 0, 5, tzinfo=UTC),
        pushed_at=datetime(2026, 1, 15, 10, 31, tzinfo=UTC),
    )


def push(repository: Repository, content: bytes, name: str = NAME) -> WalOutcome:
    return put_wal(repository, "main", describe(content, name), content=content)


def test_wal_file_reads_back(repository: Repository, store: MemoryStore) -> None:
    """Bytes and info come back, with what the store holds for a backup's table."""
    assert push(repository, CONTENT) is WalOutcome.STORED

    wal, content = read_wal_bytes(repository, "main", SYSTEM, NAME)
    assert content == CONTENT
    assert wal.info == describe(CONTENT)
    assert wal.stored.path == PATH
    assert wal.stored.length == len(store.objects[PATH])
    assert wal.stored.sha256 == hashlib.sha256(store.objects[PATH]).digest()
    assert wal.stored.frame_count == 3


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1])
def test_every_size_reads_back(repository: Repository, size: int) -> None:
    """A history file may be short, a segment long."""
    push(repository, bytes(size))

    assert read_wal_bytes(repository, "main", SYSTEM, NAME)[1] == bytes(size)


def test_same_content_again_is_success(repository: Repository, store: MemoryStore) -> None:
    """The archiver repeats itself after a crash: the object stays the one that was first."""
    push(repository, CONTENT)
    before = dict(store.objects)

    assert push(repository, CONTENT) is WalOutcome.ALREADY
    assert store.objects == before


def test_same_content_is_told_by_the_header_alone(repository: Repository, store: MemoryStore) -> None:
    """A repeated push reads 128 bytes, not a segment."""
    push(repository, CONTENT)
    store.calls.clear()

    push(repository, CONTENT)

    assert {verb for verb, _ in store.calls} <= {"put", "size", "get_range"}
    store.objects[PATH] = store.objects[PATH][: HEADER.size]
    assert holds_content(repository, PATH, hashlib.sha256(CONTENT).digest())


def test_other_content_is_an_error_for_ever(repository: Repository, store: MemoryStore) -> None:
    """What is archived is never replaced."""
    push(repository, CONTENT)
    before = dict(store.objects)

    for _ in range(2):
        with pytest.raises(WalMismatch):
            push(repository, OTHER)
    assert store.objects == before


def test_put_whose_answer_was_lost_is_stored(repository: Repository, store: MemoryStore) -> None:
    """A retry that meets its own object stored it."""
    store.lose_answers = [store.puts + 1]

    assert push(repository, CONTENT) is WalOutcome.STORED


def test_push_after_one_that_died_is_already_there(repository: Repository, store: MemoryStore) -> None:
    """The next push seals anew, with another salt, and finds the same content."""
    store.die_after_puts = [store.puts + 1]
    with pytest.raises(StoreUnreachable):
        push(repository, CONTENT)

    assert push(repository, CONTENT) is WalOutcome.ALREADY


def test_racing_pushes_of_one_content_all_succeed(on_disk: Repository) -> None:
    """Of many who push the same, one stores and the others find it there."""
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: push(on_disk, CONTENT), range(16)))

    assert outcomes.count(WalOutcome.STORED) == 1
    assert read_wal_bytes(on_disk, "main", SYSTEM, NAME)[1] == CONTENT


def test_racing_pushes_of_two_contents_have_one_winner(on_disk: Repository) -> None:
    """One content is archived; everybody who had the other one is told."""

    def attempt(content: bytes) -> WalOutcome | type[PgvaultError]:
        try:
            return push(on_disk, content)
        except WalMismatch as error:
            return type(error)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(zip([CONTENT, OTHER] * 8, pool.map(attempt, [CONTENT, OTHER] * 8), strict=True))

    _, winner = read_wal_bytes(on_disk, "main", SYSTEM, NAME)
    assert [content for content, outcome in outcomes if outcome is WalOutcome.STORED] == [winner]
    assert all((outcome is WalMismatch) == (content != winner) for content, outcome in outcomes)


def test_another_process_that_opened_the_repository_finds_the_same_content(
    directory: Path, credential: Credential
) -> None:
    """The name of a content hangs on the repository's key, not on who opened it."""
    now = datetime(2026, 1, 15, tzinfo=UTC)
    first, second = (init_repository([Copy("primary", FileStore(directory))], credential, now=now)[0] for _ in range(2))

    assert push(first, CONTENT) is WalOutcome.STORED
    assert push(second, CONTENT) is WalOutcome.ALREADY


def test_content_is_compared_by_the_key_it_was_sealed_with(repository: Repository) -> None:
    """After a rotation the same segment is still the same; without the old key nobody can tell."""
    push(repository, CONTENT)
    new = RepositoryKey(2, bytes(32))
    rotated = replace(repository, keys=Keyring(new, {**repository.keys.by_id, 2: new}))

    assert push(rotated, CONTENT) is WalOutcome.ALREADY
    with pytest.raises(WalMismatch):
        push(rotated, OTHER)
    with pytest.raises(WrongKey):
        push(replace(repository, keys=Keyring(new, {2: new})), CONTENT)


@pytest.mark.parametrize(
    "lie", [{"sha256": hashlib.sha256(OTHER).digest()}, {"length": len(CONTENT) - 1}, {"length": len(CONTENT) + 1}]
)
def test_what_could_not_be_read_back_is_not_stored(
    repository: Repository, store: MemoryStore, lie: dict[str, Any]
) -> None:
    """A segment that changed while it was read is refused before it is put."""
    with pytest.raises(ObjectCorrupt):
        put_wal(repository, "main", replace(describe(CONTENT), **lie), content=CONTENT)

    assert PATH not in store.objects


def test_wal_under_another_name_is_refused(repository: Repository, store: MemoryStore) -> None:
    """A segment served as another would be replayed as that one."""
    push(repository, CONTENT)
    moved = layout.wal_file("main", SYSTEM, NAME[:-1] + "4")
    store.objects[moved] = store.objects[PATH]

    with pytest.raises(ObjectCorrupt):
        read_wal_bytes(repository, "main", SYSTEM, NAME[:-1] + "4")


@pytest.mark.parametrize("lie", [{"system_identifier": SYSTEM + 1}, {"name": NAME[:-1] + "4"}])
def test_wal_that_says_it_is_another_is_refused(repository: Repository, lie: dict[str, Any]) -> None:
    """Also one that was sealed under that very name, by whatever mistake."""
    frames = [replace(describe(CONTENT), **lie).encode(), CONTENT[:MIB], CONTENT[MIB:]]
    put_frames(repository, PATH, Kind.WAL, frames=frames)

    with pytest.raises(ObjectCorrupt, match="says it is"):
        read_wal_bytes(repository, "main", SYSTEM, NAME)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"?", CONTENT.replace(b"record", b"recorf", 1)])
def test_wal_that_is_not_what_its_info_says_is_refused(repository: Repository, content: bytes) -> None:
    """The iterator raises at its end, so nobody may use the bytes before."""
    frames = [describe(CONTENT).encode(), content[:MIB], content[MIB:]]
    put_frames(repository, PATH, Kind.WAL, frames=frames)

    with pytest.raises(ObjectCorrupt, match="does not hold"):
        read_wal_bytes(repository, "main", SYSTEM, NAME)


def test_missing_wal_is_missing(repository: Repository) -> None:
    """Absence is a fact with an error of its own."""
    with pytest.raises(ObjectMissing):
        read_wal(repository, "main", SYSTEM, NAME)


def test_cut_wal_is_refused_before_any_byte(repository: Repository, store: MemoryStore) -> None:
    """A truncated object gives nothing, not its first frames."""
    push(repository, CONTENT)
    body = store.objects[PATH]
    for length in (0, 100, HEADER.size, 500, len(body) // 2, len(body) - 1):
        store.objects[PATH] = body[:length]
        with pytest.raises(ObjectCorrupt):
            read_wal(repository, "main", SYSTEM, NAME)


INFO = describe(CONTENT)
FIELDS: dict[str, Any] = json.loads(INFO.encode())


def test_info_frame_is_that_of_format_1() -> None:
    """Pinned: the fields of an info frame."""
    document = json.loads(INFO.encode())

    assert document == {
        "wal": 1,
        "name": "0000000100000016000000B3",
        "length": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "system_identifier": "7501234567890123456",
        "timeline": 1,
        "start_lsn": "16/B3000000",
        "last_write_at": "2026-01-15T10:30:00.000005+00:00",
        "pushed_at": "2026-01-15T10:31:00+00:00",
    }
    assert WalInfo.decode(INFO.encode(), where="x") == INFO


def test_info_of_a_history_file_has_no_lsn() -> None:
    """Only segments lie somewhere in the WAL."""
    info = replace(INFO, name="00000002.history", start_lsn=None)

    assert WalInfo.decode(info.encode(), where="x") == info


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 7),
        ("length", -1),
        ("length", "7"),
        ("sha256", "00"),
        ("system_identifier", 7),
        ("timeline", None),
        ("start_lsn", "16"),
        ("start_lsn", 7),
        ("last_write_at", "2026-01-15T10:30:00"),
        ("pushed_at", None),
    ],
)
def test_malformed_info_is_corrupt(field: str, value: object) -> None:
    """Fields are read strictly; what a later minor adds is ignored."""
    assert WalInfo.decode(json.dumps(FIELDS | {"more": 1}).encode(), where="x") == INFO
    with pytest.raises(ObjectCorrupt):
        WalInfo.decode(json.dumps(FIELDS | {field: value}).encode(), where="x")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        *(
            json.dumps({name: value for name, value in FIELDS.items() if name != field}).encode()
            for field in FIELDS
            if field != "wal"
        ),
    ],
)
def test_frame_that_is_no_info_is_corrupt(frame: bytes) -> None:
    """Nothing may be missing."""
    with pytest.raises(ObjectCorrupt):
        WalInfo.decode(frame, where="x")

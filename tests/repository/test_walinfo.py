from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime

import pytest

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.repository.repository import Repository
from pgvault.repository.walinfo import FIRST_READ_BYTES, read_info
from pgvault.repository.walobjects import WalInfo, put_wal
from tests.fakes import MemoryStore

SYSTEM = 7501234567890123456
NAME = "0000000100000016000000B3"
PATH = f"clusters/main/wal/{SYSTEM}/{NAME[:16]}/{NAME}"


@pytest.fixture
def info(repository: Repository) -> WalInfo:
    """A stored segment that no compressor makes smaller."""
    content = os.urandom(MIB)
    at = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    made = WalInfo(
        NAME, MIB, hashlib.sha256(content).digest(), SYSTEM, 1, Lsn.parse("16/B3000000"), at, at.replace(minute=31)
    )
    put_wal(repository, "main", made, content=content)
    return made


def test_info_is_read_from_the_first_bytes(repository: Repository, store: MemoryStore, info: WalInfo) -> None:
    """Whatever lies behind the first bytes is not needed."""
    store.objects[PATH] = store.objects[PATH][:FIRST_READ_BYTES]

    assert read_info(repository, "main", SYSTEM, NAME) == info


def test_any_flipped_byte_of_it_is_noticed(repository: Repository, store: MemoryStore, info: WalInfo) -> None:
    """Header, head, ciphertext or tag: never a wrong time."""
    whole = store.objects[PATH]
    assert info.name.encode() not in whole
    for index in range(0, 128 + 12 + int.from_bytes(whole[128:132], "big"), 7):
        store.objects[PATH] = whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :]
        with pytest.raises((FormatUnsupported, ObjectCorrupt, WrongKey)):
            read_info(repository, "main", SYSTEM, NAME)


def test_cut_and_moved_and_absent_objects_are_told_apart(
    repository: Repository, store: MemoryStore, info: WalInfo
) -> None:
    """Cut or under another name: corrupt; not there: missing."""
    whole = store.objects[PATH]
    other = NAME[:-1] + "4"
    store.objects[PATH[: -len(NAME)] + other] = whole
    with pytest.raises(ObjectCorrupt):
        read_info(repository, "main", SYSTEM, other)

    store.objects[PATH] = whole[:300]
    with pytest.raises(ObjectCorrupt, match="cut in its first frame"):
        read_info(repository, "main", SYSTEM, info.name)

    del store.objects[PATH]
    with pytest.raises(ObjectMissing):
        read_info(repository, "main", SYSTEM, info.name)

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository.repository import Repository
from pgvault.repository.walindex import read_inventory
from pgvault.repository.walobjects import WalInfo, put_wal
from tests.fakes import MemoryStore

SYSTEM = 7501234567890123456
PREFIX = f"clusters/main/wal/{SYSTEM}"


def push(repository: Repository, name: str, content: bytes = b"x", *, system: int = SYSTEM) -> None:
    now = datetime(2026, 1, 15, tzinfo=UTC)
    info = WalInfo(name, len(content), hashlib.sha256(content).digest(), system, 1, None, now, now)
    put_wal(repository, "main", info, content=content)


def test_inventory_is_what_was_pushed(repository: Repository) -> None:
    """Segments by name, histories by content; partial segments and backup histories are neither."""
    push(repository, "0000000100000000000000FF")
    push(repository, "000000010000000100000000")
    push(repository, "000000020000000100000000")
    push(repository, "000000010000000100000000.partial")
    push(repository, "0000000100000000000000FF.00000028.backup")
    push(repository, "00000002.history", b"1\t1/28\tno recovery target specified\n")
    push(repository, "000000010000000000000009", system=SYSTEM + 1)

    inventory = read_inventory(repository, "main", SYSTEM, segment_size=16 * MIB)

    assert inventory.system_identifier == SYSTEM
    assert inventory.segments == {WalSegment(1, 255), WalSegment(1, 256), WalSegment(2, 256)}
    assert list(inventory.histories) == [2]
    assert inventory.histories[2].start_lsn == Lsn.parse("1/28")


def test_system_without_wal_has_an_empty_inventory(repository: Repository) -> None:
    """Nothing archived is no error."""
    inventory = read_inventory(repository, "main", SYSTEM, segment_size=16 * MIB)

    assert (inventory.segments, inventory.histories) == (frozenset(), {})


def test_stray_names_are_passed_over_with_a_warning(
    repository: Repository, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A stray file, or a name that no segment of this size has, does not stand in the way of a restore."""
    push(repository, "000000010000000000000001")
    for stray in ("0000000100000000/readme.txt", "0000000100000000/000000010000000000000100", "x"):
        store.objects[f"{PREFIX}/{stray}"] = b"?"

    with caplog.at_level(logging.WARNING):
        inventory = read_inventory(repository, "main", SYSTEM, segment_size=16 * MIB)

    assert inventory.segments == {WalSegment(1, 1)}
    assert len(caplog.records) == 3


@pytest.mark.parametrize("content", [b"", b"no history\n", b"2\t1/28\tits own parent\n"])
def test_history_that_is_none_is_corrupt(repository: Repository, content: bytes) -> None:
    """Where a timeline comes from is not guessed."""
    push(repository, "00000002.history", content)

    with pytest.raises(ObjectCorrupt):
        read_inventory(repository, "main", SYSTEM, segment_size=16 * MIB)


def test_a_damaged_history_is_passed_over_where_that_is_asked_for(repository: Repository) -> None:
    """It is told, and its timeline is still known to be taken; the others are read."""
    push(repository, "00000002.history", b"no history\n")
    push(repository, "00000003.history", b"1\t1/28\tx\n")
    told: list[str] = []

    inventory = read_inventory(
        repository, "main", SYSTEM, segment_size=16 * MIB, passed_over=lambda name, _: told.append(name)
    )

    assert (list(inventory.histories), list(inventory.unreadable), told) == ([3], [2], ["00000002.history"])

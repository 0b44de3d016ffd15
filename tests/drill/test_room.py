from __future__ import annotations

import time
from pathlib import Path

import pytest

from pgvault.drill.room import keeping_room
from pgvault.errors import DiskFull, ProgramFailed
from pgvault.postgres.instance import Instance
from pgvault.postgres.programs import Programs
from pgvault.restore.place import Reserve

NONE, ALL = Reserve(0), Reserve(1 << 62)


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """A server that was never started."""
    return Instance(Programs(tmp_path, 18, "18.0"), tmp_path / "data", tmp_path, tmp_path / "log")


def test_a_scratch_with_room_goes_on(instance: Instance, tmp_path: Path) -> None:
    """And what fails for another reason keeps its own."""
    with keeping_room(tmp_path, NONE, instance, every=0.001):
        time.sleep(0.01)

    with pytest.raises(ProgramFailed, match="broken"), keeping_room(tmp_path, NONE, instance, every=0.001):
        raise ProgramFailed("broken")


def test_a_scratch_without_room_ends(instance: Instance, tmp_path: Path) -> None:
    """Whatever then fails says nothing about the backup, and neither does success."""
    with pytest.raises(DiskFull, match="no more room"), keeping_room(tmp_path, ALL, instance, every=0.001):
        time.sleep(0.1)
        raise ProgramFailed("the connection was lost")

    with pytest.raises(DiskFull, match="no more room"), keeping_room(tmp_path, ALL, instance, every=0.001):
        time.sleep(0.1)

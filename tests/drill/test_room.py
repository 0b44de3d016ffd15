from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from pgvault.drill.room import keeping_room
from pgvault.errors import DiskFull, ProgramFailed
from pgvault.restore.place import Reserve

NONE, ALL = Reserve(0), Reserve(1 << 62)
DEADLINE = 30.0  # seconds; far more than it takes


def test_a_scratch_with_room_goes_on(tmp_path: Path) -> None:
    """And what fails for another reason keeps its own."""
    ended = Event()

    with keeping_room(tmp_path, NONE, ended.set, every=0.001):
        pass
    with pytest.raises(ProgramFailed, match="broken"), keeping_room(tmp_path, NONE, ended.set, every=0.001):
        raise ProgramFailed("broken")

    assert not ended.is_set()


def test_a_scratch_without_room_is_ended(tmp_path: Path) -> None:
    """The server goes at once; then whatever went well meanwhile proves nothing."""
    ended = Event()

    with pytest.raises(DiskFull, match="no more room"), keeping_room(tmp_path, ALL, ended.set, every=0.001):
        assert ended.wait(DEADLINE)


def test_what_fails_for_want_of_room_says_so(tmp_path: Path) -> None:
    """A connection that was lost since we ended the server says nothing about the backup."""
    ended = Event()

    def lose() -> None:
        with keeping_room(tmp_path, ALL, ended.set, every=0.001):
            ended.wait(DEADLINE)
            raise ProgramFailed("the connection was lost")

    with pytest.raises(DiskFull, match="no more room"):
        lose()

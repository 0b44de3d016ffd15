"""How much the spool may take while the store is away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pgvault.postgres.lsn import MIB
from pgvault.wal.streaming.room import fullness, shortage


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory on the spool's own file system."""
    made = tmp_path / "data"
    (made / "pg_wal").mkdir(parents=True)
    return made


def waiting_for(spool: Path, part: float) -> int:
    """How many segments wait where they are that part of what would be free without them."""
    return int(part / (1 - part) * shutil.disk_usage(spool).free / MIB)


def test_a_spool_beside_pg_wal_leaves_the_server_its_room(tmp_path: Path, data: Path) -> None:
    """Past a third nothing more is received: a server whose pg_wal is full stops."""
    few, many = waiting_for(tmp_path, 0.25), waiting_for(tmp_path, 0.4)

    assert shortage(tmp_path, waiting=few, segment_size=MIB, data=data) is None
    said = shortage(tmp_path, waiting=many, segment_size=MIB, data=data)
    assert said is not None
    assert said.startswith(f"{many} segments wait in spool")


def test_a_wal_directory_that_is_hidden_is_taken_to_be_with_the_data(tmp_path: Path, data: Path) -> None:
    """The stream's own user need not be the server's."""
    (data / "pg_wal").rmdir()

    assert shortage(tmp_path, waiting=waiting_for(tmp_path, 0.4), segment_size=MIB, data=data) is not None


def test_elsewhere_the_spool_takes_what_there_is(tmp_path: Path, data: Path) -> None:
    """A disk of its own, a server on another host, a role that may not ask: nothing but its end is a bound."""
    (data / "pg_wal").rmdir()
    (data / "pg_wal").symlink_to("/proc/self")  # another device
    for place in (data, tmp_path / "absent", None):
        assert shortage(tmp_path, waiting=waiting_for(tmp_path, 0.4), segment_size=MIB, data=place) is None


def test_while_uploads_keep_up_nothing_is_held_up(tmp_path: Path, data: Path) -> None:
    """However large a segment is beside the disk: what is stored goes at once, and makes room."""
    huge = 10 * shutil.disk_usage(tmp_path).free

    assert shortage(tmp_path, waiting=0, segment_size=huge, data=data) is None
    assert shortage(tmp_path, waiting=1, segment_size=huge // 11, data=data) is None


def test_a_full_disk_is_named(tmp_path: Path, data: Path) -> None:
    """pg_receivewal can not say so where its own log lies there."""
    huge = 10 * shutil.disk_usage(tmp_path).free

    assert "is full" in str(fullness(tmp_path, segment_size=huge))
    assert "is full" in str(shortage(tmp_path, waiting=1, segment_size=huge, data=None))
    assert fullness(tmp_path, segment_size=MIB) is None

"""Looking at this host's disk, and waiting for a stream that is about to bring what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pgvault.config import ClusterConfig, StreamConfig
from pgvault.errors import PgvaultError, StoreUnreachable
from pgvault.monitor.status import look_again, look_at_disk
from pgvault.monitor.walfacts import DiskFacts, RepositoryFacts, TimedPosition
from pgvault.postgres.control import CONTROL_PATH
from pgvault.postgres.lsn import Lsn
from tests.archive import SYSTEM, make_control
from tests.monitor.healthy import END, HELD, NOW, SERVER, SLOT, ago, lsn_in

OTHER_DISK = Path("/dev/shm")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with an identity and an empty pg_wal."""
    (tmp_path / "data/global").mkdir(parents=True)
    (tmp_path / "data/pg_wal/archive_status").mkdir(parents=True)
    (tmp_path / "data" / CONTROL_PATH).write_bytes(make_control())
    return tmp_path / "data"


ITS_SERVER = replace(SERVER, system_identifier=SYSTEM, checkpoint_lsn=Lsn(0))


def test_the_file_system_is_that_of_pg_wal_itself(data: Path, tmp_path: Path) -> None:
    """A link to another disk is followed; the data directory's own disk does not matter."""
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    (data / "pg_wal/archive_status").rmdir()
    (data / "pg_wal").rmdir()
    (data / "pg_wal").symlink_to(OTHER_DISK)

    disk = look_at_disk(replace(ITS_SERVER, data_directory=data), None)

    assert isinstance(disk, DiskFacts)
    space = os.statvfs(OTHER_DISK)
    assert disk.path == OTHER_DISK
    assert disk.total_bytes == space.f_blocks * space.f_frsize
    assert (disk.ready_count, disk.ready_bytes) == (None, None)


def test_what_waits_is_counted(data: Path) -> None:
    """Files marked ready, and their bytes; one that went meanwhile counts as a file."""
    status = data / "pg_wal/archive_status"
    (data / "pg_wal/000000010000000000000001").write_bytes(bytes(1000))
    for name in ("000000010000000000000001.ready", "000000010000000000000002.ready", "000000010000000000000000.done"):
        (status / name).touch()

    disk = look_at_disk(ITS_SERVER, data)

    assert isinstance(disk, DiskFacts)
    assert (disk.ready_count, disk.ready_bytes) == (2, 1000)


def test_another_systems_directory_is_not_the_servers(data: Path) -> None:
    """The same path on another host, or another cluster's."""
    said = look_at_disk(replace(ITS_SERVER, system_identifier=SYSTEM + 1), data)

    assert isinstance(said, str)
    assert "another system" in said


def test_a_copy_is_not_the_servers_directory(data: Path) -> None:
    """A restored copy has its system identifier too; the server's last checkpoint does not show in it."""
    said = look_at_disk(replace(ITS_SERVER, checkpoint_lsn=Lsn(1)), data)

    assert isinstance(said, str)
    assert "a copy" in said


def test_a_directory_elsewhere_is_unknown(tmp_path: Path) -> None:
    """The server runs on another host."""
    said = look_at_disk(ITS_SERVER, tmp_path / "nowhere")

    assert isinstance(said, str)
    assert "not seen from here" in said


@dataclass
class Stepping:
    """A clock whose every look is three seconds later."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        self.seconds += 3
        return self.seconds


STREAMED = ClusterConfig(dsn="", stream=StreamConfig(every=timedelta(seconds=1)))
LATE = replace(HELD, positions=(TimedPosition(lsn_in(10), ago(hours=1)),))
ARRIVED = replace(HELD, end=replace(END, end_lsn=SERVER.end_lsn))
BUSY = replace(SERVER, slot=SLOT, archive_timeout=timedelta(0), redo_lsn=SERVER.end_lsn)


class Looks:
    """What each look sees; the last one for ever."""

    def __init__(self, *seen: RepositoryFacts | PgvaultError) -> None:
        self.seen = list(seen)
        self.count = 0

    def __call__(self) -> RepositoryFacts:
        self.count += 1
        found = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(found, PgvaultError):
            raise found
        return found


def test_a_stream_may_bring_what_seems_late() -> None:
    """Idle for an hour, a commit now: it is looked at again, and the wait is told."""
    looks = Looks(LATE, ARRIVED)

    held, waited = look_again(BUSY, STREAMED, looks, clock=Stepping())

    assert held is ARRIVED
    assert looks.count == 2
    assert waited == timedelta(seconds=3)


def test_a_stream_that_brings_nothing_is_not_waited_for_for_ever() -> None:
    """Its interval and a little more."""
    looks = Looks(LATE)

    held, waited = look_again(BUSY, STREAMED, looks, clock=Stepping())

    assert held is LATE
    assert waited == timedelta(seconds=6)


def test_nobody_waits_for_what_does_not_come() -> None:
    """No stream, an inactive slot, nothing late, or an error: one look."""
    idle_slot = replace(BUSY, slot=replace(SLOT, is_active=False))
    error = StoreUnreachable("gone")
    cases = (
        (BUSY, ClusterConfig(dsn=""), Looks(LATE)),
        (idle_slot, STREAMED, Looks(LATE)),
        (BUSY, STREAMED, Looks(ARRIVED)),
        (BUSY, STREAMED, Looks(error)),
        (None, STREAMED, Looks(LATE)),
    )
    for server, config, looks in cases:
        held, waited = look_again(server, config, looks, clock=Stepping())

        assert looks.count == 1
        assert waited == timedelta(0)
        assert held is looks.seen[0]

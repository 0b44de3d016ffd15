"""The spool of a stream: what pg_receivewal sees, what is taken aside, and what never goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import AlreadyRunning, SourceUnreadable
from pgvault.postgres.lsn import MIB
from pgvault.wal.streaming.spooldir import SpoolDirectory, locked_spool
from pgvault.wal.streaming.start import SpoolFile, StartPlan
from tests.archive import SYSTEM, make_segment, small


@pytest.fixture
def spool(tmp_path: Path) -> SpoolDirectory:
    return SpoolDirectory(tmp_path, SYSTEM, segment_size=MIB)


def put(spool: SpoolDirectory, *names: str, size: int = MIB, fill: bytes = b"w") -> None:
    for name in names:
        (spool.path / name).write_bytes(fill * size)


def test_listing(spool: SpoolDirectory) -> None:
    """Whole segments, partials and histories are told apart; other names are not looked at."""
    put(spool, small(5).name, small(4, 2).name, f"{small(6).name}.partial")
    put(spool, f"{small(7).name}.partial", size=0)
    put(spool, "00000002.history", "something", size=10)
    put(spool, small(8).name, f"{small(9).name}.partial", size=10)

    found = spool.listing()

    assert found.segments == (small(4, 2), small(5))
    assert found.partials == (small(6), small(7))
    assert [file.timeline for file in found.histories] == [2]
    assert found.odd == (small(8).name, f"{small(9).name}.partial")


def test_newest_segment_stays(spool: SpoolDirectory) -> None:
    """Durable segments go, the newest one never: pg_receivewal goes on behind it; what is not durable stays too."""
    put(spool, *(small(number).name for number in (3, 4, 5, 6)))

    gone = spool.forget_old(frozenset({small(3), small(5), small(6)}))

    assert gone == (small(3), small(5))
    assert spool.listing().segments == (small(4), small(6))


def test_everything_durable_goes_aside(spool: SpoolDirectory) -> None:
    """Aside, nothing stays for pg_receivewal's sake."""
    put(spool, small(3).name)
    spool.prepare(StartPlan(small(2), (), (SpoolFile(small(3), is_partial=False),), needs_seed=True))

    assert spool.listing_aside().segments == (small(3),)
    assert spool.forget_old(frozenset({small(3)})) == (small(3),)
    assert spool.listing_aside().segments == ()


def test_seed(spool: SpoolDirectory) -> None:
    """An empty .partial makes pg_receivewal begin there; one that is there is not cut."""
    plan = StartPlan(small(4), (), (), needs_seed=True)
    spool.prepare(plan)
    assert (spool.path / f"{small(4).name}.partial").stat().st_size == 0

    put(spool, f"{small(4).name}.partial")
    spool.prepare(plan)
    assert (spool.path / f"{small(4).name}.partial").stat().st_size == MIB


def test_quarantine(spool: SpoolDirectory) -> None:
    """A file of an odd size is moved as it is, beside any earlier one of its name; one of zeros holds nothing."""
    name = f"{small(4).name}.partial"
    for fill in (b"1", b"2"):
        put(spool, name, size=100, fill=fill)
        spool.clear_odd()
    put(spool, f"{small(5).name}.partial", size=100, fill=b"\0")
    spool.clear_odd()

    assert (spool.quarantine / name).read_bytes() == b"1" * 100
    assert (spool.quarantine / f"{name}.1").read_bytes() == b"2" * 100
    assert len(list(spool.quarantine.iterdir())) == 2
    assert spool.listing().odd == ()


def test_private(spool: SpoolDirectory) -> None:
    """WAL holds what the database holds: nobody else looks into it."""
    assert spool.path.stat().st_mode & 0o777 == 0o700
    assert spool.aside.stat().st_mode & 0o777 == 0o700


def test_lock(tmp_path: Path) -> None:
    """A spool has one supervisor at a time; when that ends, the next may come."""
    with locked_spool(tmp_path / "spool"), pytest.raises(AlreadyRunning), locked_spool(tmp_path / "spool"):
        pass
    with locked_spool(tmp_path / "spool"):
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_spool_that_is_a_file(tmp_path: Path) -> None:
    """A spool that can not be made is said by name."""
    (tmp_path / "spool").write_bytes(make_segment(small(1))[:10])

    with pytest.raises(SourceUnreadable, match="spool"), locked_spool(tmp_path / "spool"):
        pass

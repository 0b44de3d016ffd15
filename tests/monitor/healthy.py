"""A cluster to which nothing is wrong, as facts; a test says what it changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.walfacts import (
    BackupFact,
    ClusterFacts,
    DiskFacts,
    GapFact,
    RepositoryFacts,
    StoredEnd,
    TimedPosition,
)
from pgvault.monitor.walstatus import judge
from pgvault.postgres.archiver import ArchiverStatistics
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walstate import SlotState, WalState

SIZE = 16 * MIB
GIB = 1024 * MIB
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SYSTEM = 7400000000000000001


def ago(**span: float) -> datetime:
    """So long before NOW."""
    return NOW - timedelta(**span)


def lsn_in(number: int, offset: int = 0) -> Lsn:
    """A position in segment `number`."""
    return Lsn(number * SIZE + offset)


def segment(number: int, timeline: int = 1) -> WalSegment:
    return WalSegment(timeline, number, SIZE)


ARCHIVER = ArchiverStatistics(9, segment(9).name, ago(seconds=40), 0, None, None)
SLOT = SlotState("pgvault", True, lsn_in(10), "reserved", None, None)

# It writes a segment a minute; 9 is the last that is stored, and 10 is being written.
SERVER = WalState(
    system_identifier=SYSTEM,
    version_text="18.6",
    timeline=1,
    is_standby=False,
    at=NOW,
    end_lsn=lsn_in(10, 8 * MIB),
    next_xid=900,
    checkpoint_lsn=lsn_in(9, 5000),
    redo_lsn=lsn_in(9, 4000),
    redo_at=ago(seconds=75),
    quiet=None,
    data_directory=Path("/data"),
    segment_size=SIZE,
    archive_mode="on",
    archive_command="pgvault wal push %p",
    archive_library="",
    archive_timeout=timedelta(seconds=60),
    slot_keep_bytes=None,
    keep_bytes=0,
    archiver=ARCHIVER,
    slot=None,
)
END = StoredEnd(segment(9), lsn_in(10), False, ago(seconds=45), ago(seconds=40))
HELD = RepositoryFacts(
    backups=(BackupFact("older", ago(hours=27), 0), BackupFact("newest", ago(hours=3), 0)),
    unreadable=(),
    lost=(),
    is_system_known=True,
    unprotected=None,
    forks=(),
    timeline=1,
    is_timeline_known=True,
    end=END,
    names=frozenset(segment(number).name for number in range(2, 10)),
    gaps=(),
    positions=(TimedPosition(lsn_in(10), ago(seconds=45)), TimedPosition(lsn_in(5), ago(minutes=61))),
    quiet=(),
)
DISK = DiskFacts(Path("/data/pg_wal"), 100 * GIB, 200 * GIB, 0, 0)
HEALTHY = ClusterFacts("main", NOW, SERVER, HELD, DISK, is_streamed=False, rpo=timedelta(minutes=5))
GAP = GapFact(1, lsn_in(6), lsn_in(7), segment(6).name, 1, "segment missing", is_recorded=False, is_healed=False)


def with_server(**changes: Any) -> ClusterFacts:
    """The healthy cluster with another server."""
    return replace(HEALTHY, server=replace(SERVER, **changes))


def with_held(**changes: Any) -> ClusterFacts:
    """The healthy cluster with another repository."""
    return replace(HEALTHY, repository=replace(HELD, **changes))


def found(facts: ClusterFacts, name: str) -> Finding:
    """The one finding of that name."""
    (finding,) = [each for each in judge(facts) if each.name == name]
    return finding


def levels(facts: ClusterFacts) -> dict[str, Level]:
    """What is not well."""
    return {each.name: each.level for each in judge(facts) if each.level is not Level.OK}

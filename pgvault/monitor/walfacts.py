"""What a status rests on, as plain values, and the figures that follow from them.

    stored end ─────────────┤·····lag·····┤ server's end          bytes: exact
    known at   10:02 ▲          11:40 ▲ now                       seconds: at most 98 min, since all of what is not
                                                                  stored was written after 10:02

A position that the repository holds and of which it is known when WAL stood there (a segment's last write, a
watermark, a backup's stop) bounds the age of the oldest byte behind it from above. It is exactly nothing where no
transaction ended since: an idle server goes on writing snapshots, checkpoints and page headers that no commit is in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pgvault.errors import PgvaultError
from pgvault.monitor.finding import moment
from pgvault.monitor.logicalstatus import LogicalFact
from pgvault.monitor.slots import AgePromise
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walstate import QuietPoint, WalState

HOUR = timedelta(hours=1)
LEAST_PACE_SPAN = timedelta(minutes=1)  # less is no pace, but a moment
# A position right after a switch is behind the header of a page without records; see recovery/idleness.py.
LONG_PAGE_HEADER_BYTES = 40
# A record is never shorter than its header (XLogRecord): where less is missing, no whole record is.
LEAST_RECORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class BackupFact:
    """A committed backup."""

    label: str
    stopped_at: datetime
    bad_pages: int
    is_whole: bool = True  # the archived WAL makes it consistent
    started_at: datetime | None = None  # server clock; None: as it stopped


@dataclass(frozen=True, slots=True)
class TimedPosition:
    """WAL ended at or before `lsn` when the clock said `at`."""

    lsn: Lsn
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredEnd:
    """How far the repository holds WAL without a hole, on the way to the judged timeline."""

    segment: WalSegment  # the last of which bytes are stored
    end_lsn: Lsn  # the first byte that is not; inside a streamed tail, behind the last byte that is not zero
    is_tail: bool
    written_at: datetime | None  # last write of it in pg_wal; when a tail was read; None: it does not open
    stored_at: datetime | None
    error: PgvaultError | None = None  # why it does not open


@dataclass(frozen=True, slots=True)
class GapFact:
    """WAL that is missing while it goes on behind."""

    timeline: int
    start_lsn: Lsn
    end_lsn: Lsn
    first_name: str  # of the first missing segment
    segment_count: int
    cause: str
    is_recorded: bool  # whoever lost it said so
    is_healed: bool  # a backup was taken behind it


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What the repository holds of one cluster; of WAL, that of one system and of the way to one timeline."""

    backups: tuple[BackupFact, ...]  # of the judged system
    unreadable: tuple[str, ...]  # roots and history files that do not open, with why
    lost: tuple[str, ...]  # backups that no archived WAL makes whole, with why
    is_system_known: bool  # the judged system is one of the cluster's
    unprotected: str | None  # what nothing protects: a timeline or system without a backup
    forks: tuple[str, ...]  # other futures in the archive that no backup decides between
    timeline: int | None  # the judged one; None: nothing tells
    is_timeline_known: bool  # its history is archived
    end: StoredEnd | None  # None: no WAL of it at all
    names: frozenset[str]  # of all segments and histories of the judged system
    gaps: tuple[GapFact, ...]
    positions: tuple[TimedPosition, ...]  # on the way to the judged timeline
    quiet: tuple[QuietPoint, ...]  # likewise
    begins_at: datetime | None = None  # since when every moment can be restored, as far as it is archived
    has_expired: bool = False  # retention removed WAL behind a backup that is kept: it restores to its end only
    strays: tuple[str, ...] = ()  # futures that the server is not in, as a backup of it since shows
    logical: tuple[LogicalFact, ...] = ()  # told of, never judged: no WAL goes with them

    @property
    def newest(self) -> BackupFact | None:
        """The newest backup."""
        return max(self.backups, key=lambda backup: backup.stopped_at, default=None)

    def newest_until(self, at: datetime) -> BackupFact | None:
        """The newest backup that did not end later than `at`; where all did, the newest of all."""
        past = (backup for backup in self.backups if backup.stopped_at <= at)
        return max(past, key=lambda backup: backup.stopped_at, default=self.newest)


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The file system of the server's pg_wal, which is on this host."""

    path: Path  # of pg_wal, links followed
    free_bytes: int  # for users that are not root
    total_bytes: int
    ready_count: int | None  # files that wait for the archiver; None: could not be counted
    ready_bytes: int | None


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """All that a status is judged by. What could not be had is an error instead."""

    cluster: str
    host_at: datetime  # this host's clock, when the server's was read
    server: WalState | PgvaultError
    repository: RepositoryFacts | PgvaultError
    disk: DiskFacts | str  # why nothing is known of it
    is_streamed: bool  # the configuration has a stream: for it
    rpo: timedelta | None  # the objective
    waited: timedelta = timedelta(0)  # for the repository to hold what the server had written
    age: AgePromise = field(default_factory=AgePromise)  # when its newest backup is too old
    standby: WalState | None = None  # that the dsn names, where `server` is its primary
    primary_error: PgvaultError | None = None  # why `server` is that standby, although there is a way to its primary


# Where no objective says otherwise: what customers were promised, or what archive_timeout itself makes of it.
USUAL_RPO = timedelta(minutes=15)


def lag_limit(server: WalState, rpo: timedelta | None) -> timedelta:
    """How old the oldest commit may be that is not stored."""
    return rpo or max(USUAL_RPO, 2 * server.archive_timeout)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the repository is behind the server."""

    size: int  # bytes
    seconds: float | None  # age of the oldest commit that may be missing; None: nothing bounds it
    is_exact: bool
    reason: str  # why it is that, or bounded by that


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the server writes WAL."""

    bytes_per_second: float
    over: timedelta  # of which time


def measure_lag(server: WalState, held: RepositoryFacts) -> Lag | None:
    """Compare the server's position with what is stored on its timeline; None where nothing is."""
    if held.end is None or held.timeline != server.timeline:
        return None
    end = held.end.end_lsn
    size = max(0, server.end_lsn - end)
    if size == 0 or (held.end.is_tail and size < LEAST_RECORD_BYTES):
        return Lag(0, 0.0, is_exact=True, reason="all that the server wrote is stored")
    quiet = (*held.quiet, *([server.quiet] if server.quiet else []))
    if any(
        point.next_xid == server.next_xid and point.lsn.value <= end.value + LONG_PAGE_HEADER_BYTES for point in quiet
    ):
        return Lag(size, 0.0, is_exact=True, reason="no transaction has ended since what is stored")
    bounds = [
        (server.at - known.at, f"WAL stood there at {moment(known.at)}")
        for known in (*held.positions, last_checkpoint(server))
        if known.lsn.value <= end.value + LONG_PAGE_HEADER_BYTES
    ]
    segment_start = server.end_lsn.value // server.segment_size * server.segment_size
    if server.is_archiving and server.archive_timeout and end.value >= segment_start:
        # Every finished segment is stored, and no commit stays in an unfinished one for longer.
        bounds.append((server.archive_timeout, "every finished segment is stored, and archive_timeout finishes them"))
    if not bounds:
        return Lag(size, None, is_exact=False, reason="nothing tells when WAL stood where the stored part ends")
    least, reason = min(bounds, key=lambda bound: bound[0])
    return Lag(size, max(0.0, least.total_seconds()), is_exact=False, reason=reason)


def last_checkpoint(server: WalState) -> TimedPosition:
    """What the server itself says of when its WAL stood where."""
    return TimedPosition(server.redo_lsn, server.redo_at)


def measure_pace(server: WalState, positions: Iterable[TimedPosition]) -> Pace | None:
    """Return the pace of the last hour, or of as much of it as is known; None when that is no minute.

    From the last position known before the hour began; what was written since then may all lie in that hour, so
    the pace is never too low.
    """
    past = [known for known in (*positions, last_checkpoint(server)) if known.lsn <= server.end_lsn]
    older = [known for known in past if server.at - known.at >= HOUR]
    first = max(older, key=lambda known: known.lsn) if older else min(past, key=lambda known: known.at, default=None)
    if first is None or server.at - first.at < LEAST_PACE_SPAN:
        return None
    over = min(server.at - first.at, HOUR)
    return Pace((server.end_lsn - first.lsn) / over.total_seconds(), over)

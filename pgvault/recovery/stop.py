"""Where recovery from one backup stops, and how PostgreSQL is told so; or that this backup is too new for it.

    target        recovery_target…             when
    time          time                         a later commit or abort is covered
                  lsn of the last record       none is, but idleness is proven (idleness.py)
                  immediate                    … and nothing happened since the backup
    LSN           lsn                          a record at or behind it is covered
    xid, name     xid, name                    its record is covered (this reads all WAL between)
    immediate     immediate
    latest        lsn of the last record       no hole before more WAL
    last-good     lsn, exclusive               all up to the end of what a drill replayed is covered
                  lsn of the last record       … and nothing behind it

recovery_target_inclusive is always said. `None` stands for "not with this backup": an older one may do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgvault.errors import PgvaultError, TargetTooLate, WalGap
from pgvault.instants import iso
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.covered import CoveredWal
from pgvault.recovery.facts import Backup, Transaction, Watermark
from pgvault.recovery.idleness import proven_until
from pgvault.recovery.landing import Instant, Landing, find_landing
from pgvault.recovery.path import RecoveryPath
from pgvault.recovery.target import (
    ImmediateTarget,
    LastGoodTarget,
    LatestTarget,
    LsnTarget,
    NameTarget,
    Target,
    TimeTarget,
    XidTarget,
)

RESOLUTION = timedelta(microseconds=1)  # of times in WAL


@dataclass(frozen=True, slots=True)
class Candidate:
    """One backup and the way on from it."""

    backup: Backup
    path: RecoveryPath
    wal: CoveredWal
    watermarks: Sequence[Watermark]


@dataclass(frozen=True, slots=True)
class Stop:
    """Where recovery is going to stop."""

    settings: Mapping[str, str]  # recovery_target_<kind> and recovery_target_inclusive
    at_least: Lsn  # replay passes this: the start of a record that is replayed, or the backup's stop
    before: Lsn | None = None  # the record that starts here is not replayed; None where that is not known
    reads_to: Lsn | None = None  # where the last record to read ends, or little behind; None: that is not known yet
    last_commit: Transaction | None = None  # the last one replayed, where known
    next: Transaction | None = None  # the commit or abort at `before`, where there is one
    notes: tuple[str, ...] = ()


def is_too_new(backup: Backup, target: Target) -> bool:
    """Tell of a backup, whatever WAL there is, that it ended behind the target: an older one may do.

    Asked before any WAL is walked: a target of last month has many newer backups.
    """
    match target:
        case TimeTarget():
            return backup.stopped_at >= target.at
        case LsnTarget():
            return target.lsn < backup.stop_lsn
        case LastGoodTarget(lsn=Lsn() as lsn):
            return lsn < backup.stop_lsn
        case _:
            return False


def find_stop(candidate: Candidate, target: Target, *, is_inclusive: bool) -> Stop | None:
    """Return where `target` stops recovery of this backup; None when it lies before the backup's end.

    Raises TargetTooLate and WalGap.
    """
    if is_too_new(candidate.backup, target):
        return None
    match target:
        case TimeTarget():
            return _at_time(candidate, Instant(target.at, is_inclusive))
        case LsnTarget():
            return _at_lsn(candidate, target, is_inclusive=is_inclusive)
        case XidTarget():
            return _at_xid(candidate, target, is_inclusive=is_inclusive)
        case NameTarget():
            return _at_name(candidate, target)
        case ImmediateTarget():
            require_whole(candidate)
            return _at_backup(candidate)
        case LatestTarget():
            return _at_end(candidate)
        case LastGoodTarget():
            return _at_proven(candidate, target)


def require_whole(candidate: Candidate) -> None:
    """Raise WalGap unless all WAL from the backup's start to its stop is archived."""
    coverage = candidate.wal.coverage
    if coverage.end_lsn < candidate.backup.stop_lsn:
        raise WalGap(
            f"WAL segment {coverage.missing.name!r} is missing, without which backup {candidate.backup.label!r}"
            " cannot be restored at all",
            hint="Restore an older backup with --backup, to a point before that segment.",
        )


def _at_time(candidate: Candidate, instant: Instant) -> Stop | None:
    backup, wal = candidate.backup, candidate.wal
    require_whole(candidate)
    landing = find_landing(wal, instant)
    if landing.next is None:
        return _at_idle_time(candidate, instant, landing)
    if landing.next.lsn < backup.stop_lsn:
        return None  # a clock was set back: PostgreSQL would stop inside the backup
    return Stop(
        _settings("time", postgres_time(instant.at), is_inclusive=instant.is_inclusive),
        at_least=max(backup.stop_lsn, landing.previous.lsn) if landing.previous else backup.stop_lsn,
        before=landing.next.lsn,
        last_commit=landing.last_commit,
        next=landing.next,
    )


def _at_idle_time(candidate: Candidate, instant: Instant, landing: Landing) -> Stop:
    """Stop by LSN: nothing that is covered comes after the instant, so PostgreSQL would never stop by time."""
    coverage = candidate.wal.coverage
    proven = proven_until(candidate.path, coverage.end_lsn, watermarks=candidate.watermarks)
    if proven is None or proven < instant.at:
        raise _beyond(candidate, f"time {iso(instant.at)}", _furthest_instant(landing.previous, proven, instant))
    last = landing.previous
    since = last.at if last and last.lsn >= candidate.backup.stop_lsn else candidate.backup.stopped_at
    notes = (f"idle from {iso(since)} to {iso(proven)}",)
    if last is None or last.lsn < candidate.backup.stop_lsn:
        return _at_backup(candidate, last_commit=landing.last_commit, notes=notes)
    return Stop(_settings("lsn", str(last.lsn)), at_least=last.lsn, last_commit=landing.last_commit, notes=notes)


def _at_lsn(candidate: Candidate, target: LsnTarget, *, is_inclusive: bool) -> Stop | None:
    backup, wal = candidate.backup, candidate.wal
    require_whole(candidate)
    found = wal.record_at(target.lsn)
    if found is None:
        raise _beyond(candidate, f"LSN {target.lsn}", None)
    # PostgreSQL reads that record whole before it stops, on either side of it.
    start, end = found
    settings = _settings("lsn", str(target.lsn), is_inclusive=is_inclusive)
    if is_inclusive:
        return Stop(settings, at_least=start, reads_to=end)
    return Stop(settings, at_least=backup.stop_lsn, before=start, reads_to=end)


def _at_proven(candidate: Candidate, target: LastGoodTarget) -> Stop:
    """Stop where a drill stopped: behind the record that ends there, which the next record tells, or the end of all."""
    backup, wal = candidate.backup, candidate.wal
    assert target.lsn is not None
    require_whole(candidate)
    if wal.coverage.end_lsn < target.lsn:
        raise _beyond(candidate, str(target), None)
    found = wal.record_at(target.lsn)
    if found is None:
        return _at_end_of(candidate)
    last_commit = next((record for record in _before(wal, target.lsn) if record.is_commit), None)
    return Stop(
        _settings("lsn", str(target.lsn), is_inclusive=False),
        at_least=max(backup.stop_lsn, target.lsn + -1),  # its last byte, where no record starts
        before=found[0],
        reads_to=found[1],
        last_commit=last_commit,
    )


def _before(wal: CoveredWal, lsn: Lsn) -> Iterator[Transaction]:
    """Yield the transactions that ended before a position, latest first."""
    index = min(wal.index(lsn), len(wal.segments) - 1)
    return (record for record in wal.transactions_before(index + 1) if record.lsn < lsn)


def _at_xid(candidate: Candidate, target: XidTarget, *, is_inclusive: bool) -> Stop | None:
    found = next((record for record in candidate.wal.all_transactions() if record.xid == target.wal_xid), None)
    if found is None or found.lsn < candidate.backup.stop_lsn:
        return None
    settings = _settings("xid", str(target.xid), is_inclusive=is_inclusive)
    if not is_inclusive:
        return Stop(settings, at_least=candidate.backup.stop_lsn, before=found.lsn, next=found)
    return Stop(settings, at_least=found.lsn, last_commit=found if found.is_commit else None)


def _at_name(candidate: Candidate, target: NameTarget) -> Stop | None:
    found = [point for point in candidate.wal.all_restore_points() if point.name == target.name]
    if not found or found[0].lsn < candidate.backup.stop_lsn:
        return None
    notes: tuple[str, ...] = ()
    if len(found) > 1:
        others = ", ".join(str(point.lsn) for point in found[1:])
        notes = (f"{target} was made {len(found)} times; recovery stops at the first, {found[0].lsn}, not at {others}",)
    # PostgreSQL ignores "inclusive" here.
    return Stop(_settings("name", target.name), at_least=found[0].lsn, notes=notes)


def _at_end(candidate: Candidate) -> Stop:
    require_whole(candidate)
    if candidate.wal.coverage.has_more:
        raise _beyond(candidate, "the end of the archived WAL", None)
    return _at_end_of(candidate)


def _at_end_of(candidate: Candidate) -> Stop:
    """Stop behind the last whole record that is covered."""
    last = candidate.wal.end_of_records()
    if last is None or last < candidate.backup.stop_lsn:
        return _at_backup(candidate)
    last_commit = next(
        (record for record in candidate.wal.transactions_before(len(candidate.wal.segments)) if record.is_commit), None
    )
    reads_to = candidate.wal.coverage.end_lsn  # it may be longer than a segment
    return Stop(_settings("lsn", str(last)), at_least=last, reads_to=reads_to, last_commit=last_commit)


def _at_backup(candidate: Candidate, *, last_commit: Transaction | None = None, notes: tuple[str, ...] = ()) -> Stop:
    """Stop where the backup is whole.

    PostgreSQL stops there before the next record, or after one that ends a transaction. A primary's backup ends with a
    record that others follow. Behind that of a standby there may be none yet: then the last one is named.
    """
    stop_lsn = candidate.backup.stop_lsn
    settings, reads_to = {"recovery_target": "immediate", "recovery_target_inclusive": "on"}, stop_lsn
    if candidate.backup.is_from_standby:
        behind, last = candidate.wal.record_at(stop_lsn), candidate.wal.end_of_records()
        if behind is not None:
            reads_to = behind[1]
        elif last is not None:
            settings = _settings("lsn", str(last))
    return Stop(settings, at_least=stop_lsn, reads_to=reads_to, last_commit=last_commit, notes=notes)


def _beyond(candidate: Candidate, target: str, furthest_at: datetime | None) -> PgvaultError:
    """Say why `target` cannot be reached, and how far one can go."""
    wal = candidate.wal
    end = wal.end_of_records()
    furthest = f"LSN {end}" if end and end >= candidate.backup.stop_lsn else "the end of the backup"
    if furthest_at:
        furthest = f"{iso(furthest_at)} ({furthest})"
    if wal.coverage.has_more:
        return WalGap(
            f"WAL segment {wal.coverage.missing.name!r} is missing between backup {candidate.backup.label!r} and"
            f" {target}; the furthest reachable point is {furthest}",
            hint="Segments behind the gap are of no use without it. Push that segment if a server still has it.",
        )
    return TargetTooLate(
        f"{target} lies beyond what the archived WAL proves, which is {furthest}; since then the server was idle,"
        " or its archiver stopped",
        hint="Look at pg_stat_archiver on the server. --to latest restores all that is archived.",
    )


def _furthest_instant(last: Transaction | None, proven: datetime | None, instant: Instant) -> datetime | None:
    """The latest instant that could be asked for: provably idle until then, or just before the last record."""
    reachable = [proven] if proven else []
    if last:
        reachable.append(last.at - RESOLUTION if instant.is_inclusive else last.at)
    return max(reachable, default=None)


def _settings(kind: str, value: str, *, is_inclusive: bool = True) -> dict[str, str]:
    return {f"recovery_target_{kind}": value, "recovery_target_inclusive": "on" if is_inclusive else "off"}


def postgres_time(at: datetime) -> str:
    """Print an instant as recovery_target_time takes it on every major; `Z` and `T…Z` are refused by 15."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00"

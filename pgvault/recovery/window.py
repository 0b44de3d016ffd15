"""The recovery window, a value: every stretch of WAL in which each moment can be restored, and every gap between.

    timeline 1   ──●═══════════════╡   ╎ gap ╎   ──●══════╤═══════╡      ● stop of a backup: a range begins
    timeline 2                                            └═══════════╡  ╡ first byte that is not archived: it ends

A range says: from one of its backups, with --timeline, recovery reaches every LSN from `start_lsn` up to `end_lsn`
on the way to its timeline. A timeline that was promoted therefore begins where its way's first backup stopped, on its
parent; `branch` says which bytes it shares with that, so that whoever adds up lengths counts them once. Ranges and
gaps that lie wholly on an ancestor's part of the way are listed there, and only there; `ways` has them for each.

Times come from facts alone: `starts_at` is a backup's stop by the server's clock, `proven_until` the latest instant
that an idle watermark or another backup's stop proves. `last_write_at` is what the archiving host's clock said when
the last segment was written: it proves nothing, and commits up to about then may well be restorable. Names in a
listing are not proof that a segment can be read (verify is), and a gap's cause is told, not proven. Only where records
say that retention removed WAL is there no gap: then a range was meant to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pgvault.errors import PgvaultError
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.facts import Backup, Inventory, Watermark
from pgvault.recovery.path import leading_timelines
from pgvault.recovery.ways import RestoredFrom, find_lost, is_gap_told, is_told, walk
from pgvault.recovery.windowparts import BackupPoint, GapRecord, LostBackup, WindowGap, WindowRange


@dataclass(frozen=True, slots=True)
class Point:
    """A reachable point: an instant, an LSN, or both where a range begins (there: just after that instant)."""

    timeline: int
    label: str  # the backup to restore: the newest that leads to it
    at: datetime | None
    lsn: Lsn | None
    labels: tuple[str, ...]  # of all backups of its range


@dataclass(frozen=True, slots=True)
class Nearest:
    """The reachable points around a wanted one; both are that one when it can be reached."""

    before: Point | None
    after: Point | None


@dataclass(frozen=True, slots=True)
class RecoveryWindow:
    """What one system can be restored to."""

    ranges: tuple[WindowRange, ...]  # by timeline and start; each once
    gaps: tuple[WindowGap, ...]  # likewise
    lost: tuple[LostBackup, ...]
    leading: tuple[int, ...]  # timelines that a restore without --timeline follows; several: contested
    ways: Mapping[int, tuple[WindowRange, ...]] = field(default_factory=dict, repr=False)  # all on the way to each

    @property
    def begins_at(self) -> datetime | None:
        """Since when every moment can be restored up to the latest one; None where nothing can be restored."""
        latest = [found for timeline in self.leading for found in self.ways.get(timeline, ())[-1:]]
        return min((found.starts_at for found in latest), default=None)

    def parent_of(self, found: WindowRange) -> WindowRange | None:
        """Return the parent's range that a range shares its first bytes with."""
        if found.branch is None:
            return None
        parents = self.ways.get(found.branch.timeline, ())
        return next((parent for parent in parents if parent.start_lsn == found.start_lsn), None)

    def nearest(self, instant: datetime, *, timeline: int | None = None) -> Nearest:
        """Return the nearest instants that provably can be reached, on the way to `timeline`, else to the leading ones.

        Later commits of the earlier one's range may be restorable too: only their WAL tells.
        """
        before: list[tuple[datetime, WindowRange]] = []
        after: list[tuple[datetime, WindowRange]] = []
        for found in self._on(timeline):
            if found.starts_at < instant:
                before.append((min(instant, found.proven_until), found))
            if instant <= found.proven_until or found.starts_at >= instant:
                after.append((max(instant, found.starts_at), found))
        latest = max(before, key=lambda each: each[0], default=None)
        earliest = min(after, key=lambda each: each[0], default=None)
        return Nearest(latest and _at_instant(*latest), earliest and _at_instant(*earliest))

    def nearest_lsn(self, lsn: Lsn, *, timeline: int | None = None) -> Nearest:
        """Return the nearest reachable LSNs; the earlier one is an end that is not archived itself."""
        before: list[tuple[Lsn, WindowRange]] = []
        after: list[tuple[Lsn, WindowRange]] = []
        for found in self._on(timeline):
            if found.start_lsn <= lsn:
                before.append((min(lsn, found.end_lsn), found))
            if lsn < found.end_lsn or found.start_lsn >= lsn:
                after.append((max(lsn, found.start_lsn), found))
        latest = max(before, key=lambda each: each[0], default=None)
        earliest = min(after, key=lambda each: each[0], default=None)
        return Nearest(latest and _at_lsn(*latest), earliest and _at_lsn(*earliest))

    def _on(self, timeline: int | None) -> list[WindowRange]:
        timelines = self.leading or tuple(self.ways) if timeline is None else (timeline,)
        return [found for each in timelines for found in self.ways.get(each, ())]


def recovery_window(
    backups: Sequence[Backup],
    inventory: Inventory,
    watermarks: Sequence[Watermark],
    gaps: Sequence[GapRecord] = (),
) -> RecoveryWindow:
    """Return the window of one system; pure, and without the times of segments (systemwindow.py reads them)."""
    try:
        leading = leading_timelines(inventory, backups)
    except PgvaultError:  # the newest backup's own history is lost: nobody knows how the story went on
        leading = ()
    found = tuple(walk(RestoredFrom(backups, watermarks, gaps), inventory, leading=leading))
    ranges = [each for way in found for each in way.ranges if not is_told(each, way, found)]
    told = [each for way in found for each in way.gaps if not is_gap_told(each, way, found)]
    lost = find_lost(backups, ranges, found)
    return RecoveryWindow(tuple(ranges), tuple(told), tuple(lost), leading, {way.timeline: way.ranges for way in found})


def _at_instant(at: datetime, found: WindowRange) -> Point:
    if at <= found.starts_at:
        return _at_stop(found, next(backup for backup in found.backups if backup.stopped_at == found.starts_at))
    label = [backup for backup in found.backups if backup.stopped_at < at][-1].label
    return Point(found.timeline, label, at, None, found.labels)


def _at_lsn(lsn: Lsn, found: WindowRange) -> Point:
    if lsn <= found.start_lsn:
        return _at_stop(found, found.backups[0])
    label = [backup for backup in found.backups if backup.stop_lsn <= lsn][-1].label
    return Point(found.timeline, label, None, lsn, found.labels)


def _at_stop(found: WindowRange, backup: BackupPoint) -> Point:
    return Point(found.timeline, backup.label, backup.stopped_at, backup.stop_lsn, found.labels)

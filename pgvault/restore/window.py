"""The recovery window: the continuous runs of WAL, per timeline, in which every moment can be restored.

A run begins at the stop of a backup (before that nothing is consistent) and ends where the first segment is missing
on the way to its timeline. Times come from facts alone: `starts_at` is a backup's stop by the server's clock,
`proven_until` the latest instant that an idle watermark proves. Later commits may well be restorable too; a listing
does not open WAL to find out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgvault.postgres.lsn import Lsn
from pgvault.restore.facts import Backup, Inventory, Watermark
from pgvault.restore.idleness import proven_until
from pgvault.restore.path import RecoveryPath, cover, find_path


@dataclass(frozen=True, slots=True)
class WindowRange:
    """One run without a hole."""

    timeline: int
    start_lsn: Lsn  # stop of the first backup in it
    end_lsn: Lsn  # first byte not archived
    starts_at: datetime
    proven_until: datetime
    labels: tuple[str, ...]  # the backups that lie in it, oldest first
    has_gap_behind: bool  # WAL of this timeline goes on behind a missing segment


def recovery_window(
    backups: Sequence[Backup], inventory: Inventory, watermarks: Sequence[Watermark]
) -> tuple[WindowRange, ...]:
    """Return the runs of one system, by timeline and start; empty when no backup's own WAL is whole."""
    timelines = {segment.timeline for segment in inventory.segments}
    ranges: dict[tuple[int, Lsn], WindowRange] = {}
    for timeline in sorted(t for t in timelines if t == 1 or t in inventory.histories):
        path = find_path(timeline, inventory)
        for backup in sorted((b for b in backups if path.holds(b)), key=lambda b: b.stop_lsn):
            found = _run(path, backup, inventory, watermarks)
            if found is not None:
                _merge(ranges, found)
    return tuple(ranges.values())


def _run(
    path: RecoveryPath, backup: Backup, inventory: Inventory, watermarks: Iterable[Watermark]
) -> WindowRange | None:
    coverage = cover(path, backup.start_lsn, archived=inventory.segments)
    end = coverage.end_lsn
    if end < backup.stop_lsn:
        return None
    proven = max(backup.stopped_at, proven_until(path, end, watermarks=watermarks) or backup.stopped_at)
    return WindowRange(
        path.timeline, backup.stop_lsn, end, backup.stopped_at, proven, (backup.label,), coverage.has_more
    )


def _merge(ranges: dict[tuple[int, Lsn], WindowRange], found: WindowRange) -> None:
    """Runs of one timeline that end at the same byte are one: the earlier backup reaches as far."""
    key = (found.timeline, found.end_lsn)
    first = ranges.get(key)
    if first is None:
        ranges[key] = found
        return
    ranges[key] = WindowRange(
        first.timeline,
        first.start_lsn,
        first.end_lsn,
        first.starts_at,
        max(first.proven_until, found.proven_until),
        first.labels + found.labels,
        first.has_gap_behind,
    )

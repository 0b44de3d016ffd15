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
listing are not proof that a segment can be read (verify is), and a gap's cause is told, not proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from pgvault.errors import PgvaultError
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.restore.facts import Backup, Inventory, Watermark
from pgvault.restore.idleness import proven_until
from pgvault.restore.path import RecoveryPath, find_path, leading_timelines
from pgvault.restore.stretches import Run, Stretch, find_runs, find_stretches, stretch_with
from pgvault.restore.windowparts import (
    BackupPoint,
    Branch,
    GapRecord,
    LostBackup,
    Standing,
    WindowGap,
    WindowRange,
)

MISSING = "segment missing (never arrived, or removed)"


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
    """Return the window of one system; pure, and without the times of segments (see `read_window`)."""
    try:
        leading = leading_timelines(inventory, backups)
    except PgvaultError:  # the newest backup's own history is lost: nobody knows how the story went on
        leading = ()
    search = _Search(backups, inventory, watermarks, gaps, leading, find_runs(inventory.segments))
    paths = {timeline: find_path(timeline, inventory) for timeline in _timelines(inventory, backups)}
    ways = {timeline: search.ranges_on(path) for timeline, path in paths.items()}
    gaps_on = {timeline: search.gaps_on(path) for timeline, path in paths.items()}
    ranges = [each for timeline in paths for each in ways[timeline] if not _is_told(each, paths[timeline], ways)]
    told = [
        each for timeline in paths for each in gaps_on[timeline] if not _is_gap_told(each, paths[timeline], gaps_on)
    ]
    return RecoveryWindow(tuple(ranges), tuple(told), tuple(search.lost(paths, ranges)), leading, ways)


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked through for every timeline."""

    backups: Sequence[Backup]
    inventory: Inventory
    watermarks: Sequence[Watermark]
    records: Sequence[GapRecord]
    leading: tuple[int, ...]
    runs: Mapping[int, Sequence[Run]]

    def ranges_on(self, path: RecoveryPath) -> tuple[WindowRange, ...]:
        """Return the ranges on the way to a timeline, in order."""
        stretches = self._stretches(path)
        members: dict[Stretch, list[Backup]] = {}
        for backup in self._held(path):
            stretch = stretch_with(stretches, backup.start_lsn.value // path.segment_size)
            if stretch is not None and stretch.end_lsn >= backup.stop_lsn:
                members.setdefault(stretch, []).append(backup)
        return tuple(
            self._range(path, stretch, members[stretch], has_gap_behind=stretch is not stretches[-1])
            for stretch in stretches
            if stretch in members
        )

    def gaps_on(self, path: RecoveryPath) -> tuple[WindowGap, ...]:
        """Return the gaps on the way to a timeline, in order, behind the start of its first backup."""
        held = self._held(path)
        if not held:
            return ()
        size = path.segment_size
        origin = min(backup.start_lsn.value for backup in held) // size
        stretches = [stretch for stretch in self._stretches(path) if stretch.last_number >= origin]
        front = Stretch(origin, origin - 1, Lsn(origin * size), has_tail=False)
        starts = [front, *stretches] if not stretches or stretches[0].first > origin else stretches
        found = [self._gap(path, earlier, later) for earlier, later in pairwise(starts)]
        found += self._recorded(path, starts[-1])
        stops = sorted(point.stop_lsn for each in self.ranges_on(path) for point in each.backups)
        return tuple(
            replace(gap, reachable_again_lsn=next((stop for stop in stops if stop >= gap.end_lsn), None))
            for gap in found
        )

    def lost(self, paths: Mapping[int, RecoveryPath], ranges: Iterable[WindowRange]) -> Iterator[LostBackup]:
        """Yield the backups that are in no range, and why."""
        whole = {label for found in ranges for label in found.labels}
        for backup in self.backups:
            if backup.label in whole:
                continue
            path = paths.get(backup.timeline)
            if path is None:
                yield LostBackup(backup.label, f"timeline {backup.timeline} has no history file that can be read")
            elif not path.holds(backup):
                yield LostBackup(backup.label, f"it does not lie on its timeline {backup.timeline} as that is archived")
            else:
                stretch = stretch_with(self._stretches(path), backup.start_lsn.value // path.segment_size)
                number = backup.start_lsn.value // path.segment_size if stretch is None else stretch.last + 1
                name = path.segment(number).name
                yield LostBackup(backup.label, f"WAL segment {name} is missing, which it needs to be whole")

    def _stretches(self, path: RecoveryPath) -> tuple[Stretch, ...]:
        return find_stretches(path, self.runs, tails=_tails(self.inventory))

    def _held(self, path: RecoveryPath) -> list[Backup]:
        return sorted((backup for backup in self.backups if path.holds(backup)), key=lambda backup: backup.stop_lsn)

    def _range(
        self, path: RecoveryPath, stretch: Stretch, backups: Sequence[Backup], *, has_gap_behind: bool
    ) -> WindowRange:
        first = backups[0]
        proven = proven_until(path, stretch.end_lsn, watermarks=self.watermarks)
        stops = [backup.stopped_at for backup in backups]
        entries = path.history.entries
        has_branch = bool(entries) and first.stop_lsn < entries[-1].switch_lsn
        return WindowRange(
            timeline=path.timeline,
            start_lsn=first.stop_lsn,
            end_lsn=stretch.end_lsn,
            starts_at=first.stopped_at,
            proven_until=max([*stops, *([proven] if proven else [])]),
            backups=tuple(BackupPoint(each.label, each.stop_lsn, each.stopped_at) for each in backups),
            has_gap_behind=has_gap_behind,
            branch=Branch(entries[-1].timeline, entries[-1].switch_lsn) if has_branch else None,
            standing=self._standing(path, stretch.end_lsn),
            last_segment=path.segment(stretch.last_number),
            is_tail=stretch.has_tail,
        )

    def _standing(self, path: RecoveryPath, end_lsn: Lsn) -> Standing:
        """Tell whether the leading timelines' way goes through all of a range, or is one of several."""
        if path.timeline in self.leading:
            return Standing.FOLLOWED if len(self.leading) == 1 else Standing.CONTESTED
        for leader in self.leading:
            history = find_path(leader, self.inventory).history
            left_at = history.end_of(path.timeline) if history.holds_timeline(path.timeline) else None
            if left_at is not None and end_lsn <= left_at:
                return Standing.FOLLOWED
        return Standing.LEFT

    def _gap(self, path: RecoveryPath, earlier: Stretch, later: Stretch) -> WindowGap:
        start, end = earlier.end_lsn, Lsn(later.first * path.segment_size)
        records = self._records(path, start, max(end, start + 1))
        return WindowGap(
            timeline=path.timeline,
            start_lsn=start,
            end_lsn=end,
            segment_count=later.first - earlier.last - 1,
            cause="; ".join(dict.fromkeys(record.cause for record in records)) or MISSING,
            noticed_at=min((record.noticed_at for record in records), default=None),
            before=path.segment(earlier.last_number) if earlier.last_number >= earlier.first else None,
            behind=path.segment(later.first),
            reachable_again_lsn=None,
        )

    def _recorded(self, path: RecoveryPath, last: Stretch) -> Iterator[WindowGap]:
        """Yield what records say is lost behind the end of all that is archived: nothing has arrived since."""
        size = path.segment_size
        reached = last.end_lsn
        for record in self._records(path, reached, None):
            start = max(record.start_lsn, reached)
            if record.end_lsn <= start:
                continue  # told by an earlier record
            yield WindowGap(
                timeline=path.timeline,
                start_lsn=start,
                end_lsn=record.end_lsn,
                segment_count=(record.end_lsn.value - 1) // size - start.value // size + 1,
                cause=record.cause,
                noticed_at=record.noticed_at,
                before=path.segment(last.last_number) if last.last_number >= last.first else None,
                behind=None,
                reachable_again_lsn=None,
            )
            reached = record.end_lsn

    def _records(self, path: RecoveryPath, start: Lsn, end: Lsn | None) -> list[GapRecord]:
        """The records about bytes of the way from `start` to `end`, in order."""
        return sorted(
            (
                record
                for record in self.records
                if record.end_lsn > start
                and (end is None or record.start_lsn < end)
                and path.timeline_of(record.start_lsn) == record.timeline
            ),
            key=lambda record: (record.start_lsn, record.end_lsn),
        )


def _timelines(inventory: Inventory, backups: Sequence[Backup]) -> list[int]:
    """The timelines of which anything is archived, and whose way is known."""
    seen = {segment.timeline for segment in (*inventory.segments, *_tails(inventory))}
    seen |= {backup.timeline for backup in backups}
    return [each for each in sorted(seen) if each == 1 or each in inventory.histories]


def _tails(inventory: Inventory) -> Mapping[WalSegment, Lsn]:
    return {segment: end for segment, end in inventory.tails.items() if segment not in inventory.segments}


def _is_told(part: WindowRange, path: RecoveryPath, ways: Mapping[int, Sequence[WindowRange]]) -> bool:
    """Tell whether a range lies on an ancestor's piece of the way, where it is told already."""
    return any(
        told.start_lsn == part.start_lsn and part.end_lsn <= min(told.end_lsn, entry.switch_lsn)
        for entry in path.history.entries
        for told in ways.get(entry.timeline, ())
    )


def _is_gap_told(part: WindowGap, path: RecoveryPath, ways: Mapping[int, Sequence[WindowGap]]) -> bool:
    """Likewise of a gap; one that ends elsewhere on an ancestor is another gap."""
    return any(
        (told.start_lsn, told.end_lsn) == (part.start_lsn, part.end_lsn) and part.end_lsn <= entry.switch_lsn
        for entry in path.history.entries
        for told in ways.get(entry.timeline, ())
    )


def _at_instant(at: datetime, found: WindowRange) -> Point:
    if at <= found.starts_at:
        return _at_start(found)
    label = [backup for backup in found.backups if backup.stopped_at < at][-1].label
    return Point(found.timeline, label, at, None, found.labels)


def _at_lsn(lsn: Lsn, found: WindowRange) -> Point:
    if lsn <= found.start_lsn:
        return _at_start(found)
    label = [backup for backup in found.backups if backup.stop_lsn <= lsn][-1].label
    return Point(found.timeline, label, None, lsn, found.labels)


def _at_start(found: WindowRange) -> Point:
    return Point(found.timeline, found.backups[0].label, found.starts_at, found.start_lsn, found.labels)

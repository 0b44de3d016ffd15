"""The way through the timelines: which WAL segments lead from a backup to a wanted end.

    timeline 1   ──────●───────●──────────┐ 0/5400000        segment 5 of timeline 2 begins with a copy of what
    timeline 2                     └──────┴──────●────       timeline 1 wrote up to the switch, so recovery
    segment      3     4       5           6     7           takes 1/3, 1/4, 2/5, 2/6, 2/7

Of each number recovery takes the segment of the newest timeline that has begun at its end, and PostgreSQL would
silently take an older timeline's when that one is missing; therefore the plan lists the segments, and what is
not listed is not served. The same number on several timelines is legal. Names in a listing are not proof that a
segment can be read.

The first segment that is not archived whole may have streamed tails: then the way ends inside it. Nothing behind such
a segment counts, even where the tails reach its last byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pgvault.errors import TargetInvalid, WalGap
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import TimelineHistoryFile, WalSegment
from pgvault.recovery.facts import Backup, Inventory

NO_TAILS: Mapping[WalSegment, Lsn] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RecoveryPath:
    """All of the WAL that leads to the end of one timeline."""

    history: TimelineHistory
    segment_size: int  # bytes

    @property
    def timeline(self) -> int:
        """The timeline it leads to; recovery_target_timeline."""
        return self.history.timeline

    def timeline_of(self, lsn: Lsn) -> int:
        """The timeline on which the byte at `lsn` was written."""
        return self.history.timeline_of(lsn)

    def segment(self, number: int) -> WalSegment:
        """The segment of that number that recovery takes."""
        last_byte = Lsn((number + 1) * self.segment_size - 1)
        return WalSegment(self.timeline_of(last_byte), number, self.segment_size)

    def has(self, segment: WalSegment) -> bool:
        """Tell whether recovery takes that segment, and not another timeline's."""
        return self.segment(segment.number) == segment

    def holds(self, backup: Backup) -> bool:
        """Tell whether the backup lies on it as a whole: a timeline left before its stop never had it."""
        if not self.history.holds_timeline(backup.timeline):
            return False
        left_at = self.history.end_of(backup.timeline)
        return self.timeline_of(backup.start_lsn) == backup.timeline and (left_at is None or backup.stop_lsn <= left_at)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is archived of a path, without a hole, from a backup's start on."""

    segments: tuple[WalSegment, ...]  # contiguous; may be empty; the last one may be that of a tail
    missing: WalSegment  # the first that is not archived whole
    has_more: bool  # WAL of this path is archived behind the missing segment: it is a hole, not the end
    tail_lsn: Lsn | None = None  # where the streamed tails of `missing` end; None: it has none

    @property
    def tail(self) -> WalSegment | None:
        """The last of `segments`, where that is put together from tails."""
        return None if self.tail_lsn is None else self.missing

    @property
    def end_lsn(self) -> Lsn:
        """The first byte that is not covered. Certain: a record that ends at or before it is there."""
        return self.missing.start_lsn if self.tail_lsn is None else self.tail_lsn


def find_path(timeline: int, inventory: Inventory) -> RecoveryPath:
    """Return the path to a timeline. Raises WalGap when its history file is not archived, or what is wrong with it."""
    if timeline in inventory.unreadable:
        error = inventory.unreadable[timeline]
        raise type(error)(f"timeline {timeline} can not be followed: {error}", hint=error.hint) from error
    history = TimelineHistory(1) if timeline == 1 else inventory.histories.get(timeline)
    if history is None:
        raise WalGap(
            f"timeline {timeline} has no history file '{TimelineHistoryFile(timeline).name}' in the repository",
            hint="Push that file from pg_wal of a server on this timeline, or choose another --timeline.",
        )
    return RecoveryPath(history, inventory.segment_size)


def cover(
    path: RecoveryPath, start_lsn: Lsn, *, archived: frozenset[WalSegment], tails: Mapping[WalSegment, Lsn] = NO_TAILS
) -> Coverage:
    """Walk the segments from `start_lsn` on, as recovery does, to the first that is not archived, and into its tails.

    `tails` tells up to where segments are streamed; one that does not reach `start_lsn` holds nothing of use.
    """
    segments: list[WalSegment] = []
    missing = path.segment(start_lsn.value // path.segment_size)
    while missing in archived:
        segments.append(missing)
        missing = path.segment(missing.number + 1)
    has_more = any(segment.number > missing.number and path.has(segment) for segment in archived)
    tail_lsn = tails.get(missing)
    if tail_lsn is None or tail_lsn <= start_lsn:
        return Coverage(tuple(segments), missing, has_more)
    return Coverage((*segments, missing), missing, has_more, tail_lsn)


def leading_timelines(inventory: Inventory, backups: Sequence[Backup]) -> tuple[int, ...]:
    """Return the timelines that the story may have gone on with, likeliest first; one where nothing is contested.

    A timeline has ended when another with WAL of its own left it where its own WAL ends: a promotion. Where both
    went on (two primaries, or a restored copy that archived) the newest backup tells, since backups are taken
    where production is; on a branch of its own it names the timeline. Else all that contain it are returned, the
    highest first, which is the one PostgreSQL's own `latest` would take.
    """
    last_numbers: dict[int, int] = {}
    for segment in (*inventory.segments, *inventory.tails):  # a timeline may have begun with nothing but tails
        last_numbers[segment.timeline] = max(segment.number, last_numbers.get(segment.timeline, -1))
    newest = max(backups, key=lambda backup: (backup.stopped_at, backup.stop_lsn), default=None)
    if newest is not None:
        find_path(newest.timeline, inventory)  # production's own history must not be lost
        last_numbers.setdefault(newest.timeline, -1)
    paths = {
        timeline: find_path(timeline, inventory)
        for timeline in sorted(last_numbers, reverse=True)
        if timeline == 1 or timeline in inventory.histories
    }
    ends = {timeline: Lsn((last_numbers[timeline] + 1) * inventory.segment_size) for timeline in paths}
    tips = [
        timeline
        for timeline in paths
        if not any(_takes_over(child, timeline, ends[timeline], backups) for child in paths.values())
    ]
    favoured = [timeline for timeline in tips if newest is not None and paths[timeline].holds(newest)]
    return tuple(favoured or tips)


def other_ends(inventory: Inventory, path: RecoveryPath) -> tuple[int, ...]:
    """Return the timelines with WAL that is on no way to or from `path`: told to whoever restores."""
    seen = {segment.timeline for segment in (*inventory.segments, *inventory.tails)}
    return tuple(sorted(timeline for timeline in seen if not path.history.holds_timeline(timeline)))


def require_holding(path: RecoveryPath, backup: Backup) -> None:
    """Raise TargetInvalid unless the backup lies on the path."""
    if path.holds(backup):
        return
    if path.history.holds_timeline(backup.timeline) and (left_at := path.history.end_of(backup.timeline)):
        reason = f"timeline {path.timeline} left timeline {backup.timeline} at {left_at}, before its stop"
        raise TargetInvalid(f"backup {backup.label!r} does not lead to timeline {path.timeline}: {reason}")
    raise TargetInvalid(
        f"backup {backup.label!r} is of timeline {backup.timeline}, which does not lead to timeline {path.timeline}"
    )


def _takes_over(child: RecoveryPath, timeline: int, end_lsn: Lsn, backups: Sequence[Backup]) -> bool:
    """Tell whether `child` left `timeline` where that ends: in its last segment, and behind all its backups."""
    if timeline == child.timeline or not child.history.holds_timeline(timeline):
        return False
    left_at = child.history.end_of(timeline)
    return (
        left_at is not None
        and end_lsn - left_at < child.segment_size
        and all(backup.stop_lsn <= left_at for backup in backups if backup.timeline == timeline)
    )

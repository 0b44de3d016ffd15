"""What one copy covers in time: backups, stretches in which every moment can be restored, missing WAL; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from pgvault.recovery.window import RecoveryWindow
from pgvault.recovery.windowparts import WindowGap
from pgvault.report.document import Bar, Drill, Hole, Lane, Mark, Proof, Window
from pgvault.repository.catalog import Root
from pgvault.repository.manifest import Manifest

MARKS = 200  # backups of a lane: more would be one blot
LONGEST = timedelta(days=92)  # of the picture: a quarter; what is older is counted, not drawn
SHORTEST = timedelta(minutes=10)


def make_lane(copy: str, roots: Sequence[Root], windows: Iterable[RecoveryWindow], drills: Sequence[Drill]) -> Lane:
    """Return the lane of a copy that was read."""
    found = list(windows)
    marks = sorted((Mark(root.label, str(root.type), root.stopped_at) for root in roots), key=lambda mark: mark.at)
    return Lane(
        copy=copy,
        error=None,
        backup_count=len(marks),
        backups=tuple(marks[-MARKS:]),
        bars=tuple(bar for window in found for bar in _bars(window)),
        holes=tuple(_hole(gap, roots) for window in found for gap in window.gaps),
        not_restorable=tuple(f"{lost.label}: {lost.reason}" for window in found for lost in window.lost),
        proofs=tuple(
            Proof(drill.id, drill.as_of, drill.outcome)
            for drill in drills
            if drill.as_of is not None and copy in drill.copies[:1]
        ),
    )


def silent_lane(copy: str, error: str) -> Lane:
    """Return the lane of a copy that did not answer."""
    return Lane(copy, error, 0, (), (), (), (), ())


def make_window(lanes: Sequence[Lane], *, now: datetime) -> Window:
    """Put lanes side by side, over the span that holds them all, or its last quarter of a year."""
    begun = [at for lane in lanes for at in _instants(lane)]
    oldest = min(begun, default=now)
    return Window(max(min(oldest, now - SHORTEST), now - LONGEST), now, tuple(lanes))


def older_count(window: Window) -> int:
    """How many backups are in a copy and not in its picture, over all copies."""
    drawn = sum(mark.at >= window.from_at for lane in window.lanes for mark in lane.backups)
    return sum(lane.backup_count for lane in window.lanes) - drawn


def _bars(window: RecoveryWindow) -> Iterator[Bar]:
    for each in window.ranges:
        yield Bar(each.timeline, each.starts_at, each.proven_until, each.last_write_at, str(each.standing))


def _hole(gap: WindowGap, roots: Sequence[Root]) -> Hole:
    again = (
        root.stopped_at for root in roots if isinstance(root, Manifest) and root.stop_lsn == gap.reachable_again_lsn
    )
    return Hole(gap.timeline, gap.before_at, gap.behind_at, next(again, None), gap.segment_count, gap.cause)


def _instants(lane: Lane) -> Iterator[datetime]:
    yield from (mark.at for mark in lane.backups)
    yield from (bar.starts_at for bar in lane.bars)
    yield from (proof.at for proof in lane.proofs)

"""Say of a target that can not be reached what can: the nearest points on either side of it, out of the window.

The planner has looked into WAL and says how far it comes with the backup that it tried; the window knows all the
other ranges. Together: "… the furthest reachable point is 2026-01-15T09:58:41+00:00 (LSN 0/9FFFFE0); the next range
begins just after 2026-01-15T10:20:00+00:00, LSN 0/C000190, with backup '20260115T101400Z-f7c2'".
"""

from __future__ import annotations

from collections.abc import Iterator

from pgvault.errors import PgvaultError
from pgvault.instants import iso
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.facts import RestoreFacts
from pgvault.recovery.stop import RESOLUTION
from pgvault.recovery.target import LatestTarget, LsnTarget, Target, TimeTarget
from pgvault.recovery.window import Nearest, RecoveryWindow, recovery_window

LAST_LSN = Lsn(2**64 - 1)


def with_neighbours(
    error: PgvaultError, facts: RestoreFacts, target: Target, *, timeline: int, tried: str | None = None
) -> PgvaultError:
    """Return the error with what can be reached around `target` on the way to `timeline` added to its message.

    `tried`: the label of the backup from which the planner said how far it comes; that is not said twice.
    """
    window = recovery_window(facts.backups, facts.inventory, facts.watermarks, facts.gaps)
    said = "; ".join(_neighbours(window, target, timeline=timeline, tried=tried))
    return type(error)(f"{error}; {said}", hint=error.hint) if said else error


def _neighbours(window: RecoveryWindow, target: Target, *, timeline: int, tried: str | None) -> Iterator[str]:
    where = timeline if window.ways.get(timeline) else None
    if where is None:
        reachable = [str(way) for way, ranges in window.ways.items() if ranges]
        yield f"timelines with anything to restore: {', '.join(reachable) or 'none'}"
    nearest = _nearest(window, target, timeline=where, tried=tried)
    before, after = nearest.before, nearest.after
    on = " on timeline {}" if where is None else ""
    if before is not None and before == after:
        yield f"it can be reached with backup {before.label!r}{on.format(before.timeline)}"
        return
    if before is not None and tried not in before.labels:
        reached = f"LSN {before.lsn}" if before.at is None else f"at least {iso(before.at)}"
        yield f"the range before it reaches to {reached}, from backup {before.label!r}{on.format(before.timeline)}"
    end_lsn = next((each.end_lsn for each in window.ways.get(timeline, ()) if tried in each.labels), None)
    yield from (f"recorded: {gap.cause}" for gap in window.gaps if gap.noticed_at and gap.start_lsn == end_lsn)
    if after is not None and after.at is not None:
        begins = f"just after {iso(after.at)}, LSN {after.lsn}"
        yield f"the next range begins {begins}, with backup {after.label!r}{on.format(after.timeline)}"


def _nearest(window: RecoveryWindow, target: Target, *, timeline: int | None, tried: str | None) -> Nearest:
    """Return the nearest points; within the range of the backup that was tried the planner has seen more."""
    behind = next((each for each in window.ways.get(timeline or 0, ()) if tried in each.labels), None)
    match target:
        case TimeTarget():
            past = behind is not None and behind.starts_at < target.at <= behind.proven_until
            at = behind.proven_until + RESOLUTION if behind and past else target.at
            return window.nearest(at, timeline=timeline)
        case LsnTarget():
            past = behind is not None and behind.start_lsn <= target.lsn < behind.end_lsn
            return window.nearest_lsn(behind.end_lsn if behind and past else target.lsn, timeline=timeline)
        case LatestTarget():
            return window.nearest_lsn(LAST_LSN, timeline=timeline)
        case _:
            return Nearest(None, None)  # nobody knows where a transaction or restore point would be that is nowhere

"""What can be restored before and after an expiry, copy by copy and system by system."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pgvault.expire.actions import WalRemoval, WindowChange
from pgvault.expire.survey import Survey, SystemSurvey
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.window import recovery_window
from pgvault.repository.walindex import WalInventory


def compare_windows(
    surveyed: Survey, *, kept: Collection[str], removals: Sequence[WalRemoval]
) -> Iterator[WindowChange]:
    """Yield each system's window before and after; after: from the backups `kept`, without the WAL that goes."""
    going = {each.system_identifier: each for each in removals}
    for copy in surveyed.copies:
        for system in copy.systems:
            before = [backup for backup in system.backups if backup.label not in surveyed.begun]
            if not before:
                continue
            after = [backup for backup in before if backup.label in kept]
            inventory = _without(system, going.get(system.system_identifier))
            yield WindowChange(
                copy.copy.name,
                system.system_identifier,
                recovery_window(before, system.wal.inventory, ()),
                recovery_window(after, inventory, ()),
            )


def _without(system: SystemSurvey, removal: WalRemoval | None) -> WalInventory:
    known = system.wal.inventory
    gone: set[WalSegment] = set()
    if removal is not None:
        numbers = {(each.first.timeline, each.first.number, each.last.number) for each in removal.ranges}
        gone = {
            segment
            for segment in known.segments
            if any(timeline == segment.timeline and low <= segment.number <= high for timeline, low, high in numbers)
        }
        gone |= set(removal.tails)
    return WalInventory(
        known.system_identifier,
        known.segment_size,
        known.segments - gone,
        known.histories,
        known.unreadable,
        tails={segment: end for segment, end in known.tails.items() if segment not in gone},
    )

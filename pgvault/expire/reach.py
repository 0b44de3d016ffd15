"""Which backups lead where, in one copy: the ways to all timelines of a system, cut into stretches without a hole.

    timeline 1   ──●═════╡ gap ╞══●═══╤══╡     way to 1: two stretches, a backup leads through each
    timeline 2                        └════╡   way to 2: the same first stretch, and a longer second one

A stretch is *open* where production may still be: the last one that a backup leads through, on the way to a leading
timeline of the system that is backed up now, and whatever lies behind. It counts as written just now, however long
the server has been down. Any other one ended before a backup behind it was started, and when its last segment was
written; where neither is known, it did not end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.errors import PgvaultError
from pgvault.expire.facts import PhysicalBackup, WalFacts
from pgvault.recovery.path import RecoveryPath, find_path, leading_timelines
from pgvault.recovery.stretches import Stretch, find_runs, find_stretches


@dataclass(frozen=True, slots=True)
class Reach:
    """A stretch on the way to a timeline, and the backups that lead through it."""

    path: RecoveryPath
    stretch: Stretch
    backups: tuple[PhysicalBackup, ...]  # whose WAL start..stop lies in it, by stop LSN
    is_open: bool
    followed_at: datetime | None = None  # when a backup behind it was started, server clock; None: there is none
    written_at: datetime | None = None  # when its last segment was, by an archiving host's clock; None: not known

    def lasts_until(self, since: datetime, *, margin: timedelta) -> bool:
        """Tell whether moments at or after `since` may lie in it; `margin`: how far clocks of hosts may be apart."""
        if self.is_open:
            return True
        if self.followed_at is not None and self.followed_at <= since:
            return False
        return self.written_at is None or self.written_at + margin >= since


def find_unknown_timelines(wal: WalFacts, backups: Iterable[PhysicalBackup]) -> tuple[int, ...]:
    """Return the timelines of which there is WAL or a backup and no history: nobody knows what they need."""
    inventory = wal.inventory
    seen = {segment.timeline for segment in (*inventory.segments, *inventory.tails)}
    seen |= {backup.timeline for backup in backups}
    return tuple(sorted(seen - {1} - inventory.histories.keys()))


def find_reaches(
    wal: WalFacts, backups: Sequence[PhysicalBackup], *, going: Collection[str], is_current: bool
) -> tuple[Reach, ...]:
    """Return the stretches on the ways to all timelines of a system whose history is known.

    Where production is, is told with the backups `going`, and without them: both answers count.
    """
    inventory = wal.inventory
    runs = find_runs(inventory.segments)
    tails = {segment: end for segment, end in inventory.tails.items() if segment not in inventory.segments}
    seen = {*runs, *(segment.timeline for segment in tails), *(backup.timeline for backup in backups)}
    staying = [backup for backup in backups if backup.label not in going]
    leading = {*_leading(wal, backups), *_leading(wal, staying)} if is_current else set()
    found: list[Reach] = []
    for timeline in sorted(seen - set(find_unknown_timelines(wal, backups))):
        path = find_path(timeline, inventory)
        stretches = find_stretches(path, runs, tails=tails)
        ways = _Way(path, wal, tuple(each for each in backups if path.holds(each)), is_leading=timeline in leading)
        found += ways.reaches(stretches, going)
    return tuple(found)


def _leading(wal: WalFacts, backups: Sequence[PhysicalBackup]) -> Iterable[int]:
    """Return the timelines that production may be on."""
    try:
        return leading_timelines(wal.inventory, backups)
    except PgvaultError:  # the newest backup's own history is lost: any
        return {1, *wal.inventory.histories}


@dataclass(frozen=True, slots=True)
class _Way:
    path: RecoveryPath
    wal: WalFacts
    held: tuple[PhysicalBackup, ...]
    is_leading: bool

    def reaches(self, stretches: Sequence[Stretch], going: Collection[str]) -> Iterator[Reach]:
        members = [self._members(stretch) for stretch in stretches]
        reached = [index for index, backups in enumerate(members) if backups]
        staying = [index for index in reached if any(each.label not in going for each in members[index])]
        last = min(reached[-1] if reached else 0, staying[-1] if staying else 0)
        for index, (stretch, backups) in enumerate(zip(stretches, members, strict=True)):
            is_open = self.is_leading and index >= last
            behind = [backup.started_at for backup in self.held if backup.start_lsn >= stretch.end_lsn]
            yield Reach(
                self.path, stretch, backups, is_open, min(behind, default=None), self._written_at(stretch.last_number)
            )

    def _members(self, stretch: Stretch) -> tuple[PhysicalBackup, ...]:
        """Return the backups that can be restored to their end within a stretch."""
        size = self.path.segment_size
        inside = (each for each in self.held if stretch.holds(each.start_lsn.value // size))
        whole = (each for each in inside if each.stop_lsn <= stretch.end_lsn)
        return tuple(sorted(whole, key=lambda backup: (backup.stop_lsn, backup.label)))

    def _written_at(self, number: int) -> datetime | None:
        """Return when a segment was last written, at the latest: before any behind it on its timeline."""
        last = self.path.segment(number)
        return min(
            (
                written_at
                for segment, written_at in self.wal.last_writes.items()
                if segment.timeline == last.timeline and segment.number >= last.number
            ),
            default=None,
        )

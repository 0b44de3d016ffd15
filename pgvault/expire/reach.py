"""Which backups lead where, in one copy: the ways to all timelines of a system, cut into stretches without a hole.

    timeline 1   ──●═════╡ gap ╞══●═══╤══╡     way to 1: two stretches, a backup leads through each
    timeline 2                        └════╡   way to 2: the same first stretch, and a longer second one

A stretch is *open* where production may still be: the last one that a backup leads through, on the way to a leading
timeline of the system that is backed up now, and whatever lies behind. It counts as written just now, however long
the server has been down. Any other one ended when its last segment was written; when that is not known, it did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    ended_at: datetime | None  # nothing in it was written later; None: not known, or it is open
    is_open: bool

    def lasts_until(self, since: datetime, *, margin: timedelta) -> bool:
        """Tell whether moments at or after `since` may lie in it; `margin`: how far clocks may be apart."""
        return self.is_open or self.ended_at is None or self.ended_at + margin >= since


def find_unknown_timelines(wal: WalFacts, backups: Iterable[PhysicalBackup]) -> tuple[int, ...]:
    """Return the timelines of which there is WAL or a backup and no history: nobody knows what they need."""
    inventory = wal.inventory
    seen = {segment.timeline for segment in (*inventory.segments, *inventory.tails)}
    seen |= {backup.timeline for backup in backups}
    return tuple(sorted(seen - {1} - inventory.histories.keys()))


def find_reaches(wal: WalFacts, backups: Sequence[PhysicalBackup], *, is_current: bool) -> tuple[Reach, ...]:
    """Return the stretches on the ways to all timelines of a system whose history is known."""
    inventory = wal.inventory
    runs = find_runs(inventory.segments)
    tails = {segment: end for segment, end in inventory.tails.items() if segment not in inventory.segments}
    seen = {*runs, *(segment.timeline for segment in tails), *(backup.timeline for backup in backups)}
    leading = _leading(wal, backups) if is_current else ()
    found: list[Reach] = []
    for timeline in sorted(seen - set(find_unknown_timelines(wal, backups))):
        path = find_path(timeline, inventory)
        stretches = find_stretches(path, runs, tails=tails)
        found += _on_way(
            path, stretches, [each for each in backups if path.holds(each)], wal, leading is None or timeline in leading
        )
    return tuple(found)


def _leading(wal: WalFacts, backups: Sequence[PhysicalBackup]) -> Sequence[int] | None:
    """Return the timelines that production may be on; None: any."""
    try:
        return leading_timelines(wal.inventory, backups)
    except PgvaultError:  # the newest backup's own history is lost
        return None


def _on_way(
    path: RecoveryPath, stretches: Sequence[Stretch], held: Sequence[PhysicalBackup], wal: WalFacts, is_leading: bool
) -> Iterator[Reach]:
    members = [_members(path, stretch, held) for stretch in stretches]
    reached = [index for index, backups in enumerate(members) if backups]
    last = reached[-1] if reached else 0
    for index, (stretch, backups) in enumerate(zip(stretches, members, strict=True)):
        is_open = is_leading and index >= last
        ended_at = None if is_open else _ended_at(path, stretch, held, wal)
        yield Reach(path, stretch, backups, ended_at, is_open)


def _members(path: RecoveryPath, stretch: Stretch, held: Iterable[PhysicalBackup]) -> tuple[PhysicalBackup, ...]:
    """Return the backups that can be restored to their end within a stretch."""
    size = path.segment_size
    inside = [each for each in held if stretch.holds(each.start_lsn.value // size) and each.stop_lsn <= stretch.end_lsn]
    return tuple(sorted(inside, key=lambda backup: (backup.stop_lsn, backup.label)))


def _ended_at(path: RecoveryPath, stretch: Stretch, held: Iterable[PhysicalBackup], wal: WalFacts) -> datetime | None:
    """Return when a stretch was last written: as its last segment says, or before a later backup was started."""
    proofs = [backup.started_at for backup in held if backup.start_lsn >= stretch.end_lsn]
    written_at = wal.last_writes.get(path.segment(stretch.last_number))
    if written_at is not None:
        proofs.append(written_at)
    return min(proofs, default=None)

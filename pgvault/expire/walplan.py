"""Which WAL goes: what no copy promises, no backup that is left needs, nobody reads, and that is old enough.

A file's age is proven, not guessed: it was written before a backup behind it was started, or before a later one of
its timeline was last written. What is younger than the grace stays, since a backup under way may need it, and so does
all of a system with a timeline whose history is not known. Histories are small, and without one nothing of its
timeline can be restored, nor can anybody say what it needs: they go with the last of their system.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgvault.errors import UsageError
from pgvault.expire.actions import WalRemoval
from pgvault.expire.facts import ExpireFacts, PhysicalBackup
from pgvault.expire.needed import NOTHING, Needed, Numbers, on_way
from pgvault.expire.promises import own_wal
from pgvault.expire.sparing import spared_for
from pgvault.expire.survey import Survey, SystemSurvey
from pgvault.postgres.walname import (
    BackupHistoryFile,
    PartialFile,
    SegmentFile,
    TimelineHistoryFile,
    WalSegment,
    parse_wal_name,
)
from pgvault.postgres.walrange import make_ranges
from pgvault.recovery.path import RecoveryPath, find_path


@dataclass(frozen=True, slots=True)
class _Limits:
    """What decides about one system's WAL, all copies together."""

    needed: Needed
    old: Needed  # written before the grace began
    left: Needed  # segments in which timelines were left that long ago: their .partial is as old
    barrier: int  # nothing from this number on may go

    def lets_go(self, segment: WalSegment) -> bool:
        return self.old.holds(segment) and not self.needed.holds(segment) and segment.number < self.barrier

    def lets_partial_go(self, segment: WalSegment) -> bool:
        """A promotion's last, cut segment goes when it and the one before it are not needed."""
        before = WalSegment(segment.timeline, max(segment.number - 1, 0), segment.size)
        is_needed = self.needed.holds(segment) or self.needed.holds(before)
        is_old = self.old.holds(segment) or self.left.holds(segment)
        return is_old and not is_needed and segment.number < self.barrier


def plan_wal(facts: ExpireFacts, surveyed: Survey, *, spared: Collection[str], young: datetime) -> list[WalRemoval]:
    """Return what goes of each system's WAL while all backups there are stay; `young`: nothing later goes.

    `spared`: labels that are marked, or will be in this run; what they reach now they reach until they are removed.
    """
    removals = (_of_system(facts, surveyed, system, spared, young) for system in surveyed.systems)
    return [removal for removal in removals if removal.ranges or removal.tails or removal.others]


def _of_system(
    facts: ExpireFacts, surveyed: Survey, identifier: int, spared: Collection[str], young: datetime
) -> WalRemoval:
    systems = [each for copy in surveyed.copies for each in copy.systems if each.system_identifier == identifier]
    if any(system.unknown_timelines for system in systems):
        return WalRemoval(identifier, (), (), (), 0)
    limits = _limits(facts, systems, surveyed.promised(identifier) | spared_for(surveyed, identifier, spared), young)
    segments = {each for system in systems for each in system.wal.inventory.segments if limits.lets_go(each)}
    tails = {each for system in systems for each in system.wal.tail_bytes if limits.lets_go(each)}
    is_over = (
        bool(surveyed.current_systems)
        and identifier not in surveyed.current_systems
        and not any(system.backups for system in systems)
        and all(system.wal.inventory.segments <= segments for system in systems)
        and all(system.wal.tail_bytes.keys() <= tails for system in systems)
    )
    others = {name for system in systems for name in _others(system, limits, is_over=is_over)}
    names = {segment.name for segment in segments} | others
    stored = sum(system.wal.stored_bytes.get(name, 0) for system in systems for name in names)
    stored += sum(system.wal.tail_bytes.get(segment, 0) for system in systems for segment in tails)
    return WalRemoval(identifier, make_ranges(segments), tuple(sorted(tails)), tuple(sorted(others)), stored)


def _limits(
    facts: ExpireFacts,
    systems: Sequence[SystemSurvey],
    needed: Needed,
    young: datetime,
) -> _Limits:
    old, left = NOTHING, NOTHING
    for system in systems:
        needed |= own_wal(system.reaches) | _named(system)
        old |= Needed.of(_old(system, young))
        left |= Needed.of(_left(system, young))
    return _Limits(needed, old, left, _barrier(facts, systems[0]))


def _named(system: SystemSurvey) -> Needed:
    """Return the segments that backups name in their roots, and those from start to stop, stored or not."""
    size = system.wal.inventory.segment_size
    numbers: list[Numbers] = []
    for backup in system.backups:
        first, last = backup.start_lsn.value // size, (backup.stop_lsn.value - 1) // size
        numbers.append(Numbers(backup.timeline, first, last))
        for name in backup.wal_names:
            file = parse_wal_name(name)
            if isinstance(file, SegmentFile):
                number = file.segment(size).number
                numbers.append(Numbers(file.timeline, number, number))
    return Needed.of(numbers)


def _old(system: SystemSurvey, young: datetime) -> Iterator[Numbers]:
    """Yield segments that were last written before `young`."""
    for backup, path in _old_backups(system, young):
        # The segment in which it starts was written to afterwards.
        yield from on_way(path, 0, backup.start_lsn.value // path.segment_size - 1)
    for segment, written_at in system.wal.last_writes.items():
        if written_at < young:
            yield Numbers(segment.timeline, 0, segment.number)


def _left(system: SystemSurvey, young: datetime) -> Iterator[Numbers]:
    for _, path in _old_backups(system, young):
        for entry in path.history.entries:
            yield Numbers(entry.timeline, 0, entry.switch_lsn.value // path.segment_size)


def _old_backups(system: SystemSurvey, young: datetime) -> Iterator[tuple[PhysicalBackup, RecoveryPath]]:
    for backup in system.backups:
        if backup.started_at < young:
            yield backup, find_path(backup.timeline, system.wal.inventory)


def _barrier(facts: ExpireFacts, system: SystemSurvey) -> int:
    """Return the first segment that a backup under way, or somebody who reads, may need, whatever its timeline."""
    identifier, size = system.system_identifier, system.wal.inventory.segment_size
    starts = [
        each.start_lsn
        for each in facts.unfinished
        if each.is_live and each.start_lsn is not None and each.system_identifier in (None, identifier)
    ]
    starts += [pin.wal_from[identifier] for pin in facts.pins if identifier in pin.wal_from]
    pinned = {label for pin in facts.pins for label in pin.labels if not pin.wal_from}
    starts += [backup.start_lsn for backup in system.backups if backup.label in pinned]
    return min((lsn.value // size for lsn in starts), default=2**64)


def _others(system: SystemSurvey, limits: _Limits, *, is_over: bool) -> Iterable[str]:
    """Yield the files that go beside segments; `is_over`: nothing else is left of the system."""
    size = system.wal.inventory.segment_size
    for name in system.wal.stored_bytes:
        try:
            match parse_wal_name(name):
                case TimelineHistoryFile():
                    goes = is_over
                case PartialFile(of=of):
                    goes = is_over or limits.lets_partial_go(of.segment(size))
                case BackupHistoryFile(of=of):
                    goes = is_over or limits.lets_go(of.segment(size))
                case _:
                    goes = False
        except UsageError:  # none of ours, or of another segment size: whoever put it there knows why
            continue
        if goes:
            yield name

"""Made-up clusters for the properties of retention, and a naive model of what can be restored from them.

A world has systems; a system has timelines that fork, and on each a clock that runs with its WAL, so that the moment
at which a byte was written is a plain function. A copy holds part of all that, by names. The model knows nothing of the
planner: it walks from a backup's start, segment by segment, as recovery does, and says how far it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from pgvault.expire.actions import ExpirePlan
from pgvault.expire.facts import (
    CopyFacts,
    ExpireFacts,
    HoldFacts,
    LogicalBackup,
    PhysicalBackup,
    PinFacts,
    TombstoneFacts,
    UnfinishedFacts,
    WalFacts,
)
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import TimelineHistoryFile, WalSegment
from pgvault.repository.walindex import WalInventory

SIZE = MIB
PAGE = SIZE // 8  # positions are multiples of it
LAST = 12  # segments are numbered 1 to 12
HOURS_PER_SEGMENT = 8
BEGIN = datetime(2025, 10, 20, tzinfo=UTC)

Moment = tuple[int, int, int]  # system, timeline that it is on the way to, position of the last byte replayed


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


@dataclass(frozen=True)
class System:
    """One system: its timelines, and when their WAL was written."""

    identifier: int
    begins_at: datetime
    parents: Mapping[int, tuple[int, int]]  # of timelines 2…: the parent and the LSN of the switch
    ends: Mapping[int, int]  # first byte that each timeline never had

    def way(self, timeline: int) -> list[tuple[int, int]]:
        """The timelines that lead to one, each with where it begins, oldest first."""
        steps = []
        while timeline in self.parents:
            parent, switch = self.parents[timeline]
            steps.append((timeline, switch))
            timeline = parent
        return [(timeline, 0), *reversed(steps)]

    def timelines(self) -> list[int]:
        return [1, *self.parents]

    def written_by(self, timeline: int, position: int) -> int:
        return next(each for each, begin in reversed(self.way(timeline)) if begin <= position)

    def written_at(self, timeline: int, position: int) -> datetime:
        """When a byte of a timeline was written; a fork goes on an hour later."""
        if timeline == 1:
            return self.begins_at + hours((position - SIZE) / SIZE * HOURS_PER_SEGMENT)
        parent, switch = self.parents[timeline]
        return self.written_at(parent, switch) + hours(1 + (position - switch) / SIZE * HOURS_PER_SEGMENT)

    def taken(self, timeline: int, number: int) -> WalSegment:
        """The segment of that number that recovery takes: the newest timeline's that has begun by its end."""
        return WalSegment(self.written_by(timeline, (number + 1) * SIZE - 1), number, SIZE)

    def history(self, timeline: int) -> TimelineHistory:
        way = self.way(timeline)
        entries = [HistoryEntry(earlier[0], Lsn(later[1]), "promoted") for earlier, later in pairwise(way)]
        return TimelineHistory(timeline, tuple(entries))


@dataclass(frozen=True)
class CopyWorld:
    """What one copy holds."""

    name: str
    backups: tuple[PhysicalBackup | LogicalBackup, ...]
    verified: frozenset[str]
    segments: Mapping[int, frozenset[WalSegment]]  # by system
    tails: Mapping[int, Mapping[WalSegment, Lsn]]
    histories: Mapping[int, frozenset[int]]
    others: Mapping[int, frozenset[str]]  # .partial files
    unknown_ends: frozenset[WalSegment] = frozenset()  # of which nobody knows when they were written
    silence: str | None = None

    def physical(self, system: int) -> list[PhysicalBackup]:
        return [each for each in self.backups if isinstance(each, PhysicalBackup) and each.system_identifier == system]

    def labels(self) -> frozenset[str]:
        return frozenset(each.label for each in self.backups)


@dataclass(frozen=True)
class World:
    """A cluster."""

    systems: tuple[System, ...]
    copies: tuple[CopyWorld, ...]
    now: datetime
    tombstones: Mapping[str, TombstoneFacts] = field(default_factory=dict)
    holds: tuple[HoldFacts, ...] = ()
    pins: tuple[PinFacts, ...] = ()
    unfinished: tuple[UnfinishedFacts, ...] = ()

    def facts(self) -> ExpireFacts:
        copies = tuple(self._copy_facts(copy) for copy in self.copies)
        return ExpireFacts("main", self.now, copies, self.tombstones, self.holds, self.pins, self.unfinished)

    def _copy_facts(self, copy: CopyWorld) -> CopyFacts:
        if copy.silence is not None:
            return CopyFacts(copy.name, silence=copy.silence)
        wal = tuple(self._wal_facts(copy, system) for system in self.systems)
        sizes = {each.label: 1000 for each in copy.backups}
        return CopyFacts(copy.name, copy.backups, copy.verified, (), wal, sizes)

    def _wal_facts(self, copy: CopyWorld, system: System) -> WalFacts:
        segments, tails = copy.segments[system.identifier], copy.tails[system.identifier]
        histories = {each: system.history(each) for each in copy.histories[system.identifier]}
        inventory = WalInventory(system.identifier, SIZE, segments, histories, tails=tails)
        names = {segment.name for segment in segments} | copy.others[system.identifier]
        names |= {TimelineHistoryFile(each).name for each in histories}
        last_writes = {
            each: self._last_write(system, each, tails)
            for each in (*segments, *tails)
            if each not in copy.unknown_ends and WalSegment(each.timeline, each.number + 1, SIZE) not in segments
        }
        return WalFacts(inventory, dict.fromkeys(names, 10), dict.fromkeys(tails, 1), last_writes)

    def _last_write(self, system: System, segment: WalSegment, tails: Mapping[WalSegment, Lsn]) -> datetime:
        end = tails.get(segment, segment.end_lsn).value
        return system.written_at(segment.timeline, end)


def reach_of(system: System, copy: CopyWorld, timeline: int, backup: PhysicalBackup) -> int | None:
    """Walk from a backup towards a timeline; the first byte that is not reached. None: it does not lie on that way."""
    way = dict(system.way(timeline))
    later = [begin for each, begin in way.items() if each > backup.timeline]
    begins = way.get(backup.timeline)
    if begins is None or backup.start_lsn.value < begins or any(backup.stop_lsn.value > begin for begin in later):
        return None
    if any(each not in copy.histories[system.identifier] for each in (timeline, backup.timeline) if each != 1):
        return None  # where it comes from is not known
    number = backup.start_lsn.value // SIZE
    while (segment := system.taken(timeline, number)) in copy.segments[system.identifier]:
        number += 1
    return max(number * SIZE, copy.tails[system.identifier].get(segment, Lsn(0)).value)


def restorable_ends(world: World, copy: CopyWorld, labels: frozenset[str]) -> set[tuple[str, int]]:
    """The backups that can be restored to their end, each with the timelines on the way to which that can be."""
    return {
        (backup.label, timeline)
        for system in world.systems
        for timeline in system.timelines()
        for backup in copy.physical(system.identifier)
        if backup.label in labels
        if (reached := reach_of(system, copy, timeline, backup)) is not None and reached >= backup.stop_lsn.value
    }


def reachable(world: World, copy: CopyWorld, labels: frozenset[str]) -> set[Moment]:
    """Every probed moment that can be restored from one of these backups in this copy."""
    found: set[Moment] = set()
    for system in world.systems:
        marks = set(probes(world, system))
        for timeline in system.timelines():
            for backup in copy.physical(system.identifier):
                reached = reach_of(system, copy, timeline, backup) if backup.label in labels else None
                if reached is not None:
                    inside = (position for position in marks if backup.stop_lsn.value <= position < reached)
                    found |= {(system.identifier, timeline, position) for position in inside}
    return found


def probes(world: World, system: System) -> Iterator[int]:
    """Every position at which anything may change, and those right before."""
    marks = {number * SIZE + extra for number in range(1, LAST + 2) for extra in (0, SIZE // 2)}
    marks |= {switch for _, switch in system.parents.values()} | set(system.ends.values())
    for copy in world.copies:
        marks |= {end.value for end in copy.tails[system.identifier].values()}
        marks |= {each.value for b in copy.physical(system.identifier) for each in (b.start_lsn, b.stop_lsn)}
    for mark in marks:
        yield mark
        yield mark - 1


def at(world: World, moment: Moment) -> datetime:
    identifier, timeline, position = moment
    system = next(each for each in world.systems if each.identifier == identifier)
    return system.written_at(system.written_by(timeline, position), position)


def applied(world: World, plan: ExpirePlan) -> World:
    """Do what a plan lists, by names, in every copy."""
    tombstones = {label: each for label, each in world.tombstones.items() if label not in plan.withdrawals}
    for mark in plan.marks:
        tombstones[mark.label] = TombstoneFacts(world.now, mark.is_deliberate)
    removed = {removal.label for removal in plan.removals}
    gone = {
        removal.system_identifier: {
            WalSegment(each.first.timeline, number, SIZE)
            for each in removal.ranges
            for number in range(each.first.number, each.last.number + 1)
        }
        for removal in plan.wal
    }
    tails = {removal.system_identifier: set(removal.tails) for removal in plan.wal}
    others = {removal.system_identifier: set(removal.others) for removal in plan.wal}
    copies = tuple(
        copy
        if copy.silence is not None
        else replace(
            copy,
            backups=tuple(each for each in copy.backups if each.label not in removed),
            segments={key: held - gone.get(key, set()) for key, held in copy.segments.items()},
            tails={
                key: {segment: end for segment, end in held.items() if segment not in tails.get(key, set())}
                for key, held in copy.tails.items()
            },
            others={key: held - others.get(key, set()) for key, held in copy.others.items()},
            histories={
                key: frozenset(each for each in held if TimelineHistoryFile(each).name not in others.get(key, set()))
                for key, held in copy.histories.items()
            },
        )
        for copy in world.copies
    )
    swept = {sweep.label for sweep in plan.sweeps}
    return replace(
        world,
        copies=copies,
        tombstones={label: each for label, each in tombstones.items() if label not in removed},
        unfinished=tuple(each for each in world.unfinished if each.label not in swept),
    )

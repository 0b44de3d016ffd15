"""The recovery window against an oracle that walks byte by byte, over random timelines, backups, holes and tails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.window import RecoveryWindow, recovery_window
from tests.recovery.fakes import FakeBackup, FakeInventory, minute

SIZE = MIB
PAGE = 8192
LAST = 12  # segments are numbered 1 to 12
Byte = tuple[int, int]  # the timeline that wrote it, and its LSN


@dataclass(frozen=True)
class World:
    """What is archived, and what has been."""

    parents: dict[int, tuple[int, int]]  # of timelines 2…: parent and LSN of the switch
    segments: frozenset[WalSegment]
    tails: dict[WalSegment, Lsn]
    backups: tuple[FakeBackup, ...]
    lost_histories: frozenset[int]

    def way(self, timeline: int) -> list[tuple[int, int]]:
        """The timelines that lead to one, each with where it begins, oldest first."""
        steps = []
        while timeline in self.parents:
            parent, switch = self.parents[timeline]
            steps.append((timeline, switch))
            timeline = parent
        return [(timeline, 0), *reversed(steps)]

    def window(self) -> RecoveryWindow:
        histories = {}
        for timeline in self.parents.keys() - self.lost_histories:
            entries = [
                HistoryEntry(earlier[0], Lsn(later[1]), "promoted") for earlier, later in pairwise(self.way(timeline))
            ]
            histories[timeline] = TimelineHistory(timeline, tuple(entries))
        inventory = FakeInventory(self.segments, histories, SIZE, tails=self.tails)
        return recovery_window(self.backups, inventory, [])

    def readable(self) -> list[int]:
        """Timelines that the window knows ways to: something of them is archived beside their history."""
        archived = {each.timeline for each in (*self.segments, *self.tails)}
        archived |= {backup.timeline for backup in self.backups}
        return [each for each in (1, *self.parents) if each not in self.lost_histories and each in archived]

    def probes(self) -> list[int]:
        """Every position at which anything may change, and one between."""
        marks = {number * SIZE + extra for number in range(1, LAST + 2) for extra in (0, SIZE // 2)}
        marks |= {switch for _, switch in self.parents.values()} | {end.value for end in self.tails.values()}
        marks |= {each.value for backup in self.backups for each in (backup.start_lsn, backup.stop_lsn)}
        return sorted({max(mark + step, 0) for mark in marks for step in (-1, 0)})


def written_by(way: list[tuple[int, int]], position: int) -> int:
    return next(timeline for timeline, begin in reversed(way) if begin <= position)


def reachable(world: World, timeline: int) -> Iterator[int]:
    """Every probed byte on the way to a timeline that some backup leads to: walked segment by segment."""
    way = world.way(timeline)
    for backup in world.backups:
        steps = dict(way)
        begins = steps.get(backup.timeline)
        later = [begin for each, begin in way if each > backup.timeline]
        if begins is None or backup.start_lsn.value < begins or any(backup.stop_lsn.value > each for each in later):
            continue
        covered = [byte for byte in world.probes() if is_walked(world, way, backup.start_lsn.value, byte)]
        if is_walked(world, way, backup.start_lsn.value, backup.stop_lsn.value - 1):
            yield from (byte for byte in covered if byte >= backup.stop_lsn.value)


def is_walked(world: World, way: list[tuple[int, int]], start: int, byte: int) -> bool:
    for number in range(start // SIZE, byte // SIZE + 1):
        # Recovery takes the newest timeline's segment that has begun by its end.
        segment = WalSegment(written_by(way, (number + 1) * SIZE - 1), number, SIZE)
        if segment in world.segments:
            continue
        tail = world.tails.get(segment)
        return tail is not None and number == byte // SIZE and byte < tail.value
    return True


@st.composite
def worlds(draw: st.DrawFn) -> World:
    parents: dict[int, tuple[int, int]] = {}
    begins = {1: SIZE}
    for timeline in range(2, draw(st.integers(1, 4)) + 1):
        parent = draw(st.sampled_from(sorted(begins)))
        switch = draw(st.integers(begins[parent] // PAGE, LAST * SIZE // PAGE)) * PAGE
        parents[timeline], begins[timeline] = (parent, switch), switch
    segments, tails, backups = set(), {}, []
    for timeline, begin in begins.items():
        last = draw(st.integers(begin // SIZE, LAST))
        holes = draw(st.sets(st.integers(1, LAST), max_size=3))
        first = max(1, begin // SIZE - draw(st.integers(0, 2)))  # a stray copy before its timeline begins is of no use
        segments |= {WalSegment(timeline, n, SIZE) for n in range(first, last + 1) if n not in holes}
        for number in draw(st.sets(st.sampled_from(sorted({last + 1, *holes})), max_size=2)):
            tails[WalSegment(timeline, number, SIZE)] = Lsn(number * SIZE + PAGE * draw(st.integers(1, SIZE // PAGE)))
    for number in range(draw(st.integers(0, 4))):
        timeline = draw(st.sampled_from(sorted(begins)))
        start = draw(st.integers(begins[timeline] // PAGE, LAST * SIZE // PAGE)) * PAGE + 40
        stop = start + draw(st.integers(1, 3 * SIZE))
        backups.append(FakeBackup(f"b{number}", Lsn(start), Lsn(stop), minute(stop / SIZE), timeline))
    lost = frozenset(draw(st.sets(st.sampled_from(sorted(parents)), max_size=1)) if parents else ())
    return World(parents, frozenset(segments), tails, tuple(backups), lost)


def claimed_bytes(world: World, window: RecoveryWindow) -> set[Byte]:
    return {
        (written_by(world.way(found.timeline), byte), byte)
        for found in window.ranges
        for byte in world.probes()
        if found.start_lsn.value <= byte < found.end_lsn.value
    }


NOTHING_OF_4 = World(
    {2: (1, SIZE), 3: (1, SIZE), 4: (1, LAST * SIZE)},
    frozenset(WalSegment(timeline, 1, SIZE) for timeline in (1, 2, 3)),
    {},
    (FakeBackup("b0", Lsn(SIZE + 40), Lsn(SIZE + 41), minute(1)),),
    frozenset(),
)


@settings(max_examples=150, deadline=None)
@given(worlds())
@example(NOTHING_OF_4)
def test_window_is_what_a_walk_reaches(world: World) -> None:
    """On every way: no byte is claimed that no backup leads to, none is left out; the telling once loses none."""
    window = world.window()

    everything: set[Byte] = set()
    for timeline in world.readable():
        expected = set(reachable(world, timeline))
        claimed = {
            byte
            for found in window.ways.get(timeline, ())
            for byte in world.probes()
            if found.start_lsn.value <= byte < found.end_lsn.value
        }
        assert claimed == expected
        everything |= {(written_by(world.way(timeline), byte), byte) for byte in expected}
    assert claimed_bytes(world, window) == everything


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_ranges_and_gaps_lie_side_by_side(world: World) -> None:
    """On one timeline no two of them share a byte; a gap names a segment that is missing, and what lies around it."""
    window = world.window()

    for timeline in world.readable():
        parts = [(each.start_lsn, each.end_lsn) for each in window.ranges if each.timeline == timeline]
        parts += [(each.start_lsn, each.end_lsn) for each in window.gaps if each.timeline == timeline]
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(sorted(parts)))
    for gap in window.gaps:
        way = world.way(gap.timeline)
        first = gap.before.number + 1 if gap.before and gap.before in world.segments else gap.start_lsn.value // SIZE
        missing = WalSegment(written_by(way, (first + 1) * SIZE - 1), first, SIZE)
        assert gap.segment_count > 0
        assert gap.behind in world.segments or gap.behind in world.tails
        assert missing not in world.segments or gap.before in world.tails


@settings(max_examples=80, deadline=None)
@given(worlds(), st.data())
def test_losing_a_segment_never_enlarges_the_window(world: World, data: st.DataObject) -> None:
    """… and so one more never shrinks it; every backup is in a range or said to be lost, never both."""
    full = world.window()
    ranged = {label for found in full.ranges for label in found.labels}
    assert ranged | {each.label for each in full.lost} == {backup.label for backup in world.backups}
    assert not ranged & {each.label for each in full.lost}
    if not world.segments:
        return

    gone = data.draw(st.sampled_from(sorted(world.segments)))
    smaller = replace(world, segments=world.segments - {gone})

    assert claimed_bytes(smaller, smaller.window()) <= claimed_bytes(world, full)


@settings(max_examples=80, deadline=None)
@given(worlds(), st.integers(SIZE, (LAST + 2) * SIZE), st.floats(0, LAST + 2))
def test_nearest_points_stand_around_the_wanted_one(world: World, position: int, minutes: float) -> None:
    """Both are the wanted one where that can be reached, and else reachable themselves on either side of it."""
    window = world.window()

    for timeline in world.readable():
        ranges = [found for found in window.ways.get(timeline, ()) if found.start_lsn < found.end_lsn]
        lsn = Lsn(position)
        near = window.nearest_lsn(lsn, timeline=timeline)
        inside = any(found.start_lsn <= lsn < found.end_lsn for found in ranges)
        if inside:
            assert [near.before and near.before.lsn, near.after and near.after.lsn] == [lsn, lsn]
        if near.before and near.before.lsn:
            assert near.before.lsn <= lsn
        if near.after and near.after.lsn:
            assert near.after.lsn >= lsn
        instant = minute(minutes)
        by_time = window.nearest(instant, timeline=timeline)
        for found in window.ways.get(timeline, ()):
            assert not (by_time.before and by_time.before.at and by_time.before.at < found.starts_at < instant)
            assert not (by_time.after and by_time.after.at and instant < found.starts_at < by_time.after.at)

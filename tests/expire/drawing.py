"""Draw worlds and policies for the properties of retention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from hypothesis import strategies as st

from pgvault.anomaly.judge import Taken
from pgvault.config import GfsConfig, RetentionConfig
from pgvault.expire.facts import (
    HoldFacts,
    LogicalBackup,
    PhysicalBackup,
    PinFacts,
    TombstoneFacts,
    UnfinishedFacts,
)
from pgvault.expire.policy import Policy
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository.measures import Measures, Past, Suspect
from tests.anomaly.days import FIRST, follow, values
from tests.expire.worlds import BEGIN, LAST, PAGE, SIZE, CopyWorld, System, World, hours

# A history with anomalies, of which backups carry what they may: labels that are there, and some that are not.
DAYS = follow([values()] * 3 + [values(changed=0.9), values(), values(compression=1.0)], every=hours(9))
MEASURED = (None, None, *DAYS)
SYSTEMS = (7400000000000000001, 7400000000000000002)
PER_SEGMENT = SIZE // PAGE


@st.composite
def systems(draw: st.DrawFn, identifier: int, begins_at: datetime) -> System:
    parents: dict[int, tuple[int, int]] = {}
    begins = {1: SIZE}
    for timeline in range(2, draw(st.integers(1, 3)) + 1):
        parent = draw(st.sampled_from(sorted(begins)))
        low = max(begins[parent] // PAGE, PER_SEGMENT)
        switch = draw(st.integers(low, LAST * PER_SEGMENT)) * PAGE
        parents[timeline], begins[timeline] = (parent, switch), switch
    ends = {
        timeline: draw(st.integers(begin // PAGE, (LAST + 1) * PER_SEGMENT)) * PAGE
        for timeline, begin in begins.items()
    }
    for parent, switch in parents.values():
        ends[parent] = max(ends[parent], switch)
    return System(identifier, begins_at, parents, ends)


def renamed(day: Taken, prefix: str, *, is_full: bool) -> Measures:
    """What stands in the root of a day's backup, as if the days were those of a system in the world."""
    shift = BEGIN - FIRST
    carried = day.measures
    suspects = tuple(
        Suspect(f"{prefix}{each.label[1:]}", each.at + shift, f"{prefix}{each.normal[1:]}", each.normal_at + shift)
        for each in carried.suspects
    )
    before, since = (
        tuple(Past(f"{prefix}{each.label[1:]}", each.at + shift, each.values) for each in pasts)
        for pasts in (carried.before, carried.since)
    )
    return Measures("full" if is_full else "incremental", carried.values, before, since, suspects)


@st.composite
def physical_backups(draw: st.DrawFn, system: System, prefix: str, *, least: int = 0) -> list[PhysicalBackup]:
    made: list[PhysicalBackup] = []
    for index in range(draw(st.integers(least, 6))):
        timeline = draw(st.sampled_from(system.timelines()))
        begin = SIZE if timeline == 1 else system.parents[timeline][1]
        if system.ends[timeline] - begin < 2 * PAGE:
            continue
        start = draw(st.integers(begin // PAGE, system.ends[timeline] // PAGE - 1))
        stop = draw(st.integers(start + 1, min(system.ends[timeline] // PAGE, start + 2 * PER_SEGMENT)))
        is_full = not made or draw(st.integers(0, 3)) > 0
        needs = frozenset(draw(st.sets(st.sampled_from([each.label for each in made]), max_size=2))) if made else ()
        day = draw(st.sampled_from(MEASURED))
        made.append(
            PhysicalBackup(
                measures=None if day is None else renamed(day, prefix, is_full=is_full),
                label=f"{prefix}{index}",
                is_full=is_full,
                system_identifier=system.identifier,
                timeline=timeline,
                start_lsn=Lsn(start * PAGE),
                stop_lsn=Lsn(stop * PAGE),
                started_at=system.written_at(timeline, start * PAGE),
                stopped_at=system.written_at(timeline, stop * PAGE),
                has_page_errors=draw(st.integers(0, 9)) == 0,
                needs=frozenset() if is_full else frozenset(needs),
            )
        )
    return made


@st.composite
def copies(
    draw: st.DrawFn, name: str, all_systems: tuple[System, ...], backups: list[PhysicalBackup | LogicalBackup]
) -> CopyWorld:
    is_whole = draw(st.booleans())
    lacking = set() if is_whole else draw(st.sets(st.sampled_from([each.label for each in backups]), max_size=2))
    held = tuple(each for each in backups if each.label not in lacking)
    segments, tails, histories, others, unknown = {}, {}, {}, {}, set()
    for system in all_systems:
        own: set[WalSegment] = set()
        own_tails: dict[WalSegment, Lsn] = {}
        partials: set[str] = set()
        for timeline in system.timelines():
            begin = SIZE if timeline == 1 else system.parents[timeline][1]
            holes = draw(st.sets(st.integers(1, LAST), max_size=2)) if draw(st.integers(0, 2)) == 0 else set()
            first, last = begin // SIZE, system.ends[timeline] // SIZE
            own |= {WalSegment(timeline, number, SIZE) for number in range(first, last) if number not in holes}
            end = WalSegment(timeline, last, SIZE)
            if system.ends[timeline] % SIZE and system.ends[timeline] > begin:
                if draw(st.booleans()):
                    own_tails[end] = Lsn(system.ends[timeline])
                else:
                    partials.add(f"{end.name}.partial")
        identifier = system.identifier
        segments[identifier], tails[identifier] = frozenset(own), own_tails
        lost = draw(st.integers(0, 19)) == 0
        histories[identifier] = frozenset(() if lost else system.parents)
        others[identifier] = frozenset(partials)
        # Of ends alone: with a later one that is known now, and gone in the next run, less would be known then.
        ends = sorted(
            each for each in (*own, *own_tails) if WalSegment(each.timeline, each.number + 1, SIZE) not in own
        )
        if ends and draw(st.integers(0, 3)) == 0:
            unknown |= draw(st.sets(st.sampled_from(ends), max_size=2))
    verified = frozenset(each.label for each in held if draw(st.integers(0, 3)) > 0)
    return CopyWorld(name, held, verified, segments, tails, histories, others, frozenset(unknown))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    first = draw(systems(SYSTEMS[0], BEGIN))
    made = [first]
    if draw(st.integers(0, 3)) == 0:
        made.append(draw(systems(SYSTEMS[1], BEGIN + hours(draw(st.integers(-48, 96))))))
    backups: list[PhysicalBackup | LogicalBackup] = []
    for prefix, system in zip("ab", made, strict=False):
        backups += draw(physical_backups(system, prefix))
    for index in range(draw(st.integers(0, 2))):
        taken = BEGIN + hours(draw(st.integers(0, 96)))
        backups.append(LogicalBackup(f"l{index}", draw(st.booleans()), taken, taken + hours(1)))
    ends = [system.written_at(timeline, end) for system in made for timeline, end in system.ends.items()]
    now = max([*ends, *(each.stopped_at for each in backups)]) + hours(draw(st.sampled_from([0, 1, 6, 60])))
    names = draw(st.sampled_from([("first",), ("first", "second")]))
    held = tuple(draw(copies(name, tuple(made), backups)) for name in names) if backups else ()
    if not held:
        return World(tuple(made), (_empty(tuple(made)),), now)
    return World(
        tuple(made),
        held,
        now,
        tombstones=draw(_tombstones(backups, now)),
        holds=draw(_holds(backups)),
        pins=draw(_pins(backups)),
        unfinished=draw(_unfinished(now)),
    )


@st.composite
def steady_worlds(draw: st.DrawFn) -> World:
    """One copy, most of it verified and long ago, so that much goes; often a hole, a fork, and a range on hold."""
    system = draw(systems(SYSTEMS[0], BEGIN))
    backups: list[PhysicalBackup | LogicalBackup] = list(draw(physical_backups(system, "a", least=3)))
    names = [each.label for each in backups]
    whole = draw(copies("first", (system,), backups)) if backups else _empty((system,))
    doubtful = draw(st.sets(st.sampled_from(names), max_size=1)) if names else set()
    held = replace(whole, backups=tuple(backups), verified=frozenset(names) - doubtful, unknown_ends=frozenset())
    held = replace(held, histories={system.identifier: frozenset(system.parents)})
    ends = [system.written_at(timeline, end) for timeline, end in system.ends.items()]
    holds = []
    if draw(st.booleans()):
        since = BEGIN + hours(draw(st.integers(0, 60)))
        holds.append(HoldFacts("H", since=since, until=since + hours(draw(st.integers(1, 24)))))
    return World((system,), (held,), max(ends) + hours(draw(st.sampled_from([0, 1, 40]))), holds=tuple(holds))


def _empty(made: tuple[System, ...]) -> CopyWorld:
    nothing = {system.identifier: frozenset[WalSegment]() for system in made}
    return CopyWorld(
        "first",
        (),
        frozenset(),
        nothing,
        {system.identifier: {} for system in made},
        {system.identifier: frozenset() for system in made},
        {system.identifier: frozenset() for system in made},
    )


@st.composite
def _tombstones(
    draw: st.DrawFn, backups: list[PhysicalBackup | LogicalBackup], now: datetime
) -> Mapping[str, TombstoneFacts]:
    marked = draw(st.sets(st.sampled_from([each.label for each in backups]), max_size=2))
    return {
        label: TombstoneFacts(
            now - hours(draw(st.integers(0, 40))), draw(st.booleans()), is_begun=draw(st.integers(0, 7)) == 0
        )
        for label in sorted(marked)
    }


@st.composite
def _holds(draw: st.DrawFn, backups: list[PhysicalBackup | LogicalBackup]) -> tuple[HoldFacts, ...]:
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return (HoldFacts("H", frozenset({draw(st.sampled_from([each.label for each in backups]))})),)
    if kind == 1:
        since = BEGIN + hours(draw(st.integers(0, 90)))
        return (HoldFacts("H", since=since, until=since + hours(draw(st.integers(1, 24)))),)
    return ()


@st.composite
def _pins(draw: st.DrawFn, backups: list[PhysicalBackup | LogicalBackup]) -> tuple[PinFacts, ...]:
    if draw(st.integers(0, 5)):
        return ()
    backup = draw(st.sampled_from(backups))
    if isinstance(backup, PhysicalBackup) and draw(st.booleans()):
        return (PinFacts("P", frozenset({backup.label}), {backup.system_identifier: backup.start_lsn}),)
    return (PinFacts("P", frozenset({backup.label})),)


@st.composite
def _unfinished(draw: st.DrawFn, now: datetime) -> tuple[UnfinishedFacts, ...]:
    if draw(st.integers(0, 4)):
        return ()
    started_at = now - hours(draw(st.integers(0, 60)))
    is_live = draw(st.booleans())
    lsn = Lsn(draw(st.integers(PER_SEGMENT, LAST * PER_SEGMENT)) * PAGE) if is_live and draw(st.booleans()) else None
    return (UnfinishedFacts("u0", started_at, is_live, draw(st.booleans()), SYSTEMS[0], lsn, 500),)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    return Policy(
        RetentionConfig(
            full=draw(st.integers(1, 3)),
            days=draw(st.sampled_from([None, None, 1, 2, 4])),
            window=draw(st.sampled_from([None, hours(8), hours(24), hours(47)])),
            gfs=GfsConfig(daily=draw(st.sampled_from([0, 0, 1, 3])), weekly=draw(st.integers(0, 1))),
            grace=hours(draw(st.sampled_from([1, 5, 30]))),
        )
    )


@st.composite
def larger(draw: st.DrawFn, policy: Policy) -> Policy:
    """A policy that keeps at least as much by every rule."""
    known = policy.retention
    assert known is not None
    # The first rule of a kind takes away what stays where there is none: logical backups without days and gfs.
    has_rule = known.days is not None or known.gfs != GfsConfig()
    more = RetentionConfig(
        full=known.full + draw(st.integers(0, 1)),
        days=None if known.days is None else known.days + draw(st.integers(0, 2)),
        window=None if known.window is None else known.window + hours(draw(st.sampled_from([0, 3, 20]))),
        gfs=GfsConfig(daily=known.gfs.daily + (draw(st.integers(0, 2)) if has_rule else 0), weekly=known.gfs.weekly),
        grace=known.grace + hours(draw(st.sampled_from([0, 7]))),
    )
    return replace(policy, retention=more)

"""Retention over random histories: what was promised and could be restored before an expiry still can be after it.

Every property holds in each copy by itself. What can be restored is told by the model in worlds.py, not by the planner.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgvault.expire.actions import ExpirePlan
from pgvault.expire.facts import PhysicalBackup
from pgvault.expire.plan import plan_expire
from pgvault.expire.policy import Policy
from pgvault.postgres.walname import WalSegment
from tests.expire.drawing import larger, policies, steady_worlds, worlds
from tests.expire.worlds import (
    SIZE,
    CopyWorld,
    Moment,
    System,
    World,
    applied,
    at,
    hours,
    reach_of,
    reachable,
    restorable_ends,
)

RULELESS = (
    "needed by",
    "wanted by hold",
    "first behind",
    "leads to",
)  # reasons that WAL does not begin at without a window
WORLDS = worlds() | steady_worlds()
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
LONG = settings(QUICK, max_examples=1000)


def gone(world: World) -> frozenset[str]:
    """Labels that can not be restored any more, whatever lies there."""
    return frozenset(label for label, each in world.tombstones.items() if each.is_begun)


def deliberate(world: World) -> frozenset[str]:
    return frozenset(label for label, each in world.tombstones.items() if each.is_deliberate)


def is_held(world: World, moment: Moment) -> bool:
    written_at = at(world, moment)
    ranges = ((each.since, each.until) for each in world.holds if each.since is not None and each.until is not None)
    return any(since <= written_at <= until for since, until in ranges)


def promised(world: World, policy: Policy, plan: ExpirePlan, copy: CopyWorld, found: set[Moment]) -> set[Moment]:
    """Those moments that lie within the window, or behind the oldest full that rules keep where there is none."""
    assert policy.retention is not None
    window = policy.retention.window
    if window is not None:
        return {moment for moment in found if at(world, moment) >= world.now - window}
    kept = {each.label for each in plan.kept if any(not why.startswith(RULELESS) for why in each.reasons)}
    fulls = {each.label for each in copy.backups if isinstance(each, PhysicalBackup) and each.is_full} & kept
    roots = reachable(world, copy, frozenset(fulls))
    first: dict[tuple[int, int], int] = {}
    for system, timeline, position in roots:
        first[system, timeline] = min(position, first.get((system, timeline), position))
    return {moment for moment in found if moment[2] >= first.get(moment[:2], 2**64)}


def check(world: World, policy: Policy, plan: ExpirePlan, after: World) -> None:
    """Hold one run against the model."""
    removed = {each.label for each in plan.removals}
    for old, new in zip(world.copies, after.copies, strict=True):
        unmarked = new.labels() - after.tombstones.keys()
        left = new.labels() - gone(after)
        ends = restorable_ends(world, old, left)
        assert ends <= restorable_ends(after, new, left), "a backup that is left lost its WAL"

        before = reachable(world, old, old.labels() - gone(world) - deliberate(world))
        now = reachable(world, new, unmarked)
        assert promised(world, policy, plan, old, before) <= now, (
            "a promised moment hangs on what is marked, or is lost"
        )

        asked_away = removed & deliberate(world)
        before = reachable(world, old, old.labels() - gone(world) - asked_away)
        now = reachable(world, new, left)
        if policy.retention is not None and policy.retention.window is not None:
            assert promised(world, policy, plan, old, before) <= now, "undelete would not bring back everything"

        before = reachable(world, old, old.labels() - gone(world))
        assert {each for each in before if is_held(world, each)} <= now, "a held moment is lost"


def check_grace(world: World, policy: Policy, plan: ExpirePlan, after: World) -> None:
    """What is marked reaches what it reached until it is removed; WAL leaves a window longer by the grace."""
    assert policy.retention is not None
    removed = {each.label for each in plan.removals}
    for old, new in zip(world.copies, after.copies, strict=True):
        left = new.labels() - gone(after)
        marked = left & after.tombstones.keys()
        assert reachable(world, old, marked) <= reachable(world, new, marked), "taking it back does not bring back all"
        if policy.retention.window is None:
            continue
        since = world.now - policy.retention.window - policy.retention.grace
        before = reachable(world, old, old.labels() - gone(world) - removed)
        now = reachable(world, new, left)
        assert {moment for moment in before if at(world, moment) >= since} <= now, "WAL went within the grace"


def check_labels(world: World, policy: Policy, plan: ExpirePlan) -> None:
    """What is removed was marked for long enough, and nothing that stays refers to it, holds or reads it."""
    assert policy.retention is not None
    removed = {each.label for each in plan.removals}
    pinned = {label for pin in world.pins for label in pin.labels}
    held = {label for hold in world.holds for label in hold.labels}
    staying = {each.label: each for copy in world.copies for each in copy.backups if each.label not in removed}
    for label in removed - gone(world):
        tombstone = world.tombstones[label]
        assert tombstone.at + policy.retention.grace <= world.now
        assert label not in held
        assert not any(label in each.needs for each in staying.values())
        assert all(label in copy.labels() for copy in world.copies)
    assert not removed & pinned
    assert not {mark.label for mark in plan.marks} & (pinned | held)
    expiring = {mark.label for mark in plan.marks} | (world.tombstones.keys() - plan.withdrawals.keys())
    needed = {label for each in staying.values() if each.label not in expiring | pinned for label in each.needs}
    assert not {mark.label for mark in plan.marks} & needed
    for copy in world.copies:
        restorable = {label for label, _ in restorable_ends(world, copy, copy.labels())}
        sound = [
            each.label
            for each in copy.backups
            if isinstance(each, PhysicalBackup) and each.is_full and not each.has_page_errors
            if each.label in (copy.verified & restorable) - deliberate(world) - gone(world)
        ]
        stay = [label for label in sound if label not in expiring]
        assert len(stay) >= min(len(sound), policy.retention.full), "too few verified fulls stay"


def check_wal_under_way(world: World, policy: Policy, plan: ExpirePlan) -> None:
    """No segment that a backup under way or a reader may need goes, and none that is younger than the grace."""
    assert policy.retention is not None
    for removal in plan.wal:
        system = next(each for each in world.systems if each.identifier == removal.system_identifier)
        segments = [(each.first.timeline, each.last.number) for each in removal.ranges]
        segments += [(each.timeline, each.number) for each in removal.tails]
        for timeline, number in segments:
            # A tail's last byte is no later than the end of its timeline.
            last_byte = min((number + 1) * SIZE, max(system.ends[timeline], number * SIZE)) - 1
            assert system.written_at(timeline, last_byte) <= world.now - policy.retention.grace
            for each in world.unfinished:
                if each.is_live and each.start_lsn is not None:
                    assert each.system_identifier != system.identifier or number < each.start_lsn.value // SIZE
                elif each.is_live:
                    assert system.written_at(timeline, last_byte) <= each.started_at - policy.retention.grace
            for pin in world.pins:
                if removal.system_identifier in pin.wal_from:
                    assert number < pin.wal_from[removal.system_identifier].value // SIZE


def histories_stay(after: World) -> bool:
    """No WAL and no backup is left on a timeline whose history is gone, in a copy that had them all."""
    for copy in after.copies:
        for system in after.systems:
            seen = {each.timeline for each in (*copy.segments[system.identifier], *copy.tails[system.identifier])}
            seen |= {each.timeline for each in copy.physical(system.identifier)}
            if seen - {1} - copy.histories[system.identifier]:
                return False
    return True


def run_through(world: World, policy: Policy, delays: list[int]) -> None:
    """Expire again and again, as time goes by, and look each time."""
    for delay in [0, *delays]:
        world = replace(world, now=world.now + hours(delay))
        plan = plan_expire(world.facts(), policy)
        after = applied(world, plan)

        check(world, policy, plan, after)
        check_grace(world, policy, plan, after)
        check_labels(world, policy, plan)
        check_wal_under_way(world, policy, plan)
        assert histories_stay(after) or not histories_stay(world)
        again = plan_expire(after.facts(), policy)
        for _ in range(SETTLING_RUNS):
            # What was removed told where production is, or how far a stretch behind a hole reached: what stayed for its
            # sake may be marked now, and nothing that was promised hangs on it.
            if again.is_empty:
                break
            assert not again.removals
            world, after = after, applied(after, again)
            check(world, policy, again, after)
            again = plan_expire(after.facts(), policy)
        assert again.is_empty, f"once more changed something: {again}, after {plan}"
        world = after


SETTLING_RUNS = 2
DELAYS = st.lists(st.sampled_from([1, 6, 31, 80]), max_size=3)


@QUICK
@given(WORLDS, policies(), DELAYS)
def test_what_was_promised_is_still_reachable(world: World, policy: Policy, delays: list[int]) -> None:
    """Through marking, grace and removal: promised moments, ends of backups, evidence, references; idempotent."""
    run_through(world, policy, delays)


@pytest.mark.endurance
@LONG
@given(WORLDS, policies(), DELAYS)
def test_what_was_promised_is_still_reachable_often(world: World, policy: Policy, delays: list[int]) -> None:
    """The same, many times."""
    run_through(world, policy, delays)


def walked(after: World, copy: CopyWorld, system: System) -> set[WalSegment]:
    """The segments that marked backups of a copy lead through, and those behind: they stay for the grace only."""
    found: set[WalSegment] = set()
    for backup in copy.physical(system.identifier):
        for timeline in system.timelines():
            reached = reach_of(system, copy, timeline, backup) if backup.label in after.tombstones else None
            if reached is not None:
                numbers = range(backup.start_lsn.value // SIZE, reached // SIZE + 2)
                found |= {WalSegment(each, number, SIZE) for each in system.timelines() for number in numbers}
    return found


def compare(world: World, policy: Policy, more: Policy) -> None:
    plan, larger_plan = plan_expire(world.facts(), policy), plan_expire(world.facts(), more)
    after, larger_after = applied(world, plan), applied(world, larger_plan)

    assert {each.label for each in larger_plan.marks} <= {each.label for each in plan.marks}
    assert {each.label for each in larger_plan.removals} <= {each.label for each in plan.removals}
    for smaller_copy, larger_copy in zip(after.copies, larger_after.copies, strict=True):
        for system in world.systems:
            identifier = system.identifier
            # What is marked in one copy keeps the WAL that it needs in all of them.
            spared = {each for copy in after.copies for each in walked(after, copy, system)}
            names = {each.name for each in spared}
            assert smaller_copy.segments[identifier] - spared <= larger_copy.segments[identifier]
            assert smaller_copy.tails[identifier].keys() - spared <= larger_copy.tails[identifier].keys()
            others = {each for each in smaller_copy.others[identifier] if each.partition(".")[0] not in names}
            assert others <= larger_copy.others[identifier]


@QUICK
@given(WORLDS, policies(), st.data())
def test_more_retention_never_removes_more(world: World, policy: Policy, data: st.DataObject) -> None:
    """Whatever a larger policy marks or removes, the smaller one does too, but for what waits out the grace."""
    compare(world, policy, data.draw(larger(policy)))


@pytest.mark.endurance
@LONG
@given(WORLDS, policies(), st.data())
def test_more_retention_never_removes_more_often(world: World, policy: Policy, data: st.DataObject) -> None:
    """The same, many times."""
    compare(world, policy, data.draw(larger(policy)))


@QUICK
@given(WORLDS, policies(), st.data())
def test_nothing_goes_while_a_copy_is_silent(world: World, policy: Policy, data: st.DataObject) -> None:
    """What a copy that does not answer wants is not known: nothing is removed, nor swept."""
    silent = data.draw(st.sampled_from(world.copies))
    copies = tuple(replace(each, silence="no route") if each is silent else each for each in world.copies)

    plan = plan_expire(replace(world, copies=copies).facts(), policy)

    assert not plan.removals
    assert not plan.wal
    assert not plan.sweeps

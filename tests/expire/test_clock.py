"""An expiry on a host whose clock is wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvault.expire.facts import TombstoneFacts
from pgvault.expire.plan import plan_expire
from tests.expire.test_plan import NOW, WINDOW, facts, weekly

MARKED = {"f2": TombstoneFacts(NOW, is_deliberate=False), "f9": TombstoneFacts(NOW, is_deliberate=True)}


@pytest.mark.parametrize("ahead", [timedelta(days=365), timedelta(days=9)])
def test_a_clock_that_is_far_ahead_removes_nothing_that_policy_marked(ahead: timedelta) -> None:
    """Neither what was marked an hour ago nor WAL; what was deleted by name goes, and the rest is said."""
    plan = plan_expire(replace(facts(weekly(), tombstones=MARKED), now=NOW + ahead), WINDOW)

    assert [each.label for each in plan.removals] == ["f9"]
    assert plan.wal == ()
    assert ["is it right?" in each.why for each in plan.waiting] == [True]
    assert any("is it right?" in note for note in plan.notes)


@pytest.mark.parametrize("behind", [timedelta(days=365), timedelta(hours=2)])
def test_a_clock_that_is_behind_removes_nothing_too_early(behind: timedelta) -> None:
    """No grace is over yet, and less WAL has left the window."""
    before = plan_expire(facts(weekly(), tombstones=MARKED), WINDOW)
    plan = plan_expire(replace(facts(weekly(), tombstones=MARKED), now=NOW - behind), WINDOW)

    assert plan.removals == ()
    assert sum(each.stored_bytes for each in plan.wal) <= sum(each.stored_bytes for each in before.wal)

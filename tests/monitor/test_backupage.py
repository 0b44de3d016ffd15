"""The newest backup, judged: its figures, and what is said of one that is old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pgvault.monitor.backupage import TakenBackup, judge_backup
from pgvault.monitor.finding import Level
from pgvault.monitor.slots import AgePromise
from pgvault.schedule import CronSchedule

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TAKEN = TakenBackup(
    "full",
    "20261120T010000Z-0001",
    datetime(2026, 11, 20, 1, 0, 7, tzinfo=UTC),
    datetime(2026, 11, 20, 1, 25, 7, tzinfo=UTC),
)
DAILY = CronSchedule("0 1 * * *")


def test_the_figures() -> None:
    """When, how long, how old, and by what it is judged."""
    found = judge_backup(TAKEN, AgePromise(schedule=DAILY), "x", {"count": 3}, now=NOW)

    assert (found.level, found.detail) == (Level.RED, "stale, older than 24 h: x")
    assert found.figures == {
        "kind": "full",
        "count": 3,
        "label": "20261120T010000Z-0001",
        "started_at": "2026-11-20T01:00:07+00:00",
        "last_at": "2026-11-20T01:25:07+00:00",
        "stopped_at": "2026-11-20T01:25:07+00:00",
        "age_seconds": 34 * 3600 + 34 * 60 + 53,
        "duration_seconds": 1500.0,
        "limit_seconds": 86400.0,
        "missed_slot_at": "2026-11-21T01:00:00+00:00",
        "is_stale": True,
    }


def test_a_missed_slot_is_told_where_the_objective_is_kept() -> None:
    """A warning: what was promised is not broken."""
    found = judge_backup(TAKEN, AgePromise(timedelta(days=2), DAILY), "x", {}, now=NOW)

    assert (found.level, found.figures["is_stale"]) == (Level.WARN, False)
    assert found.detail == "the slot of 2026-11-21 01:00 UTC was missed: x"


def test_a_backup_of_a_clock_far_ahead_is_not_young() -> None:
    """A host that began a year ahead would hide for a year that nothing followed."""
    ahead = TakenBackup("full", "20271120T010000Z-0001", NOW + timedelta(days=364), NOW + timedelta(days=364))
    found = judge_backup(ahead, AgePromise(schedule=DAILY), "x", {}, now=NOW)

    assert (found.level, found.figures["age_seconds"]) == (Level.RED, None)
    assert found.detail == "its clock is 364 days ahead, so nobody knows how old it is: x"


def test_clocks_that_differ_by_an_hour_are_no_reason() -> None:
    """Which they do, and are told of elsewhere."""
    soon = TakenBackup("full", "20261121T130000Z-0001", NOW + timedelta(minutes=50), NOW + timedelta(minutes=59))

    assert judge_backup(soon, AgePromise(schedule=DAILY), "x", {}, now=NOW).level is Level.OK

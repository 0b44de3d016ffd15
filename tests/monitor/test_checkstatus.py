"""What the checks found, live and in drills, and what is said of those that said nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.config import CheckConfig
from pgvault.monitor.checkstatus import Expected, Results, find_drilled, find_live, judge_checks, look_at_checks
from pgvault.monitor.finding import Finding, Level
from pgvault.repository.checkruns import put_run
from tests.archive import make_archive

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
ORPHANS = CheckConfig(name="orphans", query="select 1")
HALF_HOURLY = CheckConfig(name="orphans", query="select 1", schedule="*/30 * * * *")
TOTALS = CheckConfig(name="totals", query="select 2", severity="warning")


def ago(**span: float) -> str:
    return (NOW - timedelta(**span)).isoformat()


def result(
    name: str, verdict: str = "passed", *, origin: str = "configured", severity: str = "critical"
) -> dict[str, Any]:
    return {
        "name": name,
        "verdict": verdict,
        "origin": origin,
        "severity": severity,
        "measured": None if verdict == "unproven" else float(verdict == "failed"),
        "threshold": 0,
        "detail": "returned 1" if verdict == "failed" else "as it should be",
    }


def run(*results: dict[str, Any], at: str | None = None, run_id: str = "20260115T102900Z-0001") -> dict[str, Any]:
    """A run, or what a drill's report has of one."""
    return {"id": run_id, "started_at": at or ago(minutes=1), "results": list(results), "checks": list(results)}


def judged(*checks: CheckConfig, live: Any = (), drills: Any = (), schedule: str | None = None) -> list[Finding]:
    """What is found of checks by their runs and by drills, newest first."""
    drilled, beside = find_drilled(drills, checks)
    expected = Expected(checks, NOW, schedule)
    return list(judge_checks(expected, Results(find_live(live, checks), drilled, beside)))


@pytest.mark.parametrize(
    ("verdict", "severity", "level", "failures"),
    [
        ("passed", "critical", Level.OK, 0),
        ("failed", "critical", Level.RED, 1),
        ("failed", "warning", Level.WARN, 1),
        ("unproven", "critical", Level.WARN, 1),  # nobody knows whether the data are right
    ],
)
def test_how_the_last_result_counts(verdict: str, severity: str, level: Level, failures: int) -> None:
    """A check that could not look counts among the failing ones, and is not called broken."""
    check = CheckConfig(name="orphans", query="select 1", severity=severity)

    summary, live, drilled = judged(check, live=[run(result("orphans", verdict))], drills=[run(result("orphans"))])

    assert (live.level, live.figures["failures"], live.figures["where"]) == (level, failures, "live")
    assert live.figures["at"] == ago(minutes=1)
    assert (drilled.level, drilled.figures["failures"], drilled.figures["where"]) == (Level.OK, 0, "drill")
    assert summary.level is level
    assert summary.figures["failing"] == failures


def test_a_run_of_other_checks_hides_nothing() -> None:
    """The last result of each check counts, however many runs of others came since."""
    others = [run(result("totals"), at=ago(minutes=minutes)) for minutes in range(1, 100)]

    found = judged(ORPHANS, TOTALS, live=[*others, run(result("orphans", "failed"), at=ago(days=3))])

    assert {each.figures["check"]: each.level for each in found[1:]} == {"orphans": Level.RED, "totals": Level.OK}


def test_what_never_ran_is_not_green() -> None:
    """It has no number of failures either: nobody looked."""
    summary, found = judged(HALF_HOURLY)

    assert (summary.level, found.level) == (Level.WARN, Level.WARN)
    assert found.detail == "unknown: orphans never ran on the live server"
    assert "failures" not in found.figures
    assert found.figures["count"] == 0


def test_a_check_for_drills_alone_is_not_missed_live() -> None:
    """Without a schedule nobody promised that it runs there; a check beside it that no drill knows is told."""
    found = judged(ORPHANS, TOTALS, live=[run(result("totals"))], drills=[run(result("orphans"))])

    assert [each.detail for each in found if each.level is not Level.OK][1:] == ["unknown: totals never ran in a drill"]


@pytest.mark.parametrize(
    ("schedule", "age", "is_late"),
    [
        ("*/30 * * * *", timedelta(minutes=29), False),
        ("*/30 * * * *", timedelta(minutes=30.5), False),  # by a clock that is a little behind
        ("*/30 * * * *", timedelta(minutes=32), True),  # that of 10:00 did not come until 10:30
        ("daily", timedelta(hours=10), True),  # it should have run at 01:00
        ("daily", timedelta(hours=9.4), False),
        ("0 10 * * *", timedelta(hours=24.2), False),  # half an hour ago
        ("never ever", timedelta(minutes=1), True),  # nobody knows when it should run
    ],
)
def test_a_run_that_the_schedule_promised_is_missed(schedule: str, age: timedelta, is_late: bool) -> None:
    """Its own schedule, or that of the cluster's checks."""
    own = CheckConfig(name="orphans", query="select 1", schedule=schedule)
    runs = [run(result("orphans"), at=(NOW - age).isoformat())]

    for found in (judged(own, live=runs), judged(ORPHANS, live=runs, schedule=schedule)):
        assert (found[1].level is Level.WARN) is is_late, found[1].detail
        assert (found[1].figures["failures"], found[1].figures["is_overdue"]) == (0, is_late)


def test_what_a_drill_asks_by_itself_is_told_only_while_it_fails() -> None:
    """There may be thousands of constraints; only the newest drill that ran says how they are."""
    broken = result("fk orders", "failed", origin="derived")
    could_not = run() | {"could_run": False}

    (_, found) = judged(drills=[could_not, run(broken, result("fk items", origin="derived"))])
    assert (found.level, found.figures["check"], found.figures["failures"]) == (Level.RED, "fk orders", 1)

    assert judged(drills=[run(result("fk orders", origin="derived")), run(broken)]) == []


def test_a_failed_check_that_is_no_longer_configured_is_forgotten() -> None:
    """Whoever takes a check out of the configuration does not want to hear of it."""
    drilled = run(result("old", "failed"))

    assert judged(live=[drilled], drills=[drilled]) == []


def test_they_are_read_from_the_repository(tmp_path: Path) -> None:
    """The stored runs, newest first by their ids, whichever order they were stored in."""
    repository = make_archive(tmp_path).repository
    for day, verdict in ((14, "failed"), (15, "passed"), (13, "failed")):
        run_id = f"202601{day}T100000Z-0001"
        put_run(repository, "main", run(result("orphans", verdict), at=f"2026-01-{day}T10:00:00+00:00", run_id=run_id))

    _, found = look_at_checks(repository, "main", Expected([ORPHANS], NOW), [])

    assert (found.level, found.figures["run"]) == (Level.OK, "20260115T100000Z-0001")

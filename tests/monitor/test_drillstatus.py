from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgvault.config import ClusterConfig
from pgvault.instants import iso
from pgvault.monitor.drillstatus import judge_drills, look_at_drills
from pgvault.monitor.finding import Finding, Level

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def said(number: int, outcome: str) -> dict[str, Any]:
    """The report of the drill so many days ago."""
    return {
        "id": f"drill-{number}",
        "passed": outcome == "passed",
        "could_run": outcome != "could not run",
        "outcome": outcome,
        "error": None if outcome == "passed" else "check 'totals': returned 2 rows",
        "started_at": (NOW - timedelta(days=number)).isoformat(),
        "backup": "20260114T010000Z-0001",
        "target": "the end of the archived WAL",
    }


@pytest.mark.parametrize(
    ("outcomes", "level", "detail"),
    [
        (["passed", "failed"], Level.OK, "passed 24.0 h ago (the end of the archived WAL, from backup 20260114"),
        (["could not run", "passed"], Level.OK, "passed 2 days ago"),
        (["failed", "passed"], Level.WARN, "the last one, 24.0 h ago, did not pass (failed): check 'totals'"),
        (["objective missed", "passed"], Level.WARN, "did not pass (objective missed)"),
        (["failed", "could not run"], Level.WARN, "none of the last 2 passed"),
    ],
)
def test_the_newest_that_ran_counts(outcomes: list[str], level: Level, detail: str) -> None:
    """And when one passed is told beside it."""
    found = judge_drills([said(number, outcome) for number, outcome in enumerate(outcomes, 1)], now=NOW)

    assert (found.level, detail in found.detail) == (level, True), found.detail


def looked_at(reports: list[dict[str, Any]], **config: object) -> list[Finding]:
    cluster = ClusterConfig.model_validate({"dsn": "", **config})
    return list(look_at_drills(cluster, reports, is_empty=not reports, now=NOW))


def test_a_cluster_that_was_never_drilled_is_not_well() -> None:
    """Nothing is promised and nothing proven: told, with figures that say never."""
    (found,) = looked_at([])

    assert (found.level, found.detail) == (Level.WARN, "never drilled: nothing proves that a restore works")
    assert (found.figures["count"], found.figures["last_passed_at"], found.figures["outcome"]) == (0, None, None)


def test_reports_of_which_none_opens_are_no_drills_and_not_none() -> None:
    """Unknown, which an objective does not take for never."""
    (found,) = look_at_drills(ClusterConfig(dsn=""), [], is_empty=False, now=NOW)

    assert (found.level, found.detail, found.figures) == (Level.WARN, "unknown: no report of a drill opens", {})


def test_the_figures_are_of_the_newest_that_passed_and_of_the_newest_that_ran() -> None:
    """One that could not run is neither, and is counted."""
    reports = [said(1, "could not run"), said(2, "failed"), said(3, "passed")]
    reports[1] |= {"rto_seconds": None, "rpo_seconds": 70.5}
    reports[2] |= {"rto_seconds": 90.0, "rpo_seconds": 60}

    (found,) = looked_at(reports)

    assert {**found.figures, "id": None, "backup": None} == {
        "count": 3,
        "id": None,
        "backup": None,
        "last_passed_at": iso(NOW - timedelta(days=3)),
        "age_seconds": 3 * 86400.0,
        "last_run_at": iso(NOW - timedelta(days=2)),
        "last_tried_at": iso(NOW - timedelta(days=1)),
        "outcome": "failed",
        "could_not_run": 1,
        "rto_seconds": 90.0,
        "rpo_seconds": 60.0,
        "last_rto_seconds": None,
        "last_rpo_seconds": 70.5,
    }
    assert found.detail.endswith(
        "last passed 3 days ago (the end of the archived WAL, from backup 20260114T010000Z-0001, RTO 90 s, RPO 60 s)"
    )


CLASS = {"tables": ["accounts"], "rto": "1h"}


@pytest.mark.parametrize(
    ("reports", "level", "detail"),
    [
        ([], Level.WARN, "rto of class critical: unknown, never drilled; promised 60 min"),
        ([{"name": "critical", "rto_seconds": 1800}], Level.OK, "rto of class critical: 30 min, promised 60 min"),
        ([{"name": "critical", "rto_seconds": 7200}], Level.RED, "rto of class critical: 2.0 h, promised 60 min"),
        (
            [{"name": "critical", "rto_seconds": None, "note": "not proven"}],
            Level.WARN,
            "unknown, not proven; promised",
        ),
        ([{"name": "other", "rto_seconds": 1}], Level.WARN, "the last drill knew no such class"),
    ],
)
def test_what_was_promised_of_a_class_is_held_against_the_last_drill(
    reports: list[dict[str, Any]], level: Level, detail: str
) -> None:
    """Each class that has an RTO has a finding, whatever there is."""
    drilled = [said(1, "passed") | {"classes": reports}] if reports else []

    _, found = looked_at(drilled, classes={"critical": CLASS, "low": {"tables": ["logs"]}})

    assert (found.name, found.level, detail in found.detail) == ("objective", level, True), found.detail
    assert (found.figures["objective"], found.figures["class"], found.figures["limit"]) == ("rto", "critical", 3600)

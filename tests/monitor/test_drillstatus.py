from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.drill.report import store_report
from pgvault.monitor.drillstatus import judge_drills, look_at_drills
from pgvault.monitor.finding import Level
from tests.archive import make_archive
from tests.drill.test_report import report

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


def test_a_cluster_that_was_never_drilled_has_no_finding(tmp_path: Path) -> None:
    """One that was has one, out of the stored reports."""
    repository = make_archive(tmp_path).repository
    assert list(look_at_drills(repository, "main", now=NOW)) == []

    drill = report()
    drill.backup = "20260114T010000Z-0001"
    store_report(repository, drill)

    (found,) = look_at_drills(repository, "main", now=NOW + timedelta(hours=3))
    assert (found.level, found.figures["age_seconds"]) == (Level.OK, 10800)

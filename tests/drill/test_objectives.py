from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pgvault.config import Objectives
from pgvault.drill.copies import PLANNED, CopyRpo
from pgvault.drill.objectives import ELSEWHERE, Measure, judge_objectives
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment, Rpo

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LOST = Rpo(60, AT - timedelta(seconds=60), FailureMoment(AT, is_server_clock=True), "the last replayed commit")


def test_only_what_was_promised_is_judged() -> None:
    """Each is kept, missed or unknown; what no drill can tell is shown, and unknown."""
    promised = Objectives(rto=timedelta(hours=1), backup_age=timedelta(days=1), success_rate=0.999)
    measures = {"rto": Measure(3600), "backup_age": Measure(86401), "copy_lag": Measure(1e9)}

    judged = [each.to_json() for each in judge_objectives(promised, measures)]

    assert [(each["name"], each["verdict"]) for each in judged] == [
        ("rto", "kept"),
        ("backup_age", "missed"),
        ("success_rate", "unknown"),
    ]
    assert (judged[2]["promised_share"], judged[2]["measured_share"], judged[2]["note"]) == (0.999, None, ELSEWHERE)


@pytest.mark.parametrize(
    ("promised", "measured", "words"),
    [
        (3600, 7300, "2 h 01 min, promised 1 h 00 min"),
        (3600, 3601, "3601.000 s, promised 3600.000 s"),
        (5, 5.01, "5.010 s, promised 5.000 s"),
    ],
)
def test_a_miss_is_told_with_both_figures(promised: float, measured: float, words: str) -> None:
    """However little it is."""
    objectives = Objectives(backup_age=timedelta(seconds=promised))

    (judged,) = judge_objectives(objectives, {"backup_age": Measure(measured)})

    assert judged.is_missed
    assert judged.reason == f"objective backup_age missed: {words}"


def test_copies_that_would_leave_less_are_warnings() -> None:
    """Beyond the objective, or not known; that of the copy that was read is judged, and what was left alone is told."""
    report = DrillReport("20260115T103000Z-f7c2", "main", AT, Objectives(rpo=timedelta(seconds=30)))
    report.rpo = LOST
    report.copies = [
        CopyRpo("primary", LOST, "replayed"),
        CopyRpo("late", replace(LOST, seconds=600), PLANNED),
        CopyRpo("level", replace(LOST, seconds=20), PLANNED),
        CopyRpo("dead", None, "not known: it does not answer"),
        CopyRpo("other", None, "not asked: only dr may be touched", is_wanted=False),
    ]

    assert report.warnings == [
        "copy 'late' alone has an RPO of 10 min, promised 30.0 s",
        "copy 'dead': RPO not known: it does not answer",
    ]

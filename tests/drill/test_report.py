from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.checks.result import CheckResult, Origin, Verdict, unproven
from pgvault.config import Objectives
from pgvault.drill.report import DrillReport, store_report
from pgvault.drill.rpo import FailureMoment, Rpo
from pgvault.drill.run import require_passed
from pgvault.errors import DrillFailed, DrillNotRun, ObjectiveMissed
from pgvault.pipeline.header import Kind
from pgvault.repository.objects import read_json
from tests.archive import make_archive

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
PHASES = {"plan": 0.5, "fetch": 2.0, "replay": 1.0, "open": 0.25, "check": 0.25}
GOOD = CheckResult("orphans", Verdict.PASSED, 0, 0, "critical", "returned 0", 0.1)
BAD = CheckResult("totals", Verdict.FAILED, 2, 0, "critical", "returned 2 rows", 0.1)


def report(
    *, rto: float | None = None, rpo: float | None = None, checks: tuple[CheckResult, ...] = (GOOD,)
) -> DrillReport:
    """A drill that restored everything in 4 seconds with an RPO of 60."""
    objectives = Objectives(
        rto=None if rto is None else timedelta(seconds=rto), rpo=None if rpo is None else timedelta(seconds=rpo)
    )
    made = DrillReport("20260115T103000Z-f7c2", "main", AT, objectives, target="latest", phases=dict(PHASES))
    made.reached = {"lsn": "0/4000000", "timeline": 1}
    made.checks = list(checks)
    made.rpo = Rpo(60, AT - timedelta(seconds=60), FailureMoment(AT, is_server_clock=True), "the last replayed commit")
    return made


def test_everything_right_passes() -> None:
    """RTO is the sum of the phases, RPO as measured, objectives kept."""
    made = report(rto=4, rpo=60)

    require_passed(made)

    assert made.passed
    assert (made.rto_seconds, made.missed) == (4, [])
    assert made.to_json()["error"] is None


def test_no_check_no_pass() -> None:
    """A drill that looked at nothing proves nothing."""
    made = report(checks=())

    with pytest.raises(DrillFailed, match="nothing was checked"):
        require_passed(made)
    assert made.to_json()["passed"] is False


def test_a_target_that_was_not_reached_does_not_pass() -> None:
    """However many checks are green."""
    made = report()
    made.reached = None

    assert not made.passed


def test_one_failed_check_fails() -> None:
    """The first is named, the others are counted."""
    made = report(checks=(GOOD, BAD, BAD, GOOD))

    with pytest.raises(DrillFailed, match=r"check 'totals': returned 2 rows \(and 1 more\)"):
        require_passed(made)
    assert made.to_json()["error"] == made.reason


@pytest.mark.parametrize(
    ("rto", "rpo", "missed", "why"),
    [
        (3.9, None, ["rto"], "objective rto missed: 4.0 s, promised 3.9 s"),
        (None, 59, ["rpo"], "objective rpo missed: 60.0 s, promised 59.0 s"),
        (
            1,
            1,
            ["rto", "rpo"],
            "objective rto missed: 4.0 s, promised 1.0 s and objective rpo missed: 60.0 s, promised 1.0 s",
        ),
    ],
)
def test_a_missed_objective_is_no_pass(rto: float | None, rpo: float | None, missed: list[str], why: str) -> None:
    """Restored and right, but not as promised: an exit code of its own, with both figures."""
    made = report(rto=rto, rpo=rpo)

    with pytest.raises(ObjectiveMissed) as caught:
        require_passed(made)

    assert str(caught.value).endswith(why)
    assert made.to_json()["objectives"]["missed"] == missed
    assert made.to_json()["passed"] is False


def test_wrong_data_weigh_more_than_a_missed_objective() -> None:
    """Slow and wrong is wrong."""
    with pytest.raises(DrillFailed, match="check 'totals'"):
        require_passed(report(rto=1, checks=(BAD,)))


def test_could_not_run_is_neither() -> None:
    """It has its own code, and no RTO."""
    made = report(checks=())
    made.could_run, made.error, made.reached = False, "no room", None

    with pytest.raises(DrillNotRun, match="no room"):
        require_passed(made)

    document = made.to_json()
    assert (document["passed"], document["could_run"], document["rto_seconds"]) == (False, False, None)


def test_a_drill_that_broke_off_has_no_rto() -> None:
    """Phases tell how far it came; no time that ends in a failure is a recovery time."""
    made = report()
    made.error = "recovery ended early"

    assert (made.rto_seconds, made.passed) == (None, False)
    assert made.to_json()["phases"] == PHASES


def test_what_was_not_measured_is_null() -> None:
    """A past target has no RPO, and says why."""
    made = report()
    made.rpo = None

    document = made.to_json()

    assert document["rpo_seconds"] is None
    assert document["rpo"]["method"].startswith("not measured")


def test_a_report_is_sealed_into_the_repository(tmp_path: Path) -> None:
    """It opens with the key and is what was printed; its bytes show nothing."""
    archive = make_archive(tmp_path)
    made = report(checks=(GOOD, BAD))

    store_report(archive.repository, made)

    path = f"clusters/main/drills/{made.id}"
    assert read_json(archive.repository, path, Kind.DRILL) == json.loads(json.dumps(made.to_json()))
    assert b"totals" not in (archive.root / path).read_bytes()


def test_what_is_not_proven_is_told_and_is_no_pass() -> None:
    """Beside a check that passed it is a warning; with nothing proven at all, the drill is not green."""
    proven = replace(GOOD, origin=Origin.CONFIGURED)
    unknown = replace(unproven("today", "reads the wall clock, use :as_of"), origin=Origin.CONFIGURED)

    beside, alone = report(checks=(GOOD, proven, unknown)), report(checks=(GOOD, unknown))

    assert beside.passed
    assert beside.to_json()["warnings"] == ["check 'today': not proven: reads the wall clock, use :as_of"]
    assert not alone.passed
    assert "none of the configured checks was proven; 'today': not proven: reads the wall clock" in alone.reason


def test_low_severities_stop_nothing() -> None:
    """They are warnings; and without any pass beside them nothing was proven."""
    low = replace(BAD, severity="low")

    assert report(checks=(GOOD, low)).passed
    assert report(checks=(GOOD, low)).warnings == ["check 'totals': returned 2 rows"]
    assert not report(checks=(low,)).passed

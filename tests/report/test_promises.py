from __future__ import annotations

from datetime import timedelta

from pgvault.config import Objectives
from pgvault.monitor.finding import ok, red, warn
from pgvault.report.document import Verdict
from pgvault.report.promises import judge_classes, judge_promises, read_drilled
from tests.report.sample import CLASSES, NOW, days, drill, found, promises_of


def test_the_newest_drill_that_measured_it_counts() -> None:
    """RTO and RPO beside who measured them, and when."""
    rto = promises_of([drill(1), drill(8)])["rto"]

    assert (rto.verdict, rto.measured, rto.promised) == (Verdict.KEPT, 2460.0, 4 * 3600.0)
    assert (rto.measured_at, rto.by) == (days(1), "drill drill-1")


def test_what_nobody_measured_is_not_kept() -> None:
    """Without any drill, or with one that could not run alone, nothing is green."""
    for drills in ([], [drill(1, "could not run", rpo_seconds=None)]):
        promises = promises_of(drills, findings=())

        assert {each.verdict for each in promises.values()} == {Verdict.UNKNOWN}
        assert all(each.measured is None and each.note for each in promises.values())


def test_a_time_over_the_promise_is_missed() -> None:
    """Also by a drill that restored all."""
    rto = promises_of([drill(1, "objective missed", rto_seconds=5 * 3600.0)])["rto"]

    assert (rto.verdict, rto.measured) == (Verdict.MISSED, 5 * 3600.0)


def test_a_failed_drill_takes_back_the_time_of_the_one_before() -> None:
    """Data that did not come back were not restored in time; what a drill that could not run says is nothing."""
    failed = promises_of([drill(1, "could not run"), drill(2, "failed"), drill(8)])["rto"]
    healed = promises_of([drill(1), drill(2, "failed")])["rto"]

    assert (failed.verdict, failed.measured) == (Verdict.MISSED, None)
    assert "drill-2 did not bring the data back; drill-8 before it did" in failed.note
    assert healed.verdict is Verdict.KEPT


def test_a_time_that_the_drill_did_not_judge_is_no_measure() -> None:
    """One from a backup that a restore would not take says nothing of the promise."""
    spared = {"judged": [{"name": "rto", "promised_seconds": 60.0, "measured_seconds": None, "verdict": "unknown"}]}

    rto = promises_of([drill(1, objectives=spared), drill(8)])["rto"]

    assert rto.by == "drill drill-8"


def test_what_status_judged_is_told() -> None:
    """Nobody computes it a second time; what it does not tell is not measured."""
    promises = promises_of([drill(1)])
    untold = promises_of([drill(1)], findings=())

    assert (promises["backup_age"].verdict, promises["backup_age"].measured) == (Verdict.KEPT, 25200.0)
    assert (promises["success_rate"].unit, promises["success_rate"].measured) == ("share", 0.9995)
    assert untold["success_rate"].verdict is Verdict.UNKNOWN


def test_status_may_know_of_a_promise_that_is_broken() -> None:
    """An RPO that drills saw kept, and that the server's lag breaks now; of a class it is another promise."""
    figures = {"objective": "rpo", "class": None, "measured": 3600.0, "is_kept": False}
    broken = red("objective", "rpo 60 min, promised 15 min", figures)
    of_class = red("objective", "rpo of class 'low'", figures | {"class": "low"})
    unknown = warn(
        "objective", "unknown", {"objective": "backup_age", "class": None, "measured": None, "is_kept": None}
    )

    told = promises_of([drill(1)], findings=(broken, unknown))

    assert (told["rpo"].verdict, told["rpo"].measured, told["rpo"].by) == (Verdict.MISSED, 3600.0, "status")
    assert told["backup_age"].verdict is Verdict.UNKNOWN
    assert promises_of([drill(1)], findings=(of_class,))["rpo"].verdict is Verdict.KEPT


def test_what_was_never_promised_is_measured_and_not_green() -> None:
    """RTO and RPO are told always; other objectives only where they were promised."""
    drills = [read_drilled(drill(1))]

    found = {each.name: each for each in judge_promises(Objectives(), drills, (ok("server", "up"),), now=NOW)}

    assert set(found) == {"rto", "rpo"}
    assert (found["rto"].verdict, found["rto"].measured, found["rto"].promised) == (Verdict.UNKNOWN, 2460.0, None)


def test_classes_come_by_priority_with_their_own_times() -> None:
    """One that no drill has proven is not green, whatever else is."""
    critical, low = judge_classes(CLASSES, [read_drilled(drill(1))])

    assert (critical.name, critical.rto.verdict, critical.rto.measured) == ("critical", Verdict.KEPT, 1230.0)
    assert critical.rpo.measured == 31.5
    assert (low.name, low.rto.verdict, low.rpo.verdict) == ("low", Verdict.UNKNOWN, Verdict.UNKNOWN)


def test_a_class_of_which_a_check_failed_is_missed() -> None:
    """And one that no check touched is not known."""
    failed = drill(1, "failed", found("orphaned_orders", "failed"))
    untouched = drill(1)
    untouched["classes"] = [{"name": "critical", "rto_seconds": None, "checks": [], "note": "not proven: no check"}]

    (critical, _), (silent, _) = (judge_classes(CLASSES, [read_drilled(each)]) for each in (failed, untouched))

    assert (critical.rto.verdict, critical.rto.note) == (Verdict.MISSED, "check 'orphaned_orders' failed")
    assert (silent.rto.verdict, silent.rto.note) == (Verdict.UNKNOWN, "not proven: no check")


def test_an_older_report_says_only_whether_it_passed() -> None:
    """Reports of pgvault 0.4 have no outcome."""
    old = {"id": "d", "started_at": NOW.isoformat(), "passed": False, "could_run": True}

    assert read_drilled(old).outcome == "failed"
    assert read_drilled(old | {"could_run": False}).outcome == "could not run"
    assert read_drilled(old | {"passed": True}).is_proof
    assert timedelta(0) == NOW - read_drilled(old).started_at

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.checks.result import CheckResult, Verdict
from pgvault.config import Objectives
from pgvault.drill.marking import mark_backup, mark_of
from pgvault.drill.report import DrillReport
from pgvault.drill.several import require_all_passed
from pgvault.errors import DrillFailed, DrillNotRun, ObjectiveMissed, PgvaultError, UsageError
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, commit_manifest
from pgvault.repository.drilled import Drilled, Outcome, read_drilled
from tests.archive import make_archive
from tests.drill.test_report import AT, BAD, GOOD, report
from tests.repository.samples import SAMPLE

PASSED, MISSED, FAILED, NOT_RUN = Outcome


def made(outcome: Outcome) -> DrillReport:
    """A drill of the sample backup that ended like that."""
    drill = report(rto=1 if outcome is MISSED else None, checks=(BAD if outcome is FAILED else GOOD,))
    drill.backup, drill.as_of, drill.could_run = SAMPLE.label, AT, outcome is not NOT_RUN
    return drill


@pytest.mark.parametrize("outcome", Outcome)
def test_a_report_says_how_it_ended_in_a_word(outcome: Outcome) -> None:
    """Also in its document."""
    assert made(outcome).outcome is outcome
    assert made(outcome).to_json()["outcome"] == outcome


@pytest.mark.parametrize("outcome", [PASSED, MISSED, FAILED])
def test_a_drill_marks_its_backup(tmp_path: Path, outcome: Outcome) -> None:
    """Good or bad, with where it got to and what was read."""
    repository = make_archive(tmp_path).repository
    commit_manifest(repository, SAMPLE)
    drill = made(outcome)

    mark_backup(repository, drill)

    (mark,) = read_drilled(repository, SAMPLE.cluster)[SAMPLE.label]
    assert (mark.outcome, mark.drill_id, mark.copies) == (outcome, drill.id, ("primary",))
    assert (mark.lsn, mark.timeline, mark.as_of, mark.rpo_seconds) == (Lsn(0x4000000), 1, AT, 60)
    assert drill.notes == []


def test_what_proves_nothing_leaves_no_mark(tmp_path: Path) -> None:
    """A drill that could not run, or found no backup; nor is one left where the backup is not any more."""
    repository = make_archive(tmp_path).repository
    lost = made(PASSED)
    lost.backup = None
    for drill in (made(NOT_RUN), lost, made(PASSED)):
        mark_backup(repository, drill)
    abort_label(repository, SAMPLE.cluster, SAMPLE.label, reason="killed")
    mark_backup(repository, made(PASSED))

    assert read_drilled(repository, SAMPLE.cluster) == {}
    assert repository.reader.names(layout.drilled(SAMPLE.cluster, SAMPLE.label)) == []


def test_a_logical_drill_has_no_position() -> None:
    """Its moment is that of its snapshots."""
    drill = made(PASSED)
    drill.reached = {"snapshot_at": "x", "databases": {}}

    mark: Drilled = mark_of(drill, ("dr",))

    assert (mark.lsn, mark.timeline, mark.as_of) == (None, None, AT)


@pytest.mark.parametrize(
    ("outcomes", "error", "said"),
    [
        ([PASSED, PASSED], None, ""),
        ([MISSED], ObjectiveMissed, "restored everything, but objective rto missed"),
        ([PASSED, NOT_RUN, FAILED, MISSED], DrillFailed, "3 of 4 drills did not pass: .*'totals'.*; 2 more did not"),
        ([NOT_RUN, MISSED], ObjectiveMissed, "2 of 2 drills did not pass"),
        ([PASSED, NOT_RUN], DrillNotRun, "1 of 2 drills did not pass"),
        ([], UsageError, "no target"),
    ],
)
def test_several_drills_end_as_the_worst_of_them(
    outcomes: list[Outcome], error: type[PgvaultError] | None, said: str
) -> None:
    """Wrong is worse than late, and late is worse than not known."""
    reports = [made(outcome) for outcome in outcomes]
    if error is None:
        require_all_passed(reports)
        return

    with pytest.raises(error, match=said) as caught:
        require_all_passed(reports)
    assert type(caught.value) is error


def test_the_rto_of_a_backup_that_a_restore_would_not_take_is_told_and_not_missed() -> None:
    """A restore has less WAL to replay; where even that was fast enough, the promise is kept."""
    unusual, late = report(rto=1), report(rto=1)
    unusual.is_usual = False

    assert late.missed == ["rto"]
    assert (unusual.missed, unusual.rto_seconds, unusual.passed) == ([], 4, True)
    (judged,) = unusual.judged
    assert (judged.measure.seconds, judged.measure.note) == (
        None,
        "it was restored from a backup that a restore would not take",
    )
    quick = report(rto=10)
    quick.is_usual = False
    assert [each.measure.seconds for each in quick.judged] == [4]


def test_what_is_wrong_is_wrong_from_whatever_backup() -> None:
    """Only time is spared."""
    drill = report(checks=(CheckResult("totals", Verdict.FAILED, 2, 0, "critical", "returned 2 rows", 0.1),))
    drill.is_usual = False

    assert drill.outcome is FAILED
    assert replace(drill, objectives=Objectives()).outcome is FAILED

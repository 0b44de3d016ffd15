from __future__ import annotations

import pytest

from pgvault.config.checks import CheckConfig
from pgvault.report.document import Quality, Standing
from pgvault.report.quality import DRILL, LIVE, RESULTS, Results
from tests.report.sample import CHECKS, days, drill, found, run


def quality_of(*documents: dict[str, object], checks: tuple[CheckConfig, ...] = CHECKS[:1]) -> Quality:
    """What these say, newest first."""
    results = Results(checks)
    for document in documents:
        results.add(document, where=LIVE if "results" in document else DRILL)
    return results.quality(limit=100)[0]


def test_results_stand_by_place_and_oldest_first() -> None:
    """Those of the live server apart from those of drills."""
    said = quality_of(
        run(1, found("orphaned_orders")),
        run(2, found("orphaned_orders", "failed")),
        drill(3, "passed", found("orphaned_orders")),
    )

    check = said.checks[0]
    assert [(each.at, each.verdict) for each in check.live] == [(days(2), "failed"), (days(1), "passed")]
    assert [each.run for each in check.drill] == ["drill-3"]
    assert check.standing is Standing.GOOD


@pytest.mark.parametrize(
    ("live", "drilled", "severity", "standing"),
    [
        (None, None, "critical", Standing.UNKNOWN),
        ("unproven", None, "critical", Standing.UNKNOWN),
        ("passed", "unproven", "critical", Standing.WATCH),
        ("passed", "failed", "critical", Standing.BAD),
        ("failed", "passed", "critical", Standing.BAD),
        ("failed", "passed", "warning", Standing.WATCH),
        ("passed", "passed", "critical", Standing.GOOD),
    ],
)
def test_a_check_stands_by_its_newest_result_in_each_place(
    live: str | None, drilled: str | None, severity: str, standing: Standing
) -> None:
    """What is red in one place is not healed by the other, and what says nothing is never green."""
    results = Results([CheckConfig(name="totals", query="SELECT 1", severity=severity)])
    if live is not None:
        results.add(run(1, found("totals", live)), where=LIVE)
    results.add(drill(2, "passed", *([found("totals", drilled)] if drilled else [])) | {"id": "d"}, where=DRILL)

    (check,) = [each for each in results.quality(limit=9)[0].checks if each.name == "totals"]

    assert check.standing is standing


def test_the_newest_failure_keeps_its_rows() -> None:
    """With where and when, and whether it passed there since; twenty rows, and none of endless length."""
    rows = [f"id={number}" for number in range(50)]
    long = found("orphaned_orders", "failed", sample=["x" * 5000])

    over = quality_of(run(1, found("orphaned_orders")), run(2, found("orphaned_orders", "failed", sample=rows)))
    (now,) = quality_of(run(1, long)).checks[0].failures

    (failure,) = over.checks[0].failures
    assert (failure.is_over, failure.run, failure.at, len(failure.rows)) == (True, "run-2", days(2), 20)
    assert not now.is_over
    assert len(now.rows[0]) < 500


def test_only_the_last_results_are_kept() -> None:
    """Thirty of each check, the newest; a failure before them is not told."""
    runs = [run(each / 10, found("orphaned_orders", "failed" if each > RESULTS else "passed")) for each in range(1, 99)]

    (check,) = quality_of(*runs).checks

    assert len(check.live) == RESULTS
    assert check.live[-1].at == days(0.1)
    assert not check.failures


def test_nothing_checked_is_not_good() -> None:
    """Neither no check at all, nor checks that never ran."""
    nothing, silent = quality_of(checks=()), quality_of()

    assert (nothing.standing, nothing.check_count) == (Standing.UNKNOWN, 0)
    assert (silent.standing, silent.silent_count) == (Standing.UNKNOWN, 1)
    assert "nothing is known" in nothing.sentence


def test_the_sentence_names_what_failed() -> None:
    """And says how many of how many."""
    bad = quality_of(run(1, found("orphaned_orders", "failed")), checks=CHECKS)
    good = quality_of(run(1, found("orphaned_orders")))

    assert bad.sentence == "1 of 3 checks failed when they last ran: 'orphaned_orders'."
    assert (good.standing, good.sentence) == (Standing.GOOD, "All 1 check passed when they last ran.")


def test_a_check_that_fails_is_never_left_out() -> None:
    """Whatever else is cut, and one that is not configured any more is shown as such a result."""
    many = [found(f"derived {number:03}", origin="derived") for number in range(300)]
    many[-1] = found("derived 299", "failed", origin="derived")
    results = Results(CHECKS)
    results.add(drill(1, "failed", *many), where=DRILL)

    quality, left_out = results.quality(limit=100)

    names = [check.name for check in quality.checks]
    assert names[:3] == [check.name for check in CHECKS]
    assert "derived 299" in names
    assert (quality.check_count, len(names) + left_out) == (304, 304)
    assert len(names) <= 101

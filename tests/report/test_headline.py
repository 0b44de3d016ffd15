from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from pgvault.monitor.finding import Finding, ok, red
from pgvault.report.document import Headline, Standing
from pgvault.report.gather import drill_of
from pgvault.report.headline import headline
from tests.report.sample import ZONE, drill, promises_of

WELL = (ok("server", "up"),)


def said(
    *drills: dict[str, object], findings: tuple[Finding, ...] = WELL, known: tuple[str, ...] = ("rto", "rpo")
) -> Headline:
    """The headline of a cluster with these drills."""
    promises = [each for name, each in promises_of(drills).items() if name in known]
    return headline(findings, promises, [drill_of(each) for each in drills], zone=ZoneInfo(ZONE))


def test_only_what_was_proven_is_green() -> None:
    """With when that was, by the clock of the configuration's zone, and how long it took."""
    good = said(drill(1))

    assert good.standing is Standing.GOOD
    assert "in 41 min on 2026-11-20 09:00" in good.sentence


@pytest.mark.parametrize(
    ("drills", "findings", "standing", "words"),
    [
        ((), WELL, Standing.UNKNOWN, "no drill has restored one yet"),
        ((drill(1, "could not run"),), WELL, Standing.UNKNOWN, "no drill has restored one yet"),
        ((drill(1),), (), Standing.UNKNOWN, "nothing is known"),
        ((drill(1, "failed"), drill(2)), WELL, Standing.BAD, "failed: check 'orphaned_orders': 2 rows"),
        ((drill(1),), (red("WAL lag", "3 h"), *WELL, red("gap", "1")), Standing.BAD, "WAL lag: 3 h. And 1 more thing"),
        ((drill(1, "objective missed", rto_seconds=18000.0),), WELL, Standing.BAD, "5 h 00 min, promised 4 h 00 min"),
    ],
)
def test_everything_else_is_not(
    drills: tuple[dict[str, object], ...], findings: tuple[Finding, ...], standing: Standing, words: str
) -> None:
    """And says why in one sentence."""
    found = said(*drills, findings=findings)

    assert found.standing is standing
    assert words in found.sentence


def test_a_warning_or_an_unmeasured_promise_is_an_open_question() -> None:
    """Green is for what was shown, all of it."""
    found = said(drill(1), known=("rto", "rpo", "backup_duration", "success_rate"))
    open_question = said(drill(1, rpo_seconds=None))

    assert found.standing is Standing.GOOD
    assert open_question.standing is Standing.WATCH
    assert "1 promise that nothing has measured" in open_question.sentence

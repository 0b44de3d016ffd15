from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pgvault.checks.result import CheckResult, Origin, Verdict
from pgvault.config import CheckConfig, Objectives
from pgvault.drill.classes import ClassPromise, in_order
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment, Rpo
from pgvault.drill.run import require_passed
from pgvault.errors import DrillFailed, ObjectiveMissed
from pgvault.logical.select import RankedClass, TablePattern

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def promise(name: str, priority: int, *tables: str, rto: float | None = None, rpo: float | None = None) -> ClassPromise:
    """A data class."""
    return ClassPromise(
        RankedClass(name, priority, tuple(map(TablePattern.parse, tables))),
        None if rto is None else timedelta(seconds=rto),
        None if rpo is None else timedelta(seconds=rpo),
    )


def result(name: str, ended: float, *tables: str, verdict: Verdict = Verdict.PASSED) -> CheckResult:
    """What a check found that scanned `tables`."""
    made = CheckResult(name, verdict, 0, 0, "critical", "returned 0", 0.1, database="shop", tables=tables)
    return replace(made, origin=Origin.CONFIGURED, ended_after=ended)


def report(*checks: CheckResult, promises: tuple[ClassPromise, ...]) -> DrillReport:
    """A drill of a shop."""
    made = DrillReport("20260115T103000Z-f7c2", "main", AT, Objectives(), promises=promises)
    made.reached, made.phases = {"lsn": "0/4000000", "timeline": 1}, {"plan": 1.0, "check": 99.0}
    made.checks = list(checks)
    made.rpo = Rpo(60, AT - timedelta(seconds=60), FailureMoment(AT, is_server_clock=True), "the last replayed commit")
    return made


ACCOUNTS = promise("critical", 1, "public.accounts", rto=30, rpo=60)
HISTORY = promise("high", 2, "history*", rto=50)


def test_a_class_is_back_when_the_last_check_of_its_tables_passed() -> None:
    """Others may take as long as they like; each line has what was promised beside what was measured."""
    made = report(
        result("sums", 10, "public.accounts"),
        result("orphans", 28, "public.accounts", "public.history_2025"),
        result("history", 45, "public.history_2025"),
        result("other", 90, "public.analytics"),
        promises=(HISTORY, ACCOUNTS),
    )

    require_passed(made)

    critical, high = made.to_json()["classes"]
    assert made.rto_seconds == 90
    assert (critical["name"], critical["rto_seconds"], critical["promised_rto_seconds"]) == ("critical", 28, 30)
    assert (critical["rpo_seconds"], critical["promised_rpo_seconds"]) == (60, 60)
    assert (critical["checks"], critical["tables"]) == (["sums", "orphans"], ["public.accounts"])
    assert (high["rto_seconds"], high["rpo_seconds"], high["promised_rpo_seconds"]) == (45, 60, None)


def test_a_class_that_was_late_fails_the_drill() -> None:
    """As a missed objective, by name."""
    made = report(result("sums", 31, "public.accounts"), promises=(ACCOUNTS,))

    with pytest.raises(ObjectiveMissed, match=r"objective rto of class 'critical' missed: 31\.0 s, promised 30\.0 s"):
        require_passed(made)
    assert made.missed == ["rto of class 'critical'"]


def test_a_class_that_lost_too_much_fails_the_drill() -> None:
    """The RPO of the restore is that of each class."""
    made = report(result("sums", 1, "public.accounts"), promises=(promise("tight", 1, "accounts", rpo=59),))

    with pytest.raises(ObjectiveMissed, match=r"objective rpo of class 'tight' missed: 60\.0 s, promised 59\.0 s"):
        require_passed(made)


@pytest.mark.parametrize(
    "checks",
    [
        (result("other", 5, "public.orders"),),
        (result("other", 5, "public.orders"), result("today", 6, "public.accounts", verdict=Verdict.UNPROVEN)),
        (result("other", 5, "public.orders"), replace(result("low", 6, "public.accounts"), severity="low")),
    ],
)
def test_a_class_that_nothing_proves_is_not_green(checks: tuple[CheckResult, ...]) -> None:
    """No check that passed and could have stopped the drill touched it: a warning, no RTO, and no pass of the class."""
    made = report(*checks, promises=(ACCOUNTS,))

    assert made.passed
    assert made.classes[0].to_json()["proven"] is False
    assert made.classes[0].to_json()["rto_seconds"] is None
    assert "class 'critical': not proven: no check that passed touches its tables" in made.warnings


def test_a_class_with_a_failed_check_has_no_rto() -> None:
    """And the drill has failed, not been late."""
    made = report(
        result("sums", 10, "public.accounts"),
        result("totals", 11, "public.accounts", verdict=Verdict.FAILED),
        promises=(ACCOUNTS,),
    )

    with pytest.raises(DrillFailed, match="check 'totals'"):
        require_passed(made)
    assert (made.rto_seconds, made.classes[0].rto.note) == (None, "check 'totals' of its tables failed")


def test_rto_ends_with_the_last_blocking_check() -> None:
    """What comes after it and stops nothing costs no recovery time."""
    late = replace(result("nice", 80, "public.accounts"), severity="info")
    made = report(result("sums", 10, "public.accounts"), late, promises=())

    assert made.rto_seconds == 10


def test_checks_go_by_priority_of_what_they_name() -> None:
    """What may stop a drill first, the most urgent class first; else as they stand in the file."""
    queries = {
        "mail": "SELECT 1 FROM customers",
        "nice": "SELECT 1 FROM accounts",
        "old": "SELECT count(*) FROM public.history_2025 h",
        "sums": 'SELECT 1 FROM "public"."accounts"',
        "last": "SELECT 1 FROM other.accounts",
    }
    checks = [
        CheckConfig(name=name, query=query, severity="low" if name == "nice" else "high")
        for name, query in queries.items()
    ]

    ordered = in_order(checks, [HISTORY, ACCOUNTS], database="shop")

    assert [check.name for check in ordered] == ["sums", "old", "mail", "last", "nice"]
    assert in_order(checks, [], database="shop")[0].name == "mail"


def test_a_class_of_one_database_is_of_no_other() -> None:
    """Tables of the same name elsewhere are others."""
    here = replace(ACCOUNTS, ranked=replace(ACCOUNTS.ranked, databases=("shop*",)))
    elsewhere = replace(ACCOUNTS, ranked=replace(ACCOUNTS.ranked, databases=("crm",)))

    assert here.holds("shop", "public.accounts")
    assert not elsewhere.holds("shop", "public.accounts")
    assert promise("odd", 1, '"a.b"."C"').holds("shop", '"a.b"."C"')

"""The figures that customers were promised, as objectives and data classes of the configuration, and judged as such."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from pgvault.checks.result import CheckResult, Verdict
from pgvault.cli.drillfacts import promised_classes
from pgvault.config import CheckConfig, ClassConfig, ClusterConfig, Objectives
from pgvault.drill.classes import in_order
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment, Rpo
from pgvault.drill.run import require_passed
from pgvault.errors import ObjectiveMissed

PROMISED = {
    "rpo": "15m",
    "rto": "4h",
    "backup_age": "24h",
    "backup_duration": "30m",
    "archive_lag": "15m",
    "copy_lag": "1h",
    "drill_age": "31d",
    "success_rate": "99.9%",
}


def test_every_figure_can_be_written_down() -> None:
    """RPO, RTO, age and duration of backups, how often they succeed, drills at least monthly, a second region."""
    found = Objectives.model_validate(PROMISED)

    assert (found.rpo, found.rto) == (timedelta(minutes=15), timedelta(hours=4))
    assert (found.backup_age, found.backup_duration) == (timedelta(days=1), timedelta(minutes=30))
    assert (found.archive_lag, found.copy_lag) == (timedelta(minutes=15), timedelta(hours=1))
    assert found.drill_age == timedelta(days=31)
    assert found.success_rate == pytest.approx(0.999)


@pytest.mark.parametrize("share", ["99.9", "0%", "101%", "often", -1])
def test_a_success_rate_is_a_share(share: object) -> None:
    """99.9 without its sign is refused: nothing can succeed more often than always."""
    with pytest.raises(ValidationError, match=r"write 99\.9% or 0\.999"):
        Objectives.model_validate({"success_rate": share})


@pytest.mark.parametrize(
    ("said", "cron"),
    [("hourly", "0 * * * *"), ("daily", "0 1 * * *"), ("weekly", "0 2 * * 0"), ("monthly", "0 3 1 * *")],
)
def test_a_class_says_its_schedule_in_a_word(said: str, cron: str) -> None:
    """As `backup:` or `logical:`; a cron expression stays what it is."""
    for field in ("backup", "logical"):
        assert ClassConfig.model_validate({"tables": ["users"], field: said}).backup == cron
        assert ClassConfig.model_validate({"tables": ["users"], field: "5 4 * * *"}).backup == "5 4 * * *"
    with pytest.raises(ValidationError):
        ClassConfig.model_validate({"tables": ["users"], "backup": said, "logical": said})
    with pytest.raises(ValidationError, match="neither hourly, daily, weekly, monthly nor a cron expression"):
        ClassConfig.model_validate({"tables": ["users"], "backup": f"{said}s"})


# The table of data classes as it was promised: table, priority, RTO and RPO in minutes, backup, kept.
CLASSES = {
    "critical": ("accounts", 1, 60, 15, "daily", "90d"),
    "high": ("history", 2, 240, 60, "daily", "30d"),
    "medium": ("preferences", 3, 480, 1440, "weekly", "30d"),
    "low": ("analytics", 4, 1440, 2880, "monthly", "90d"),
}
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def four_classes() -> ClusterConfig:
    """The table as configuration, the least urgent first."""
    return ClusterConfig.model_validate(
        {
            "dsn": "",
            "classes": {
                name: {
                    "tables": [table],
                    "priority": priority,
                    "rto": f"{rto}m",
                    "rpo": f"{rpo}m",
                    "logical": backup,
                    "keep": kept,
                }
                for name, (table, priority, rto, rpo, backup, kept) in reversed(CLASSES.items())
            },
        }
    )


def drilled(ends: Mapping[str, float], *, lost_minutes: float) -> DrillReport:
    """A drill in which the check of each class's table passed so many minutes after it began."""
    made = DrillReport("20260115T103000Z-f7c2", "shop", AT, Objectives(), promises=promised_classes(four_classes()))
    made.reached, made.phases = {"lsn": "0/4000000", "timeline": 1}, {"plan": 1.0, "check": 99.0}
    made.checks = [
        CheckResult(
            name, Verdict.PASSED, 0, 0, "critical", "", 1, tables=(f"public.{table}",), ended_after=60 * minutes
        )
        for (name, (table, *_)), minutes in zip(CLASSES.items(), ends.values(), strict=True)
    ]
    failure = FailureMoment(AT, is_server_clock=True)
    made.rpo = Rpo(60 * lost_minutes, AT - timedelta(minutes=lost_minutes), failure, "the last replayed commit")
    return made


def test_a_drill_has_a_line_for_each_class() -> None:
    """Promised beside measured, the most urgent class first."""
    report = drilled({"critical": 60, "high": 61, "medium": 62, "low": 63}, lost_minutes=15)

    require_passed(report)

    lines = report.to_json()["classes"]
    assert [line["name"] for line in lines] == list(CLASSES)
    assert [line["rto_seconds"] for line in lines] == [3600, 3660, 3720, 3780]
    assert {line["rpo_seconds"] for line in lines} == {900}
    for line, (table, priority, rto, rpo, _, _) in zip(lines, CLASSES.values(), strict=True):
        assert line["priority"] == priority
        assert (line["promised_rto_seconds"], line["promised_rpo_seconds"]) == (60 * rto, 60 * rpo)
        assert line["tables"] == [f"public.{table}"]


@pytest.mark.parametrize("late", CLASSES)
def test_each_class_has_its_own_rto(late: str) -> None:
    """One minute more than was promised of that class, and of no other."""
    ends = {name: rto + (name == late) for name, (_, _, rto, *_) in CLASSES.items()}

    report = drilled(ends, lost_minutes=1)

    assert report.missed == [f"rto of class {late!r}"]
    with pytest.raises(ObjectiveMissed):
        require_passed(report)


@pytest.mark.parametrize("lost", [15, 60, 1440, 2880])
def test_each_class_has_its_own_rpo(lost: int) -> None:
    """A minute more than that is too much for each class that was promised no more."""
    report = drilled(dict.fromkeys(CLASSES, 1), lost_minutes=lost + 1)

    assert report.missed == [f"rpo of class {name!r}" for name, (_, _, _, rpo, *_) in CLASSES.items() if rpo <= lost]


def test_checks_go_by_class() -> None:
    """However they stand in the file."""
    checks = [
        CheckConfig(name=name, query=f"SELECT count(*) FROM {table} WHERE id IS NULL")
        for name, (table, *_) in reversed(CLASSES.items())
    ]

    ordered = in_order(checks, promised_classes(four_classes()), database="shop")

    assert [check.name for check in ordered] == list(CLASSES)

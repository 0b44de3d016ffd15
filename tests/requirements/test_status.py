"""What customers were promised that status tells: healthy or stale, last backup, next one; success and duration."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pgvault.cli.statusscreen import brief_line
from pgvault.config import ClusterConfig
from pgvault.monitor.backupage import TakenBackup, judge_backup
from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.objectivestatus import judge_objectives
from pgvault.monitor.schedulestatus import promised_age, tell_rates, tell_schedule
from pgvault.monitor.status import ClusterStatus
from pgvault.repository.catalog import Catalog
from tests.repository.samples import SAMPLE

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROMISED = {"success_rate": "99.9%", "backup_duration": "30m"}


def configured(**sections: object) -> ClusterConfig:
    return ClusterConfig.model_validate({"dsn": "", **sections})


def judged(config: ClusterConfig, *, ended: datetime, took: timedelta = timedelta(minutes=20)) -> Finding:
    """What status says of a cluster's newest backup."""
    taken = TakenBackup("full", f"{ended - took:%Y%m%dT%H%M%SZ}-0001", ended - took, ended)
    return judge_backup(taken, promised_age(config, zone="UTC"), "x", {"count": 1}, now=NOW)


@pytest.mark.parametrize("sections", [{}, {"schedule": {"backup": "daily"}}])
def test_a_backup_older_than_24_hours_is_stale(sections: dict[str, object]) -> None:
    """Whether backups are scheduled daily or nothing is said."""
    config = configured(**sections)

    fresh, old = judged(config, ended=NOW - 10 * HOUR), judged(config, ended=NOW - 24 * HOUR - timedelta(seconds=1))

    assert (fresh.level, fresh.figures["is_stale"]) == (Level.OK, False)
    assert (old.level, old.figures["is_stale"]) == (Level.RED, True)
    assert old.detail.startswith("stale, older than 24 h")


def test_status_tells_the_last_backup_and_the_next_one() -> None:
    """In one line."""
    config = configured(schedule={"backup": "daily"})
    findings = (judged(config, ended=NOW - 10 * HOUR), *tell_schedule(config, zone="UTC", now=NOW))

    line = brief_line(ClusterStatus("main", findings, None))

    assert line.startswith("main: healthy, last backup 10.0 h ago, next 2026-11-22 01:00 UTC")


@pytest.mark.parametrize(("missed", "level"), [((), Level.OK), ((7,), Level.RED)])
def test_more_than_999_of_1000_backups_succeed(missed: tuple[int, ...], level: Level) -> None:
    """Of the hourly slots of 30 days one may not be missing: 719 of 720 are 99.86 %."""
    config = configured(schedule={"backup": "hourly"}, objectives=PROMISED)
    began = [NOW - number * HOUR for number in range(800) if number - 2 not in missed]
    backups = (replace(SAMPLE, label=f"{at:%Y%m%dT%H%M%SZ}-0001", started_at=at) for at in began)
    catalog = Catalog("main", tuple(backups), (), (), (), ())

    rates = list(tell_rates(config, catalog, None, zone="UTC", now=NOW))
    (rate,) = [each for each in judge_objectives(config.objectives, rates) if "success_rate" in each.detail]

    assert (rates[0].figures["slots"], rates[0].figures["failed"]) == (720, len(missed))
    assert rate.level is level


@pytest.mark.parametrize(("minutes", "level"), [(30, Level.OK), (31, Level.RED)])
def test_a_full_backup_takes_less_than_30_minutes(minutes: int, level: Level) -> None:
    """One that takes longer breaks the objective."""
    config = configured(objectives=PROMISED)
    found = judged(config, ended=NOW - HOUR, took=timedelta(minutes=minutes))

    (duration,) = [each for each in judge_objectives(config.objectives, [found]) if "duration" in each.detail]

    assert duration.level is level

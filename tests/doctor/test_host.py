"""The host's part of doctor: each mistake is seen, and what is well is not called one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.doctor.host import (
    ConfigFacts,
    HostFacts,
    judge_config_choice,
    judge_host,
    judge_installed,
    judge_libpq,
    judge_zone,
)
from pgvault.monitor.finding import Level

FINE = HostFacts("postgres", 105, "3.11.2", 180001, "utf-8", timedelta(0))
ETC, HERE = Path("/etc/pgvault/pgvault.yaml"), Path("pgvault.yaml")


def levels(facts: HostFacts) -> dict[str, Level]:
    return {each.name: each.level for each in judge_host(facts)}


def test_a_host_that_is_well() -> None:
    assert set(levels(FINE).values()) == {Level.OK}


def test_root_is_told() -> None:
    """What root makes in a spool or a repository, the server's user can not read."""
    assert levels(replace(FINE, uid=0))["user"] is Level.WARN


def test_a_locale_that_can_not_write_names_is_told() -> None:
    assert levels(replace(FINE, encoding="ascii"))["locale"] is Level.WARN


def test_a_client_library_older_than_the_server_is_told() -> None:
    """By majors: 17.6 is as new as 17.1 needs it."""
    assert judge_libpq(170006, major=18).level is Level.WARN
    assert judge_libpq(170001, major=17).level is Level.OK
    assert "17.6" in judge_libpq(170006, major=18).detail


def test_a_host_without_postgresql_is_told() -> None:
    assert judge_installed(()).level is Level.WARN
    assert judge_installed((17, 18)).detail == "PostgreSQL 17, 18"


@pytest.mark.parametrize(
    ("offset", "has_schedule", "level"),
    [(0, True, Level.OK), (1, True, Level.WARN), (1, False, Level.OK)],
)
def test_a_zone_that_cron_does_not_have_is_told(offset: int, has_schedule: bool, level: Level) -> None:
    """Where something is scheduled: a job at 1:00 UTC, started by local time, is late by the offset."""
    found = judge_zone(timedelta(hours=offset), zone="UTC", configured=timedelta(0), has_schedule=has_schedule)

    assert found.level is level


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (ConfigFacts(ETC, False, None, (ETC,)), Level.OK),
        (ConfigFacts(HERE, False, None, (HERE, ETC)), Level.WARN),
        (ConfigFacts(Path("/srv/p.yaml"), False, Path("/srv/p.yaml"), (ETC,)), Level.WARN),
        (ConfigFacts(Path("/srv/p.yaml"), True, Path("/srv/q.yaml"), (ETC,)), Level.OK),
        (ConfigFacts(None, False, None), Level.RED),
    ],
    ids=["one", "also in /etc", "environment and /etc", "said", "none"],
)
def test_two_configurations_are_told(facts: ConfigFacts, level: Level) -> None:
    """Cron, from another directory and without the variable, would read the other; --config can not be misread."""
    assert judge_config_choice(facts).level is level

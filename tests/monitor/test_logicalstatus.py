"""Backups without WAL: how old the last one is, is how much would be lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgvault.errors import ServerUnreachable, StoreUnreachable
from pgvault.monitor.finding import Finding, Level, worst
from pgvault.monitor.logicalstatus import (
    ClassPromise,
    LogicalFact,
    LogicalFacts,
    LogicalHeld,
    ServerWord,
    judge_logical,
)
from pgvault.monitor.walstatus import judge
from pgvault.repository.logical import LogicalType
from tests.monitor.healthy import HEALTHY, HELD, NOW, ago, found, levels, with_held

BOTH = ("app", "crm")
LATEST = LogicalFact("newest", LogicalType.LOGICAL, None, ago(hours=3, minutes=10), ago(hours=3), BOTH)
OLDER = LogicalFact("older", LogicalType.LOGICAL, None, ago(hours=27, minutes=10), ago(hours=27), BOTH)
SCHEMA = LogicalFact("schema", LogicalType.SCHEMA, None, ago(days=40), ago(days=40), BOTH)
CRITICAL = LogicalFact("critical", LogicalType.LOGICAL, "critical", ago(minutes=5), ago(minutes=4), BOTH)
SOUND = LogicalFacts(
    host_at=NOW,
    server=ServerWord("18.6", NOW, BOTH),
    held=LogicalHeld((SCHEMA, OLDER, LATEST), ()),
    rpo=timedelta(hours=24),
)


def holding(*backups: LogicalFact, **changes: Any) -> LogicalFacts:
    return replace(SOUND, held=LogicalHeld(backups, ()), **changes)


def named(facts: LogicalFacts, name: str) -> Finding:
    (finding,) = [each for each in judge_logical(facts) if each.name == name]
    return finding


def test_a_backup_of_today_is_green() -> None:
    """And says what would be lost all the same; the old schema backup says that nothing changed."""
    findings = judge_logical(SOUND)

    assert [each.name for each in findings] == ["server", "backup", "data loss", "schema backup"]
    assert worst(findings) is Level.OK
    assert named(SOUND, "backup").figures["label"] == "newest"
    assert named(SOUND, "backup").figures["age_seconds"] == 3 * 3600
    assert named(SOUND, "backup").figures["count"] == 2
    loss = named(SOUND, "data loss")
    assert loss.figures["seconds"] == 3 * 3600 + 600
    assert "would be lost; the objective is 24.0 h" in loss.detail


@pytest.mark.parametrize("backups", [(), (SCHEMA,), (CRITICAL,), (SCHEMA, CRITICAL)])
def test_nothing_that_holds_all_rows_is_no_backup(backups: tuple[LogicalFact, ...]) -> None:
    """Definitions alone bring no row back, and a class only its own."""
    finding = named(holding(*backups), "backup")

    assert finding.level is Level.RED
    assert finding.figures["count"] == 0
    assert finding.hint is not None
    assert "--type logical" in finding.hint


def test_an_old_one_is_stale() -> None:
    """Older than a day, as every other backup."""
    finding = named(holding(OLDER), "backup")

    assert finding.level is Level.RED
    assert finding.detail.startswith("stale, older than 24 h: older, 27.0 h ago")


def test_an_objective_of_days_is_kept_by_backups_of_days() -> None:
    """Who promised two days is not told to hurry after one."""
    assert named(holding(OLDER, rpo=timedelta(hours=48)), "backup").level is Level.OK
    assert named(holding(OLDER, rpo=timedelta(hours=26)), "backup").level is Level.RED


def test_a_backup_of_one_database_protects_no_other() -> None:
    """However often it is taken: the others are as old as their own newest."""
    hourly = LogicalFact("hourly", LogicalType.LOGICAL, None, ago(minutes=5), ago(minutes=4), ("crm",))
    other = replace(hourly, label="other", databases=("app",))

    assert named(holding(LATEST, hourly), "backup").figures["label"] == "newest"
    assert named(holding(LATEST, hourly), "data loss").figures["seconds"] == 3 * 3600 + 600
    assert "newer ones hold some of the databases only" in named(holding(LATEST, hourly), "backup").detail
    assert named(holding(OLDER, hourly), "backup").level is Level.RED
    assert named(holding(hourly, other), "backup").level is Level.OK
    alone = named(holding(hourly), "backup")
    assert (alone.level, alone.detail) == (Level.RED, "no logical backup holds database 'app'")
    assert named(holding(hourly, server=ServerUnreachable("no route")), "backup").level is Level.OK


def test_a_class_is_looked_for_in_its_databases() -> None:
    """A backup of others does not hold it."""
    hourly = LogicalFact("hourly", LogicalType.LOGICAL, None, ago(minutes=5), ago(minutes=4), ("crm",))
    there, elsewhere = ClassPromise("there", None, ("c*",)), ClassPromise("elsewhere", None, ("app",))
    facts = holding(hourly, classes=(there, elsewhere))

    assert named(facts, "class there").level is Level.OK
    assert named(facts, "class elsewhere").level is Level.RED
    assert named(facts, "class elsewhere").detail == "no logical backup holds its tables of database 'app'"


@pytest.mark.parametrize(
    ("rpo", "level"), [(None, Level.OK), (timedelta(hours=4), Level.OK), (timedelta(minutes=15), Level.RED)]
)
def test_the_objective_is_held_against_the_snapshot(rpo: timedelta | None, level: Level) -> None:
    """What was committed after it is nowhere: an objective of minutes can not be kept this way."""
    finding = named(replace(SOUND, rpo=rpo), "data loss")

    assert finding.level is level


def test_a_class_is_in_backups_of_its_own_and_of_all() -> None:
    """Each class has its own objective."""
    promises = (
        ClassPromise("critical", timedelta(minutes=15)),
        ClassPromise("low", timedelta(hours=1)),
        ClassPromise("medium", None),
    )
    facts = holding(LATEST, CRITICAL, classes=promises)

    assert named(facts, "class critical").level is Level.OK
    assert named(facts, "class critical").figures["label"] == "critical"
    assert named(facts, "class low").level is Level.RED
    assert named(facts, "class low").figures["label"] == "newest"
    assert named(facts, "class medium").level is Level.OK
    bare = named(holding(CRITICAL, classes=promises), "class low")
    assert (bare.level, bare.figures["count"]) == (Level.RED, 0)


def test_what_does_not_answer_is_red_and_the_rest_is_judged() -> None:
    """A managed server may be asleep; the repository tells of its backups by our own clock."""
    asleep = replace(SOUND, server=ServerUnreachable("no route"))
    mute = replace(SOUND, held=StoreUnreachable("gone"))

    assert {each.name: each.level for each in judge_logical(asleep)} == {
        "server": Level.RED,
        "backup": Level.OK,
        "data loss": Level.OK,
        "schema backup": Level.OK,
    }
    assert [each.name for each in judge_logical(mute) if each.level is Level.RED] == ["repository"]


def test_a_clock_that_is_off_and_a_root_that_does_not_open_are_told() -> None:
    """As for every cluster."""
    off = replace(SOUND, host_at=NOW + timedelta(minutes=2))
    broken = replace(SOUND, held=LogicalHeld((LATEST,), ("backup x (corrupt)",)))

    assert named(off, "clocks").level is Level.WARN
    assert named(broken, "unreadable").level is Level.RED


class TestBesidePhysicalOnes:
    """A cluster with WAL is judged by that; its logical backups are told of."""

    def test_they_are_told_of(self) -> None:
        """Never red, however old."""
        facts = with_held(logical=(SCHEMA, OLDER))

        assert levels(facts) == {}
        assert found(facts, "logical backup").figures["age_seconds"] == 27 * 3600
        assert found(facts, "schema backup").figures["label"] == "schema"
        assert found(facts, "backup").figures["label"] == "newest"

    def test_none_is_not_missed(self) -> None:
        """Nobody has to take any."""
        assert not {"logical backup", "schema backup"} & {each.name for each in judge(HEALTHY)}

    def test_they_do_not_take_the_place_of_a_physical_one(self) -> None:
        """However new: no WAL goes with them."""
        facts = with_held(backups=(), logical=(CRITICAL, LATEST))

        assert found(facts, "backup").level is Level.RED
        assert found(facts, "backup").detail == "there is no physical backup: no point in time can be reached"
        assert HELD.newest is not None


def test_a_backup_of_a_clock_far_ahead_hides_no_other() -> None:
    """As with physical ones."""
    ahead = replace(LATEST, label="ahead", started_at=ago(days=-300), stopped_at=ago(days=-300))

    assert named(holding(OLDER, LATEST, ahead), "backup").figures["label"] == "newest"
    assert named(holding(ahead), "backup").level is Level.RED

"""Which backups rules keep, and why; examples with dates as an operator has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml

from pgvault.config import GfsConfig, LogicalRetention, RetentionConfig, parse_config
from pgvault.errors import ConfigInvalid, ConfigUnknownKey
from pgvault.expire.facts import BackupFacts, LogicalBackup, PhysicalBackup
from pgvault.expire.policy import Policy
from pgvault.expire.rules import Judged, apply_rules
from pgvault.postgres.lsn import Lsn

NOW = datetime(2025, 10, 25, 12, 0, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")


def full(label: str, *, days: float, is_full: bool = True, lsn: int | None = None) -> PhysicalBackup:
    stopped_at = NOW - timedelta(days=days)
    start = lsn if lsn is not None else int((400 - days) * 1000)
    return PhysicalBackup(
        label, is_full, 1, 1, Lsn(start), Lsn(start + 10), stopped_at - timedelta(minutes=5), stopped_at
    )


def dump(label: str, *, days: float, class_name: str | None = None, is_schema: bool = False) -> LogicalBackup:
    stopped_at = NOW - timedelta(days=days)
    return LogicalBackup(label, is_schema, stopped_at, stopped_at, class_name)


def kept(
    backups: list[BackupFacts], retention: RetentionConfig, *, sound: str = "", zone: str = "UTC", **keeps: timedelta
) -> dict[str, list[str]]:
    judged = Judged("primary", tuple(backups), frozenset(sound.split()), frozenset(sound.split()))
    found: dict[str, list[str]] = {}
    for label, why in apply_rules(judged, Policy(retention, keeps, ZoneInfo(zone)), now=NOW):
        found.setdefault(label, []).append(why)
    return found


def test_only_verified_fulls_are_counted() -> None:
    """Newer ones that were not verified stay beside those that count; older ones go."""
    backups: list[BackupFacts] = [full(f"f{day}", days=day) for day in range(1, 6)]

    found = kept(backups, RetentionConfig(full=2), sound="f2 f4 f5")

    assert found == {
        "f1": ["newer than the last full that counts, and not verified yet"],
        "f2": ["full 1 of 2"],
        "f3": ["newer than the last full that counts, and not verified yet"],
        "f4": ["full 2 of 2"],
    }


def test_no_full_expires_before_enough_are_verified() -> None:
    """One verified full of two: all stay, whatever their age."""
    backups: list[BackupFacts] = [full("new", days=1), full("old", days=300), full("older", days=390)]

    found = kept(backups, RetentionConfig(full=2), sound="old")

    assert found.keys() == {"new", "old", "older"}


def test_incrementals_are_no_redundancy() -> None:
    """They go with the fulls that count, and never count."""
    backups: list[BackupFacts] = [
        full("f9", days=9),
        full("f5", days=5),
        full("i4", days=4, is_full=False),
        full("i8", days=8, is_full=False),
        full("f1", days=1),
    ]

    assert kept(backups, RetentionConfig(full=2), sound="f9 f5 f1").keys() == {"f1", "f5", "i4"}
    assert kept(backups, RetentionConfig(full=2, incremental_days=9), sound="f9 f5 f1").keys() == {
        "f1",
        "f5",
        "i4",
        "i8",
    }


def test_a_clock_that_was_set_back_does_not_turn_backups_round() -> None:
    """WAL tells which of two backups of a timeline is the newer one."""
    earlier, later = full("earlier", days=1.0, lsn=100), full("later", days=1.05, lsn=200)

    assert kept([earlier, later], RetentionConfig(full=1), sound="earlier later") == {"later": ["full 1 of 1"]}


def test_generations() -> None:
    """The newest of each of the last days, ISO weeks, months and years that have one."""
    backups: list[BackupFacts] = [full(f"f{day}", days=day) for day in (0, 0.2, 1, 8, 40, 300)]
    rules = RetentionConfig(full=1, gfs=GfsConfig(daily=2, weekly=2, monthly=3, yearly=2))

    found = kept(backups, rules, sound=" ".join(each.label for each in backups))

    assert found == {
        "f0": ["full 1 of 1", "daily 2025-10-25", "weekly 2025-W43", "monthly 2025-10", "yearly 2025"],
        "f1": ["daily 2025-10-24"],
        "f8": ["weekly 2025-W42"],
        "f40": ["monthly 2025-09"],
        "f300": ["monthly 2024-12", "yearly 2024"],
    }


def test_a_generation_keeps_its_newest_verified_one_too() -> None:
    """A failed one of the same day must not stand in for one that is known to be whole."""
    backups: list[BackupFacts] = [full("f0", days=0), full("bad", days=1), full("good", days=1.1)]

    found = kept(backups, RetentionConfig(full=1, gfs=GfsConfig(daily=2)), sound="f0 good")

    assert found["good"] == ["daily 2025-10-24, where the newest one is not verified"]
    assert found["bad"] == ["daily 2025-10-24"]


def test_days_are_those_of_the_configured_zone() -> None:
    """11 pm in UTC is tomorrow in Auckland."""
    late, early = full("late", days=0.5 + 1 / 24), full("early", days=1.4)

    utc = kept([late, early], RetentionConfig(full=1, gfs=GfsConfig(daily=2)), sound="late")
    auckland = kept(
        [late, early], RetentionConfig(full=1, gfs=GfsConfig(daily=2)), sound="late", zone="Pacific/Auckland"
    )

    assert utc["late"][1:] == ["daily 2025-10-24"]
    assert auckland["late"][1:] == ["daily 2025-10-25"]


def test_logical_backups_have_their_own_rules_class_by_class() -> None:
    """A dump of one class is no substitute for another's, and never for a full."""
    backups: list[BackupFacts] = [
        dump("all1", days=1),
        dump("all40", days=40),
        dump("crit80", days=80, class_name="critical"),
        dump("crit100", days=100, class_name="critical"),
        dump("crit95", days=95, class_name="critical"),
        dump("low50", days=50, class_name="low"),
        full("f1", days=1),
        full("f90", days=90),
    ]
    rules = RetentionConfig(full=1, logical=LogicalRetention(days=30))

    found = kept(backups, rules, sound="f1 f90", critical=timedelta(days=90))

    assert found.keys() == {"all1", "crit80", "low50", "f1"}
    assert found["crit80"] == ["newest logical backup", "within the 90 days of class 'critical'"]
    assert found["low50"] == ["newest logical backup"]


def test_logical_backups_stay_where_no_rule_is_about_them() -> None:
    """`full` and `window` say nothing about dumps."""
    found = kept([dump("a", days=900), dump("b", days=1)], RetentionConfig(window=timedelta(hours=72)))

    assert found.keys() == {"a", "b"}


def test_schema_backups_stay_for_ever_or_so_many_days() -> None:
    """… and the newest in any case."""
    schemas: list[BackupFacts] = [dump("s1", days=50, is_schema=True), dump("s2", days=400, is_schema=True)]

    assert kept(schemas, RetentionConfig()).keys() == {"s1", "s2"}
    assert kept(schemas, RetentionConfig(schema=30)).keys() == {"s1"}


def test_without_a_retention_section_everything_stays() -> None:
    """A cluster that says nothing loses nothing."""
    judged = Judged("primary", (full("f", days=399),), frozenset(), frozenset())

    assert list(apply_rules(judged, Policy(None), now=NOW)) == [("f", "nothing expires: there is no retention section")]


@pytest.mark.parametrize(
    "retention",
    [
        "{full: 0}",
        "{days: 0}",
        "{days: -3}",
        "{window: 72}",
        "{window: 3 fortnights}",
        "{gfs: {daily: -1}}",
        "{gfs: {dayly: 7}}",
        "{grace: 5m}",
        "{schema: 0}",
        "{schema: 99999999999}",
        "{days: 99999999999}",
        "{logical: {days: 99999999999}}",
        "{window: 900000d}",
        "{grace: 900000d}",
        "{schema: never}",
        "{keep: 5}",
    ],
)
def test_bad_policy_is_an_error(retention: str) -> None:
    """A typo must not erase everything, nor be taken for no rule."""
    document = {
        "repository": {"key": "env:KEY", "copies": {"a": {"url": "file:///a"}}},
        "clusters": {"main": {"dsn": "dbname=postgres", "retention": yaml.safe_load(retention)}},
    }

    with pytest.raises((ConfigInvalid, ConfigUnknownKey)):
        Policy.of(parse_config(document, where="test").cluster("main")[1], time_zone="UTC")

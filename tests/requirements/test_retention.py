"""What customers were promised about how long backups stay; each line of it is a configuration that pgvault takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import yaml

from pgvault.config import parse_config
from pgvault.expire.facts import BackupFacts, LogicalBackup, PhysicalBackup
from pgvault.expire.policy import Policy
from pgvault.expire.rules import Judged, apply_rules
from pgvault.postgres.lsn import Lsn

NOW = datetime(2025, 10, 25, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)

PROMISED = """
repository: {key: "env:KEY", copies: {primary: {url: "file:///srv/pgvault"}}}
clusters:
  shop:
    dsn: dbname=postgres
    retention: {full: 2, days: 30, incremental_days: 7, window: 72h, schema: forever}
    classes:
      critical: {tables: [public.accounts], keep: 90d}
      high: {tables: [public.history], keep: 30d}
      medium: {tables: [public.preferences], keep: 30d}
      low: {tables: [public.analytics], keep: 90d}
      transactions: {tables: [public.transactions], keep: 2557d}
      receipts: {tables: [public.receipts], keep: 1096d}
      logs: {tables: [public.logs], keep: 30d}
"""
KEPT_DAYS = {
    "critical": 90,
    "high": 30,
    "medium": 30,
    "low": 90,
    "transactions": 7 * 365,
    "receipts": 3 * 365,
    "logs": 30,
}


def policy() -> Policy:
    config = parse_config(yaml.safe_load(PROMISED), where="test")
    return Policy.of(config.cluster("shop")[1], time_zone=config.timezone)


def physical(label: str, *, age: timedelta, is_full: bool = True) -> PhysicalBackup:
    at = NOW - age
    start = Lsn(10**9 - int(age.total_seconds()))
    return PhysicalBackup(label, is_full, 1, 1, start, start + 1, at, at)


def kept(backups: list[BackupFacts]) -> set[str]:
    verified = frozenset(each.label for each in backups)
    fulls = frozenset(each.label for each in backups if isinstance(each, PhysicalBackup) and each.is_full)
    return {label for label, _ in apply_rules(Judged("primary", tuple(backups), fulls, verified), policy(), now=NOW)}


def test_fulls_30_days_incrementals_7_days() -> None:
    """Full daily, 30 days; incremental hourly, 7 days."""
    backups: list[BackupFacts] = [physical(f"f{age}", age=age * DAY) for age in range(40)]
    backups += [physical(f"i{age}", age=age * timedelta(hours=1), is_full=False) for age in range(1, 400)]

    found = kept(backups)

    assert {label for label in found if label[0] == "f"} == {f"f{age}" for age in range(31)}
    assert {label for label in found if label[0] == "i"} == {f"i{age}" for age in range(1, 169)}


def test_point_in_time_72_hours() -> None:
    """Continuous."""
    retention = policy().retention

    assert retention is not None
    assert retention.window == timedelta(hours=72)


def test_schema_for_ever() -> None:
    """On change, and none is ever let go."""
    backups: list[BackupFacts] = [
        LogicalBackup(f"s{age}", True, NOW - age * DAY, NOW - age * DAY) for age in (0, 1, 400, 4000)
    ]

    assert kept(backups) == {"s0", "s1", "s400", "s4000"}


@pytest.mark.parametrize("class_name", KEPT_DAYS)
def test_each_class_for_as_long_as_was_promised(class_name: str) -> None:
    """Its backups stay that long, and then go; the newest one always stays."""
    days = KEPT_DAYS[class_name]
    ages = (0, days - 1, days + 10)
    backups: list[BackupFacts] = [
        LogicalBackup(f"d{age}", False, NOW - age * DAY, NOW - age * DAY, class_name) for age in ages
    ]

    assert kept(backups) == {"d0", f"d{days - 1}"}

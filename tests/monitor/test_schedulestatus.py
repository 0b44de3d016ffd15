"""What is scheduled, when it comes next, and how often a backup came of a slot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.config import ClusterConfig
from pgvault.instants import iso
from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.schedulestatus import first_recorded, kept_for_certain, percent, promised_age, tell_rates
from pgvault.monitor.schedulestatus import tell_schedule as tell
from pgvault.repository.catalog import Catalog
from pgvault.repository.logical import LogicalType
from pgvault.repository.systems import System, require_system
from tests.archive import AT, make_archive
from tests.repository.logicals import make_logical
from tests.repository.samples import SAMPLE

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EMPTY = Catalog("main", (), (), (), (), ())


def configured(**sections: object) -> ClusterConfig:
    return ClusterConfig.model_validate({"dsn": "", **sections})


def day(number: int, hour: int = 1) -> datetime:
    return datetime(2026, 11, number, hour, 0, 3, tzinfo=UTC)


def physical(*began: datetime) -> Catalog:
    """A catalog of backups that began then."""
    backups = (replace(SAMPLE, label=f"{at:%Y%m%dT%H%M%SZ}-0001", started_at=at) for at in began)
    return replace(EMPTY, backups=tuple(backups))


def logical(*began: datetime, of_class: str | None = None, kind: LogicalType = LogicalType.LOGICAL) -> Catalog:
    made = (
        make_logical(label=f"{at:%Y%m%dT%H%M%SZ}-0001", started_at=at, class_name=of_class, type=kind) for at in began
    )
    return replace(EMPTY, logical=tuple(made))


def rates(config: ClusterConfig, catalog: Catalog, first: datetime | None = None) -> dict[str, Finding]:
    found = tell_rates(config, catalog, first, zone="UTC", now=NOW)
    return {str(each.figures["kind"]): each for each in found}


def test_last_and_next_are_told_in_the_configured_zone() -> None:
    """One o'clock in Berlin is midnight in UTC, in winter."""
    config = configured(schedule={"backup": "daily", "drill": "weekly"})

    backup, drill = tell(config, zone="Europe/Berlin", now=NOW)

    assert backup.figures == {
        "kind": "backup",
        "cron": "0 1 * * *",
        "last_slot_at": "2026-11-21T00:00:00+00:00",
        "next_slot_at": "2026-11-22T00:00:00+00:00",
    }
    assert (drill.figures["kind"], drill.figures["next_slot_at"]) == ("drill", "2026-11-22T01:00:00+00:00")


def test_backups_that_are_not_scheduled_are_told() -> None:
    """By the name of what protects the cluster; other jobs only where they are."""
    (found,) = tell(configured(), zone="UTC", now=NOW)
    (of_logical,) = tell(configured(source="logical", schedule={"logical": "daily"}), zone="UTC", now=NOW)

    assert (found.figures["kind"], found.figures["cron"], found.figures["next_slot_at"]) == ("backup", None, None)
    assert of_logical.figures["kind"] == "logical"


def test_a_rate_is_of_slots_not_of_runs() -> None:
    """Five slots since the first backup, of which one had nothing; its time is told."""
    found = rates(configured(schedule={"backup": "daily"}), physical(day(17), day(18), day(19), day(21)))["backup"]

    assert found.level is Level.OK
    assert found.figures == {
        "kind": "backup",
        "since_at": iso(day(17) - timedelta(minutes=1)),
        "slots": 5,
        "done": 4,
        "failed": 1,
        "pending": 0,
        "rate": 0.8,
        "failed_at": "2026-11-20T01:00:00+00:00",
        "is_last_done": True,
        "limit": None,
    }
    said = "80 %, 4 of 5 slots since 2026-11-17 00:59:03+00:00; without a backup: 2026-11-20 01:00 UTC"
    assert found.detail == f"backup: {said}"


def test_slots_count_from_the_first_wal_on() -> None:
    """Whoever archives and never backs up has failed each time, not never been asked."""
    found = rates(configured(schedule={"backup": "daily"}), EMPTY, day(14, 10))["backup"]

    assert (found.figures["done"], found.figures["failed"], found.figures["rate"]) == (0, 7, 0.0)
    assert "2026-11-21 01:00, 2026-11-20 01:00" in found.detail
    assert found.detail.endswith("UTC and 2 more")


def test_nothing_stored_is_unknown() -> None:
    """And so is a cluster whose first slot is yet to come: neither is green."""
    config = configured(schedule={"backup": "daily"})
    empty, young = rates(config, EMPTY)["backup"], rates(config, physical(day(21, 10)))["backup"]

    assert (empty.level, empty.figures["rate"]) == (Level.WARN, None)
    assert "nothing of this cluster is stored yet" in empty.detail
    assert (young.level, young.figures["rate"], young.figures["slots"]) == (Level.WARN, None, 0)


def test_what_is_not_scheduled_has_no_rate() -> None:
    """Nor has a schema backup, which is stored only when something changed."""
    assert rates(configured(), physical(day(20))) == {}
    assert rates(configured(schedule={"schema": "hourly", "drill": "daily"}), physical(day(20))) == {}


def test_classes_are_kinds_of_their_own() -> None:
    """A backup of all tables counts for each of them; one of another class, or of the schema, for none."""
    config = configured(
        source="logical", schedule={"logical": "daily"}, classes={"critical": {"tables": ["a"], "backup": "daily"}}
    )
    whole = rates(config, logical(day(20), day(21)))
    own = rates(config, logical(day(20), day(21), of_class="critical"))
    others = rates(config, logical(day(20), day(21), of_class="low"))
    schema = rates(config, logical(day(20), day(21), kind=LogicalType.SCHEMA))

    assert [whole[kind].figures["done"] for kind in ("logical", "class critical")] == [2, 2]
    assert [own[kind].figures["done"] for kind in ("logical", "class critical")] == [0, 2]
    assert [each["class critical"].figures["done"] for each in (others, schema)] == [0, 0]


def test_backups_that_retention_removed_are_no_failures() -> None:
    """Two are kept: what was before them nobody knows."""
    config = configured(schedule={"backup": "daily"}, retention={"full": 2})

    found = rates(config, physical(day(20), day(21)), day(1))["backup"]

    assert (found.figures["slots"], found.figures["failed"], found.figures["rate"]) == (2, 0, 1.0)


@pytest.mark.parametrize(
    ("config", "kind", "kept"),
    [
        ({}, "backup", (None, None)),
        ({"retention": {"days": 30}}, "backup", (30, 2)),
        ({"retention": {"days": 30, "logical": {"count": 5}}}, "logical", (None, 5)),
        ({"retention": {"days": 30}}, "logical", (30, 2)),
        ({"classes": {"low": {"tables": ["a"], "backup": "daily", "keep": "90d"}}}, "class low", (90, None)),
    ],
)
def test_what_is_kept_for_certain(config: dict[str, Any], kind: str, kept: tuple[int | None, int | None]) -> None:
    """By the rules of that kind, of a class by its own."""
    found = kept_for_certain(configured(**config), kind)

    assert (found.days, found.count) == kept


def test_a_share_is_never_rounded_up_to_all() -> None:
    """One failure in ten thousand is not none."""
    shown = {1.0: "100 %", 0.99999: "99.99 %", 0.999: "99.9 %", 14 / 15: "93.33 %", 0.0: "0 %"}
    assert {share: percent(share) for share in shown} == shown


def test_the_age_is_promised_by_objective_schedule_and_duration() -> None:
    """As configured, in the zone."""
    config = configured(schedule={"backup": "weekly"}, objectives={"backup_age": "8d", "backup_duration": "30m"})

    promise = promised_age(config, zone="Asia/Kolkata")

    assert promise.schedule is not None
    assert (promise.schedule.cron, promise.schedule.zone) == ("0 2 * * 0", "Asia/Kolkata")
    assert (promise.objective, promise.grace) == (timedelta(days=8), timedelta(minutes=30))


def test_the_first_record_is_of_the_first_system(tmp_path: Path) -> None:
    """Nothing is recorded before the first WAL or backup."""
    repository = make_archive(tmp_path).repository
    assert first_recorded(repository, "main") is None

    require_system(repository, "main", System(1, 18), now=AT)

    assert first_recorded(repository, "main") == AT

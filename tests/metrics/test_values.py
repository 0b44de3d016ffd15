"""From findings to what Prometheus reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgvault import __version__
from pgvault.config import ClassConfig, ClusterConfig, Objectives
from pgvault.metrics.exposition import Collected, expose
from pgvault.metrics.names import METRICS, OTHERS, all_names
from pgvault.metrics.values import make_families
from pgvault.monitor.finding import Figures, Finding, ok, red, warn
from pgvault.monitor.status import ClusterStatus
from pgvault.monitor.walstatus import judge
from pgvault.process import attempt
from tests.monitor.healthy import GAP, HEALTHY, NOW, SLOT, with_held, with_server

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
PLAIN = ClusterConfig(dsn="")
AT = NOW.timestamp()


def text_of(findings: Mapping[str, Iterable[Finding]], config: ClusterConfig = PLAIN) -> str:
    """What is shown of clusters."""
    statuses = [ClusterStatus(name, tuple(found), None) for name, found in findings.items()]
    families = make_families(statuses, dict.fromkeys(findings, config))
    return expose(Collected(tuple(families), NOW, 0.5)).decode()


def read(text: str) -> Series:
    """What Prometheus's own parser makes of it; nothing is there twice."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    series = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(series) == len(samples)
    return series


def shown(*findings: Finding, config: ClusterConfig = PLAIN) -> Series:
    return read(text_of({"main": findings}, config))


def value(series: Series, name: str, **labels: str) -> float | None:
    """The value of a series; None where it is absent."""
    return series.get((name, frozenset({"cluster": "main", **labels}.items())))


def names(series: Series) -> set[str]:
    return {name for name, _ in series}


def test_a_healthy_cluster_in_numbers() -> None:
    """The age of a segment is an instant, its lag a span; the levels are there for all."""
    series = shown(*judge(HEALTHY))

    assert value(series, "pgvault_wal_last_segment_timestamp_seconds") == AT - 45
    assert value(series, "pgvault_wal_lag_bytes") == 8 * 2**20
    assert value(series, "pgvault_wal_lag_seconds") == 45
    assert value(series, "pgvault_wal_lag_limit_seconds") == 300
    assert value(series, "pgvault_wal_gaps") == 0
    assert value(series, "pgvault_pg_wal_free_bytes") == 100 * 2**30
    assert value(series, "pgvault_pg_wal_ready_files") == 0
    assert value(series, "pgvault_backup_last_end_timestamp_seconds", kind="full") == AT - 3 * 3600
    assert value(series, "pgvault_backup_newest_timestamp_seconds") == AT - 3 * 3600
    assert value(series, "pgvault_cluster_level") == 0
    assert value(series, "pgvault_finding_level", finding="WAL lag", copy="") == 0
    assert value(series, "pgvault_slot_active") is None


def test_what_never_was_is_zero() -> None:
    """So that an alert on its age fires: no backup, no WAL, no drill, no proof, no check."""
    nothing = with_held(backups=(), end=None, positions=(), names=frozenset())
    never = warn("drill", "never", {"count": 0, "last_passed_at": None, "last_run_at": None, "last_tried_at": None})
    check = warn("check", "never", {"check": "totals", "severity": "high", "where": "live", "count": 0})
    verify = warn("verify", "never", {"copy": "dr", "count": 0, "damaged_backups": 0})
    series = shown(*judge(nothing), never, check, verify, warn("escrow", "never", {"count": 0}))

    instants = {name: found for (name, _), found in series.items() if name.endswith("_timestamp_seconds")}
    assert instants == {
        "pgvault_backup_last_end_timestamp_seconds": 0,
        "pgvault_backup_last_start_timestamp_seconds": 0,
        "pgvault_backup_newest_timestamp_seconds": 0,
        "pgvault_check_last_run_timestamp_seconds": 0,
        "pgvault_drill_last_attempt_timestamp_seconds": 0,
        "pgvault_drill_last_run_timestamp_seconds": 0,
        "pgvault_drill_last_success_timestamp_seconds": 0,
        "pgvault_key_escrow_proven_timestamp_seconds": 0,
        "pgvault_metrics_collected_timestamp_seconds": AT,
        "pgvault_verify_last_success_timestamp_seconds": 0,
        "pgvault_verify_last_timestamp_seconds": 0,
        "pgvault_wal_last_segment_timestamp_seconds": 0,
    }
    assert value(series, "pgvault_wal_lag_seconds") == inf
    assert "data_integrity_check_failures" not in names(series)


def test_what_could_not_be_looked_at_is_absent_and_its_level_there() -> None:
    """Neither 0 nor what it was before: an alert on its absence says that nobody knows."""
    looks = ("drill", "verify", "checks", "escrow", "copy_lag", "anomaly", "success_rate")
    series = shown(*(warn(name, "unknown: the store does not answer") for name in looks))

    assert {name for name in names(series) if not name.startswith("pgvault_metrics")} == {
        "pgvault_build_info",
        "pgvault_cluster_level",
        "pgvault_finding_level",
    }
    for look in looks:
        assert value(series, "pgvault_finding_level", finding=look, copy="") == 1


def test_a_check_is_spelled_as_existing_alerts_spell_it() -> None:
    """0 while it passes, so that the alert ends; more than 0 also where it could not look."""
    labels = {"check": "orphaned_orders", "severity": "critical", "where": "live"}
    figures: dict[str, Any] = {**labels, "measured": 3.0, "threshold": 0.0, "at": NOW.isoformat()}

    failing = shown(red("check", "", {**figures, "failures": 1}))
    passing = shown(ok("check", "", {**figures, "failures": 0, "measured": None}))

    assert value(failing, "data_integrity_check_failures", **labels) == 1
    assert value(failing, "pgvault_check_measured", **labels) == 3
    assert value(failing, "pgvault_check_last_run_timestamp_seconds", **labels) == AT
    assert value(passing, "data_integrity_check_failures", **labels) == 0
    assert value(passing, "pgvault_check_measured", **labels) is None


def test_gaps_are_counted_where_moments_are_lost() -> None:
    """One that a later backup healed, and that whoever lost it recorded, pages nobody."""
    healed = replace(GAP, is_recorded=True, is_healed=True)

    assert value(shown(*judge(with_held(gaps=(GAP, GAP, healed)))), "pgvault_wal_gaps") == 2
    assert value(shown(*judge(with_held(gaps=(healed,)))), "pgvault_wal_gaps") == 0


@pytest.mark.parametrize(
    ("state", "lost", "active"),
    [
        ({"wal_status": "reserved"}, 0, 1),
        ({"wal_status": "extended", "is_active": False}, 0, 0),
        ({"wal_status": "unreserved"}, 1, 1),
        ({"wal_status": "lost", "is_active": False}, 1, 0),
    ],
)
def test_a_slot_near_its_loss(state: dict[str, Any], lost: float, active: float) -> None:
    """Lost, or about to be: what the server calls it, as a number."""
    slot = replace(SLOT, safe_bytes=4096, **state)
    series = shown(*judge(replace(with_server(slot=slot), is_streamed=True)))

    assert value(series, "pgvault_slot_lost") == lost
    assert value(series, "pgvault_slot_active") == active
    assert value(series, "pgvault_slot_safe_bytes") == 4096


def test_several_findings_of_one_name_are_one_level_the_worst() -> None:
    """By copy, where they are of copies."""
    series = shown(
        ok("copy_lag", "", {"copy": "dr"}), red("copy_lag", "", {"copy": "us"}), red("gap", ""), warn("gap", "")
    )

    assert value(series, "pgvault_finding_level", finding="copy_lag", copy="dr") == 0
    assert value(series, "pgvault_finding_level", finding="copy_lag", copy="us") == 2
    assert value(series, "pgvault_finding_level", finding="gap", copy="") == 2
    assert value(series, "pgvault_cluster_level") == 2


def test_a_cluster_without_any_finding_is_not_well() -> None:
    """A claim over nothing is never green."""
    assert value(shown(), "pgvault_cluster_level") == 2


def test_a_copy_that_is_not_read() -> None:
    """1 for those that were, 0 for those that were not; damage adds up over where its replacement came from."""
    counted: Figures = {"copy": "primary", "missing": 2, "damaged": 1}
    series = shown(
        ok("verify", "", {"copy": "primary", "count": 1, "at": NOW.isoformat(), "passed_at": None}),
        warn("reading", "", {"copy": "dr"}),
        warn("damage", "", counted),
        warn("damage", "", counted),
    )

    assert value(series, "pgvault_copy_up", copy="primary") == 1
    assert value(series, "pgvault_copy_up", copy="dr") == 0
    assert value(series, "pgvault_damaged_objects", copy="primary", state="missing") == 4
    assert value(series, "pgvault_damaged_objects", copy="primary", state="damaged") == 2
    assert value(series, "pgvault_verify_last_success_timestamp_seconds", copy="primary") == 0


def test_a_drill_says_how_it_ended() -> None:
    """One of the outcomes is 1; without any drill there is none."""
    figures: Figures = {
        "count": 2,
        "last_run_at": NOW.isoformat(),
        "last_passed_at": None,
        "outcome": "objective missed",
    }
    series = shown(warn("drill", "", figures))

    assert value(series, "pgvault_drill_outcome", outcome="objective missed") == 1
    assert value(series, "pgvault_drill_outcome", outcome="passed") == 0
    assert value(series, "pgvault_drill_last_success_timestamp_seconds") == 0
    assert "pgvault_drill_outcome" not in names(shown(warn("drill", "", {"count": 0, "outcome": None})))


def test_promises_are_there_even_if_nothing_else_is() -> None:
    """As the configuration has them: what rules compare with must not vanish with the store."""
    objectives = Objectives.model_validate({"rpo": "15m", "success_rate": "99.9%"})
    classes = {"critical": ClassConfig(tables=("users",), rto=timedelta(hours=1))}
    series = shown(config=ClusterConfig(dsn="", objectives=objectives, classes=classes))

    assert value(series, "pgvault_objective_seconds", objective="rpo") == 900
    assert value(series, "pgvault_objective_ratio", objective="success_rate") == 0.999
    assert value(series, "pgvault_class_objective_seconds", **{"class": "critical"}, objective="rto") == 3600
    assert value(series, "pgvault_objective_seconds", objective="rto") is None


def test_names_that_need_escaping_arrive() -> None:
    """The name of a check may hold anything."""
    name = 'a "quoted"\nname \\ über'
    figures: Figures = {"check": name, "severity": "high", "where": "live", "failures": 1}

    series = shown(red("check", "", figures))
    assert value(series, "data_integrity_check_failures", check=name, severity="high", where="live") == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_finds_nothing_to_complain_about() -> None:
    """Names, units and help texts, as promtool judges them; nothing is there twice, whatever the clusters are."""
    text = text_of({"main": judge(HEALTHY), "other": judge(with_held(backups=()))})

    finished = attempt(["promtool", "check", "metrics"], timeout=30, input=text)

    assert (finished.status, finished.output, finished.errors) == (0, "", "")
    assert f'pgvault_build_info{{version="{__version__}"}} 1.0' in text


def test_every_metric_is_named_once_and_has_its_base_unit() -> None:
    """No age but a timestamp, no milliseconds, no percent; Prometheus's own labels are left to it."""
    described = [each.name for each in METRICS] + [name for name, _, _ in OTHERS]

    assert len(described) == len(set(described)) == len(all_names())
    for name, labels in all_names().items():
        assert re.fullmatch(r"(pgvault_[a-z_]+|data_integrity_check_failures)", name)
        assert not re.search(r"_(age|ms|minutes|hours|days|percent|kb|mb|total|count)(_|$)", name), name
        assert not {"job", "instance"} & set(labels), name


def test_the_readme_lists_every_metric_with_its_labels() -> None:
    """And none that there is not."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    section = readme.split("\n## Metrics\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \|", section, re.M)

    assert {name: set(re.findall(r"[a-z]+", labels)) for name, labels in rows} == {
        name: set(labels) - {"cluster"} for name, labels in all_names().items()
    }


def test_an_instant_is_in_utc() -> None:
    """Whatever zone it was written in."""
    at = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
    series = shown(ok("escrow", "", {"count": 1, "proven_at": "2026-01-15T13:00:00+01:00"}))

    assert value(series, "pgvault_key_escrow_proven_timestamp_seconds") == at.timestamp()

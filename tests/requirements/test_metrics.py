"""The alert that customers already have, on the metric whose name it has: the rule is theirs, to the letter."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from pgvault.checks.result import Verdict
from pgvault.config import CheckConfig, ClusterConfig
from pgvault.metrics.exposition import Collected, expose
from pgvault.metrics.values import make_families
from pgvault.monitor.checkstatus import CheckFound, Expected, Results, judge_checks
from pgvault.monitor.status import ClusterStatus
from pgvault.process import attempt

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
CHECK = CheckConfig(name="orphaned_orders", query="select 1", severity="critical", schedule="*/30 * * * *")
RULE = {
    "alert": "DataInconsistencyDetected",
    "expr": "data_integrity_check_failures > 0",
    "for": "5m",
    "labels": {"severity": "critical"},
}


def series_after(verdict: Verdict, where: str) -> list[str]:
    """The lines that are exported after a run of the check."""
    found = CheckFound(
        CHECK.name, where, CHECK.severity, 0.0, NOW, verdict, None, "returned 3", "20260115T103000Z-0001"
    )
    results = Results({CHECK.name: found}, {}) if where == "live" else Results({}, {CHECK.name: found})
    status = ClusterStatus("main", tuple(judge_checks(Expected([CHECK], NOW), results)), None)
    families = make_families([status], {"main": ClusterConfig(dsn="", checks=(CHECK,))})
    lines = expose(Collected(tuple(families), NOW)).decode().splitlines()
    return [line for line in lines if line.startswith("data_integrity_check_failures")]


@pytest.mark.parametrize("where", ["live", "drill"])
def test_the_metric_keeps_its_name_and_has_four_labels(where: str) -> None:
    """cluster, check, severity, where: live or drill; 0 while all is well."""
    labels = f'{{check="orphaned_orders",cluster="main",severity="critical",where="{where}"}}'

    assert series_after(Verdict.FAILED, where) == [f"data_integrity_check_failures{labels} 1.0"]
    assert series_after(Verdict.UNPROVEN, where) == [f"data_integrity_check_failures{labels} 1.0"]
    assert series_after(Verdict.PASSED, where) == [f"data_integrity_check_failures{labels} 0.0"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_rule_that_is_there_fires_after_five_minutes_and_ends(tmp_path: Path) -> None:
    """By promtool: nothing at four minutes, the alert at six, with whose check it is; gone when it passes again."""
    (failing,), (passing,) = series_after(Verdict.FAILED, "live"), series_after(Verdict.PASSED, "live")
    series = failing.rpartition(" ")[0]
    assert passing.startswith(series)
    labels = {"cluster": "main", "check": "orphaned_orders", "severity": "critical", "where": "live"}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "theirs", "rules": [RULE]}]}))
    expected = {
        timedelta(minutes=4): [],
        timedelta(minutes=6): [{"exp_labels": labels}],
        timedelta(minutes=12): [],
    }
    case = {
        "interval": "1m",
        "input_series": [{"series": series, "values": "1x9 0x10"}],
        "alert_rule_test": [
            {"eval_time": f"{at.seconds // 60}m", "alertname": RULE["alert"], "exp_alerts": alerts}
            for at, alerts in expected.items()
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [case]}))

    finished = attempt(["promtool", "test", "rules", str(tmp_path / "test.yaml")], timeout=60, cwd=tmp_path)

    assert finished.status == 0, finished.output + finished.errors

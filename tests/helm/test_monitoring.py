from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pgvault.metrics.dashboard import dashboard
from pgvault.metrics.rules import rule_file
from pgvault.process import attempt
from tests.helm.cases import CASES, one
from tests.helm.chart import CHART, Rendered, refusal, render

URL = "https://wiki.example/pgvault"


def test_the_chart_holds_what_pgvault_prints() -> None:
    """The rules and the dashboard, byte for byte: whoever changes one makes the chart's anew."""
    assert yaml.safe_load((CHART / "files" / "rules.yaml").read_text()) == yaml.safe_load(rule_file())
    assert (CHART / "dashboards" / "pgvault.json").read_text() == dashboard()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """A release with all that watches it."""
    return render(tmp_path_factory.mktemp("values"), CASES["everything"])


@pytest.mark.endurance
def test_the_rules_are_pgvaults_own(everything: Rendered, tmp_path: Path) -> None:
    """What `pgvault metrics rules` prints, with the address that was given; Prometheus reads it."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    spec = everything.one("PrometheusRule")["spec"]

    assert spec == yaml.safe_load(rule_file(URL))
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(spec))
    checked = attempt(["promtool", "check", "rules", path], timeout=60)
    assert checked.status == 0, checked.output + checked.errors


@pytest.mark.endurance
def test_the_dashboard_is_pgvaults_own(everything: Rendered) -> None:
    """As one file of a ConfigMap that Grafana's sidecar finds by its label."""
    (found,) = [each for each in everything.of("ConfigMap") if "pgvault.json" in each["data"]]

    assert json.loads(found["data"]["pgvault.json"]) == json.loads(dashboard())
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.endurance
def test_nothing_scrapes_what_is_not_served(tmp_path: Path) -> None:
    """A ServiceMonitor without metrics is refused."""
    assert "metrics.enabled" in refusal(tmp_path, one(metrics={"enabled": False}, serviceMonitor={"enabled": True}))

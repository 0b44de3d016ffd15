"""The dashboard asks for nothing that is not exported, and leads to places that there are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.metrics.dashboard import dashboard
from pgvault.metrics.names import OTHERS, all_names
from pgvault.metrics.panel import COLUMNS, Kind
from pgvault.metrics.panels import ROWS
from pgvault.metrics.rules import anchors
from pgvault.process import attempt

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "pgvault" / "dashboards" / "pgvault.json"
PRINTED = json.loads(dashboard())
PANELS = [panel for panel in PRINTED["panels"] if panel["type"] != "row"]
ASKED = [ask for _, panels in ROWS for panel in panels for ask in panel.asks]
SERIES = re.compile(r"\b((?:pgvault|data_integrity)_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'\s*(\w+)\s*(?:=|=~|!=|!~)\s*"[^"]*"\s*')
GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
SCRAPED = {"instance", "job"}  # what Prometheus adds
FEW = 40  # a claim about no panel would prove nothing


def plain(expr: str) -> str:
    """An expression as Grafana asks it where all is chosen."""
    return expr.replace("$cluster", ".*").replace("$copy", ".*")


def test_the_chart_brings_what_is_printed() -> None:
    """`pgvault metrics dashboard > helm/pgvault/dashboards/pgvault.json` after each change."""
    assert CHART.read_text() == dashboard()


def test_every_metric_and_label_is_exported() -> None:
    """What an expression asks for by name, by label, by group or in a legend, is what the code registers."""
    known, seen = all_names(), set[str]()
    for ask in ASKED:
        series = SERIES.findall(ask.expr)
        assert series, ask
        labels = set[str]()
        for name, matchers in series:
            assert name in known, ask
            asked = {found[1] for part in matchers.split(",") if part and (found := MATCHER.fullmatch(part))}
            assert len(asked) == len([part for part in matchers.split(",") if part]), ask
            assert asked <= {*known[name], *SCRAPED}, ask
            labels |= {*known[name], *SCRAPED}
            seen.add(name)
        used = {label.strip() for group in GROUPED.findall(ask.expr) for label in group.split(",")}
        assert used | set(re.findall(r"\{\{(\w+)\}\}", ask.legend)) <= labels, ask
    assert len(seen) > FEW


def test_every_series_of_clusters_obeys_the_variables() -> None:
    """A panel that ignored the choice of a cluster would show another's."""
    of_none = {name for name, _, labels in OTHERS if "cluster" not in labels}
    for ask in ASKED:
        for name, matchers in SERIES.findall(ask.expr):
            assert name in of_none or 'cluster=~"$cluster"' in matchers, ask


def test_tables_name_every_label_of_what_they_show() -> None:
    """A column that nobody named would be called as the metric's label is."""
    tables = [panel for _, panels in ROWS for panel in panels if panel.kind is Kind.TABLE]
    assert tables
    for panel in tables:
        ((name, _),) = SERIES.findall(panel.asks[0].expr)
        assert set(panel.names) == {*all_names()[name], "Value"}, panel.title


def test_panels_lie_side_by_side_and_say_what_they_are() -> None:
    """None covers another, each has a number of its own, a unit, a sentence; links lead to rules in the README."""
    taken: set[tuple[int, int]] = set()
    for panel in PRINTED["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in PRINTED["panels"]}) == len(PRINTED["panels"])
    places = {f"${{runbook}}#{anchor}" for anchor in anchors()}
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert {link["url"] for link in panel.get("links", ())} <= places, panel["title"]
    assert len(PANELS) > FEW


def test_where_the_readme_is_served_is_a_variable() -> None:
    """So that whoever serves it elsewhere changes one place."""
    elsewhere = json.loads(dashboard("https://wiki.example/pgvault"))
    variables: dict[str, Any] = {each["name"]: each for each in elsewhere["templating"]["list"]}
    assert variables["runbook"]["query"] == "https://wiki.example/pgvault"
    assert elsewhere["panels"] == PRINTED["panels"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": plain(ask.expr)} for number, ask in enumerate(ASKED)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    finished = attempt(["promtool", "check", "rules", str(path)], timeout=60)

    assert finished.status == 0, finished.errors
    assert f"{len(ASKED)} rules found" in finished.output

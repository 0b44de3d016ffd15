"""The Grafana dashboard: every panel of the table, laid out row by row, and the variables that choose what is shown.

Nothing in it depends on a configuration, so that two printings can be compared; the one that the chart brings is a
printing like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pgvault.metrics.names import CLUSTER_LEVEL
from pgvault.metrics.panel import CLUSTER, COLUMNS, DATASOURCE, JSON, draw, draw_row
from pgvault.metrics.panels import ROWS
from pgvault.metrics.rules import README

UID = "pgvault"
SCHEMA = 39  # of Grafana 10.4 and 11; later ones read it
EVERY = ".*"  # what a variable stands for where all are chosen: a series without that label, too


def dashboard(base: str = README) -> str:
    """Return the dashboard as JSON; links to what to do first begin with `base`."""
    document = {
        "uid": UID,
        "title": "pgvault: backups and the proof that they restore",
        "description": "Every figure comes from `pgvault metrics`; what nobody could look at is not shown as well.",
        "tags": ["pgvault", "postgresql", "backup"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one cross-hair for all panels
        "refresh": "1m",
        "time": {"from": "now-30d", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [{"title": "README", "url": "${runbook}", "type": "link", "icon": "doc", "targetBlank": True}],
        "templating": {"list": list(_variables(base))},
        "panels": list(_panels()),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _variables(base: str) -> Iterator[JSON]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "refresh": 1,
    }
    yield _choice("cluster", "Cluster", f"label_values({CLUSTER_LEVEL[0]}, cluster)")
    yield _choice("copy", "Copy", f"label_values(pgvault_copy_up{{{CLUSTER}}}, copy)")
    yield {
        "name": "runbook",
        "label": "Where the README is served",
        "type": "constant",
        "query": base,
        "current": {"text": base, "value": base},
        "hide": 2,
        "skipUrlSync": True,
    }


def _choice(name: str, label: str, query: str) -> JSON:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "includeAll": True,
        "allValue": EVERY,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }


def _panels() -> Iterator[JSON]:
    """Yield headings and panels, from left to right and downwards."""
    number = y = 0
    for title, panels in ROWS:
        number += 1
        yield draw_row(title, number, y)
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield draw(panel, number, x, y)
            x, height = x + panel.width, max(height, panel.height)
        y += height

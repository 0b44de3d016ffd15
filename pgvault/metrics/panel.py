"""A panel of the dashboard: what it asks Prometheus, and how Grafana is to show the answer.

    Panel ─► grid place, data source, queries ─► field config (unit, limits, words) ─► options of its kind

Only kinds of panels that Grafana maintains are used: stat, bar gauge, time series, state timeline, table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pgvault.metrics.rule import OBJECTIVE

JSON = dict[str, Any]  # an edge: what Grafana reads
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CLUSTER = 'cluster=~"$cluster"'
COPY = 'copy=~"$copy"'
COLUMNS = 24  # of Grafana's grid
# What series are called.
BY_KIND, BY_COPY, BY_LANE = "{{cluster}} {{kind}}", "{{cluster}} {{copy}}", "{{cluster}} {{copy}} {{lane}}"
NOT_SHOWN = ("Time", "__name__", "instance", "job")  # columns of a table that tell nobody anything
PROMISED = "/promised|limit/i"  # series of that name are drawn as what should not be crossed


class Kind(StrEnum):
    """How a panel looks; Grafana's own words."""

    STAT = "stat"
    BARS = "bargauge"
    SERIES = "timeseries"
    STATES = "state-timeline"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Ask:
    """One query, and what its series are called."""

    expr: str
    legend: str = "{{cluster}}"


@dataclass(frozen=True, slots=True)
class Scale:
    """What values mean: from each step on the colour; or words for single values, with their colours."""

    steps: tuple[tuple[float | None, str], ...] = ((None, "text"),)  # None: from below
    words: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel."""

    title: str
    kind: Kind
    asks: tuple[Ask, ...]
    unit: str  # Grafana's word: s, bytes, percentunit, dateTimeFromNow (of milliseconds), none
    told: str  # the description: what it shows, and what to think of it
    alert: str | None = None  # the alert rule whose place in the README says what to do
    scale: Scale = Scale()
    width: int = 8  # of COLUMNS
    height: int = 8
    watched: str = "backup"  # what a cluster must be configured to have, or nothing is shown: `pgvault_watched`
    names: Mapping[str, str] = field(default_factory=dict)  # of a table's columns, in their order


def of(metric: str, *matchers: str) -> str:
    """Return the series of a metric that the variables choose."""
    return f"{metric}{{{', '.join((CLUSTER, *matchers))}}}"


def of_copy(metric: str, *matchers: str) -> str:
    """Return the series of a metric of copies that the variables choose."""
    return of(metric, COPY, *matchers)


def since(timestamp: str) -> str:
    """Return the age of an instant; one of 0 stands for never, and is decades old."""
    return f"time() - {timestamp}"


def promised(name: str) -> Ask:
    """Return what each cluster promises, to be drawn as what should not be crossed."""
    return Ask(of(OBJECTIVE, f'objective="{name}"'), f"{{{{cluster}}}} promised {name}")


def draw(panel: Panel, number: int, x: int, y: int) -> JSON:
    """Return a panel as Grafana reads it."""
    drawn: JSON = {
        "id": number,
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.told,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "datasource": DATASOURCE,
        "targets": [_target(panel, ask, chr(ord("A") + place)) for place, ask in enumerate(panel.asks)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel.kind),
    }
    if panel.alert is not None:
        url = f"${{runbook}}#{panel.alert.lower()}"
        drawn["links"] = [{"title": "What to do", "url": url, "targetBlank": True}]
    if panel.kind is Kind.TABLE:
        drawn["transformations"] = [_columns(panel)]
    return drawn


def draw_row(title: str, number: int, y: int) -> JSON:
    """Return the heading above panels."""
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _target(panel: Panel, ask: Ask, letter: str) -> JSON:
    is_now = panel.kind not in (Kind.SERIES, Kind.STATES)
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": ask.expr,
        "legendFormat": ask.legend,
        "format": "table" if panel.kind is Kind.TABLE else "time_series",
        "instant": is_now,
        "range": not is_now,
    }


def _defaults(panel: Panel) -> JSON:
    scale = panel.scale
    mappings = []
    if scale.words:
        words = {
            str(value): {"text": text, "color": color, "index": place}
            for place, (value, (text, color)) in enumerate(scale.words.items())
        }
        mappings = [{"type": "value", "options": words}]
    return {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind is Kind.SERIES else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in scale.steps]},
        "mappings": mappings,
        "custom": _custom(panel),
        **({"min": 0} if panel.kind in (Kind.BARS, Kind.SERIES) else {}),
        **({"max": 1} if panel.kind is Kind.BARS else {}),
        "noValue": "nothing known",
    }


def _custom(panel: Panel) -> JSON:
    match panel.kind:
        case Kind.SERIES:
            return {
                "drawStyle": "line",
                "lineInterpolation": "stepAfter",
                "lineWidth": 2,
                "fillOpacity": 5,
                "showPoints": "never",
                "spanNulls": False,  # what nobody knew is a hole in the line
                "axisPlacement": "auto",
                "thresholdsStyle": {"mode": "off"},
            }
        case Kind.STATES:
            return {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False}
        case Kind.TABLE:
            return {"align": "auto", "filterable": True, "cellOptions": {"type": "auto"}}
        case _:
            return {}


def _overrides(panel: Panel) -> list[JSON]:
    if panel.kind is Kind.SERIES:
        dashed = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}}
        red = {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}
        unfilled = {"id": "custom.fillOpacity", "value": 0}
        return [{"matcher": {"id": "byRegexp", "options": PROMISED}, "properties": [dashed, red, unfilled]}]
    if panel.kind is Kind.TABLE:
        shown = {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}}
        return [{"matcher": {"id": "byType", "options": "number"}, "properties": [shown]}]
    return []


def _options(kind: Kind) -> JSON:
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    match kind:
        case Kind.STAT:
            return {
                "reduceOptions": reduced,
                "colorMode": "background",
                "graphMode": "none",
                "textMode": "value_and_name",
                "justifyMode": "auto",
                "orientation": "auto",
                "wideLayout": True,
            }
        case Kind.BARS:
            return {
                "reduceOptions": reduced,
                "displayMode": "lcd",
                "orientation": "horizontal",
                "valueMode": "color",
                "namePlacement": "auto",
                "showUnfilled": True,
                "sizing": "auto",
            }
        case Kind.SERIES:
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case Kind.STATES:
            return {
                "mergeValues": True,
                "showValue": "auto",
                "alignValue": "left",
                "rowHeight": 0.85,
                "legend": legend,
                "tooltip": {"mode": "single", "sort": "none"},
            }
        case Kind.TABLE:
            sort = [{"displayName": "State", "desc": True}]
            return {"showHeader": True, "cellHeight": "sm", "sortBy": sort, "footer": {"show": False}}


def _columns(panel: Panel) -> JSON:
    """Say which columns a table has, in which order and by which names."""
    return {
        "id": "organize",
        "options": {
            "excludeByName": dict.fromkeys(NOT_SHOWN, True),
            "indexByName": {name: place for place, name in enumerate(panel.names)},
            "renameByName": dict(panel.names),
        },
    }

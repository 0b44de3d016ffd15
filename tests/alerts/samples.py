"""Alerts, states and routes, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pgvault.alerts.message import Voice
from pgvault.alerts.plan import Event, Look, Plan, Sending, delivered, plan_alerts
from pgvault.alerts.routing import Router
from pgvault.alerts.state import State
from pgvault.config import AlertsConfig, ClusterConfig
from pgvault.errors import PgvaultError
from pgvault.monitor.finding import Figures, Finding, red
from pgvault.monitor.status import ClusterStatus

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PAGER = {"pagerduty": "env:PAGER", "endpoint": "http://127.0.0.1:9/enqueue"}
SLACK = {"webhook": "http://127.0.0.1:9/hook"}
GAP = red("gap", "000000010000000000000007 is missing", {"start_lsn": "0/7000000"}, hint="See: pgvault wal list")


def after(**span: float) -> datetime:
    return NOW + timedelta(**span)


def alerts(**changes: Any) -> AlertsConfig:
    """Two receivers: a pager for what is red, and a chat for all else."""
    usual = {"receivers": {"pager": PAGER, "slack": SLACK}, "routes": {"red": "pager"}, "default": "slack"}
    return AlertsConfig.model_validate(usual | changes)


def cluster(*checks: dict[str, Any]) -> ClusterConfig:
    return ClusterConfig.model_validate({"dsn": "", "checks": [{"query": "select 0", **each} for each in checks]})


def router(config: AlertsConfig | None = None, *checks: dict[str, Any]) -> Router:
    return Router(config or alerts(), {"main": cluster(*checks)})


def voice(config: AlertsConfig | None = None, *checks: dict[str, Any]) -> Voice:
    return Voice("db1", "0badcafe", router(config, *checks), lambda: NOW)


def failed_check(name: str = "orphans", *, severity: str = "critical", where: str = "live") -> Finding:
    figures: Figures = {"check": name, "severity": severity, "where": where, "failures": 1}
    return red("check", f"{name} ({severity}): 3 rows, none expected", figures)


def look(*findings: Finding, at: datetime = NOW, error: PgvaultError | None = None, is_whole: bool = True) -> Look:
    return Look((ClusterStatus("main", findings, error),), at, is_whole)


def planned(found: Look, state: State, *, by: Router | None = None) -> Plan:
    return plan_alerts(found, state, by or router())


def told(
    found: Look, state: State | None = None, *, by: Router | None = None
) -> tuple[State, list[tuple[str, str, str]]]:
    """Plan and tell everything; return what is known then, and who was told what."""
    plan = planned(found, state or State(), by=by)
    return delivered(plan.state, plan.sendings, found.now), said(plan.sendings)


def said(sendings: tuple[Sending, ...]) -> list[tuple[str, str, str]]:
    return [(each.receiver, str(each.event), each.alert.key) for each in sendings]


def sending(finding: Finding = GAP, event: Event = Event.TRIGGER, receiver: str = "pager") -> Sending:
    (first, *_) = planned(look(finding), State()).sendings
    return Sending(receiver, event, first.alert, NOW)

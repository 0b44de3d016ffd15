"""The actions of customers' checks, and the triggers they page on, as alerts of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.alerts.plan import Look, plan_alerts
from pgvault.alerts.routing import Router
from pgvault.alerts.state import State
from pgvault.config import AlertsConfig, ClusterConfig
from pgvault.monitor.finding import Finding, red
from pgvault.monitor.notifier import judge_routes
from pgvault.monitor.status import ClusterStatus
from tests.alerts.samples import NOW, failed_check

FILE = Path(__file__).with_name("checks.yaml")
CLUSTER = ClusterConfig.model_validate({"dsn": "", "checks": str(FILE)})
ROUTED = AlertsConfig.model_validate(
    {
        "receivers": {name: {"command": ["true"]} for name in ("pager", "slack", "mail")},
        "routes": {"page_oncall": "pager", "alert_slack": "slack", "red": "pager"},
        "default": "mail",
    }
)
UNROUTED = AlertsConfig.model_validate({"receivers": {"mail": {"command": ["true"]}}})


def told(finding: Finding, alerts: AlertsConfig = ROUTED) -> list[str]:
    """Return who is told of a finding, by way of the whole plan."""
    look = Look((ClusterStatus("main", (finding,), None),), NOW)
    return [each.receiver for each in plan_alerts(look, State(), Router(alerts, {"main": CLUSTER})).sendings]


@pytest.mark.parametrize(("action", "receiver"), [("page_oncall", "pager"), ("alert_slack", "slack")])
@pytest.mark.parametrize("where", ["live", "drill"])
def test_the_actions_they_write_are_honoured(action: str, receiver: str, where: str) -> None:
    """Of their own file, unchanged: each check goes where its action says, live and in a drill."""
    names = [check.name for check in CLUSTER.checks if check.action == action]

    assert names
    for name in names:
        assert told(failed_check(name, where=where)) == [receiver]


def test_their_file_loads_where_no_route_knows_its_actions() -> None:
    """Somebody is told all the same, and status says which actions lead nowhere."""
    (check, *_) = (check for check in CLUSTER.checks if check.action == "page_oncall")
    (found,) = judge_routes(CLUSTER.checks, UNROUTED)

    assert told(failed_check(check.name), UNROUTED) == ["mail"]
    assert "'page_oncall'" in found.detail


@pytest.mark.parametrize(
    "finding",
    [
        pytest.param(red("verify", "a pack is damaged"), id="backup verification failed"),
        pytest.param(red("schema backup", "older than promised"), id="schema check failed"),
        pytest.param(red("repository", "the store does not answer"), id="storage failure"),
        pytest.param(red("copy lag", "dr: behind", {"copy": "dr"}), id="replication failure"),
        pytest.param(red("check", "revenue is off", {"check": "x", "severity": "critical"}), id="unexpected data"),
        pytest.param(red("backup", "stale: 26 h old"), id="backup too old"),
    ],
)
def test_every_trigger_pages(finding: Finding) -> None:
    """What they page on is red in status, and red is told to whom the configuration says."""
    assert told(finding) == ["pager"]

"""Whether somebody would tell, by the newest notice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgvault.config import AlertsConfig, ClusterConfig
from pgvault.errors import ObjectCorrupt
from pgvault.instants import iso
from pgvault.monitor.finding import Level
from pgvault.monitor.notifier import judge_notifier, judge_routes

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ERRORS = {"pager": {"error": "answered 404", "at": iso(NOW)}}


def notice(errors: dict[str, Any] | None = None, **ago: float) -> dict[str, Any]:
    return {"looked_at": {"main": iso(NOW - timedelta(**ago))}, "errors": errors or {}}


@pytest.mark.parametrize(
    ("newest", "level", "said"),
    [
        (None, Level.RED, "none ever left a notice: nobody is told of anything"),
        (notice(minutes=90), Level.OK, "last known alive 90 min ago"),
        (notice(hours=3), Level.RED, "last known alive 3.0 h ago"),
        (notice(ERRORS, hours=3), Level.RED, "; the last sending failed: receiver 'pager': answered 404"),
        (notice(ERRORS, minutes=5), Level.WARN, "receiver 'pager': answered 404"),
        ({"looked_at": {"other": iso(NOW)}, "errors": {}}, Level.RED, "none looked at this cluster"),
        ({"looked_at": {}, "errors": ERRORS}, Level.RED, "receiver 'pager': answered 404"),
    ],
)
def test_a_notifier_is_alive_by_its_notice(newest: dict[str, Any] | None, level: Level, said: str) -> None:
    """Two hours without one, or none ever, is red; so is one that looks at other clusters only."""
    found = judge_notifier(newest, "main", now=NOW)

    assert found.level is level
    assert said in found.detail


@pytest.mark.parametrize("changed", [{"looked_at": None}, {"errors": 3}, {"looked_at": {"main": "yesterday"}}])
def test_a_notice_of_another_shape_is_corrupt(changed: dict[str, Any]) -> None:
    """Never taken for one that is fine."""
    with pytest.raises(ObjectCorrupt):
        judge_notifier({**notice(), **changed}, "main", now=NOW)


def test_an_action_that_leads_nowhere_is_a_warning() -> None:
    """Customers' files load unchanged; status says which action no route names."""
    checks = [{"name": name, "query": "select 0", "action": f"{action}"} for name, action in (("a", "x"), ("b", "y"))]
    config = ClusterConfig.model_validate({"dsn": "", "checks": [*checks, {"name": "c", "query": "select 0"}]})
    receivers = {"pager": {"command": ["true"]}}

    def judged(*routes: str) -> list[str]:
        alerts = AlertsConfig.model_validate({"receivers": receivers, "routes": dict.fromkeys(routes, "pager")})
        return [found.detail for found in judge_routes(config.checks, alerts)]

    assert judged("x", "y") == []
    assert judged("y") == ["no route names the action 'x' of a: it goes where other alerts go"]

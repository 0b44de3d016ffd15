"""What a configuration leaves out, what a bucket does not keep, and what of a status is a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from pgvault.config import ClusterConfig, parse_config
from pgvault.doctor.known import ALWAYS, LEFT_OUT, choose
from pgvault.doctor.setup import judge_cluster, judge_config, judge_slots
from pgvault.doctor.stores import judge_guards
from pgvault.errors import PgvaultError, StoreDenied, StoreUnreachable
from pgvault.hosts.jobs import JOBS
from pgvault.keyring.documents import SlotSummary
from pgvault.monitor.finding import Level, ok, red, warn
from pgvault.stores.base import Guards

CHECK = {"name": "orphans", "query": "SELECT 0", "threshold": 0}
EVERYTHING = {"dsn": "", "retention": {"full": 7}, "checks": [CHECK], "schedule": dict.fromkeys(JOBS, "daily")}


def judged(**changes: Any) -> dict[str, Level]:
    fields = {name: value for name, value in {**EVERYTHING, **changes}.items() if value is not None}
    cluster = ClusterConfig.model_validate(fields)
    return {each.name: each.level for each in judge_cluster(cluster, has_copies=True)}


def test_a_cluster_with_everything_is_well() -> None:
    assert set(judged().values()) == {Level.OK}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"retention": None}, "retention"),
        ({"checks": None}, "integrity checks"),
        ({"schedule": None}, "scheduled jobs"),
        ({"schedule": {**dict.fromkeys(JOBS, "daily"), "drill": "off"}}, "scheduled jobs"),
        ({"source": "logical", "schedule": {"verify": "daily", "expire": "daily"}}, "scheduled jobs"),
    ],
)
def test_what_is_left_out_is_told(changes: dict[str, Any], name: str) -> None:
    """And nothing else with it."""
    found = judged(**changes)

    assert found.pop(name) is Level.WARN
    assert set(found.values()) == {Level.OK}


def test_that_nobody_is_told_is_told() -> None:
    """So is that there is no cluster at all."""
    document: dict[str, Any] = {"repository": {"key": "file:/k", "copies": {"primary": {"url": "file:///r"}}}}

    assert [each.name for each in judge_config(parse_config(document, where="x"))] == ["alerts", "clusters"]
    document["clusters"] = {"main": {"dsn": ""}}
    document["alerts"] = {"receivers": {"pager": {"command": ["true"]}}}
    assert [each.level for each in judge_config(parse_config(document, where="x"))] == [Level.OK]


@pytest.mark.parametrize(
    ("route", "meant"),
    [("rde", "red"), ("bakcup", "backup"), ("criticl", "critical"), ("opsgenie", None), ("red", None), ("page", None)],
)
def test_a_misspelt_route_is_told(route: str, meant: str | None) -> None:
    """It would match nothing, for ever; what is like nothing known may be the action of a check to come."""
    document: dict[str, Any] = {
        "repository": {"key": "file:/k", "copies": {"primary": {"url": "file:///r"}}},
        "clusters": {"main": {"dsn": "", "checks": [{**CHECK, "action": "page"}]}},
        "alerts": {"receivers": {"pager": {"command": ["true"]}}, "routes": {route: "pager"}},
    }

    found = [
        each for each in judge_config(parse_config(document, where="x"), names=["backup"]) if each.name != "alerts"
    ]

    assert [each.hint for each in found] == ([] if meant is None else [f"Did you mean {meant!r}?"])


def test_one_key_slot_is_told() -> None:
    """A slot that opens only keys which seal nothing any more does not count."""
    old, new = SlotSummary("old", "raw", None, (1,), ""), SlotSummary("new", "raw", None, (2,), "")

    assert judge_slots([old, new], 2).level is Level.WARN
    assert judge_slots([new, SlotSummary("team", "passphrase", None, (1, 2), "")], 2).level is Level.OK


@pytest.mark.parametrize(
    ("guards", "is_locked", "level"),
    [
        (Guards(True, True, False), True, Level.OK),
        (Guards(True, True, False), False, Level.WARN),
        (Guards(False, False, False), False, Level.WARN),
        (Guards(True, False, False), True, Level.RED),
        (StoreDenied("no"), True, Level.WARN),
        (StoreUnreachable("away"), True, Level.RED),
    ],
)
def test_a_bucket_that_forgets_is_told(guards: Guards | PgvaultError, is_locked: bool, level: Level) -> None:
    """Where we may not ask, that is a warning, and never well."""
    assert judge_guards("primary", guards, is_locked=is_locked).level is level


def test_of_a_status_what_is_a_mistake_is_taken_over_as_it_is() -> None:
    """Never judged anew; how far behind WAL is at this second is for status."""
    findings = [
        red("WAL lag", "1 h"),
        red("objective", "rto"),
        red("class a", "x"),
        ok("window", "all"),
        ok("drill", "y"),
    ]
    mistakes = [warn("copy_lag", "z"), red("gap", "w")]

    assert list(choose([*findings, *mistakes])) == [findings[-1], *mistakes]
    assert not set(ALWAYS) & set(LEFT_OUT)

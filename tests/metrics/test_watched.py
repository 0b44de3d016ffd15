from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.config import load_config
from pgvault.metrics.ruletable import RULES
from pgvault.metrics.watched import watched

ALWAYS = {"backup", "verify", "drill", "escrow"}
LOCAL = {*ALWAYS, "wal", "pg_wal"}


def parts(tmp_path: Path, cluster: str, *, copies: str = "", more: str = "") -> set[str]:
    path = tmp_path / "pgvault.yaml"
    path.write_text(
        f"repository: {{key: 'file:/key', copies: {{first: {{url: 'file:///first'}}{copies}}}}}\n"
        f"clusters: {{main: {{dsn: 'host=db1'{cluster}}}}}\n{more}"
    )
    return {what for _, what in watched(load_config(path), ["main"])}


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("", LOCAL),
        (", source: logical", ALWAYS),
        (", stream: {slot: pgvault, spool: /spool}", LOCAL | {"slot"}),
        (", schedule: {backup: daily}", LOCAL | {"schedule"}),
        (", source: logical, schedule: {logical: daily}", ALWAYS | {"schedule"}),
        (", checks: [{name: one, query: SELECT 0}]", LOCAL | {"checks"}),
    ],
)
def test_what_is_configured_is_watched(tmp_path: Path, cluster: str, expected: set[str]) -> None:
    """And nothing that does not apply: an alert that always fires is one that nobody reads."""
    assert parts(tmp_path, cluster) == expected


def test_further_copies_and_locks_are_watched(tmp_path: Path) -> None:
    """Of the repository, so of each of its clusters."""
    second = ", second: {url: 's3://bucket/prefix', object_lock: {mode: compliance, days: 30}}"

    assert parts(tmp_path, "", copies=second) == LOCAL | {"copy", "locks"}


def test_every_rule_asks_for_something_that_can_be_configured() -> None:
    """A twin that asks for what is never exported would be silent for ever."""
    known = LOCAL | {"slot", "schedule", "checks", "copy", "locks", "notifier"}

    assert {rule.watched for rule in RULES} == known

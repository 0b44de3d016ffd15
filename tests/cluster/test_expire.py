"""Retention on a real server's backups: marked, taken back, held, removed; what is kept restores, at both its ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.config import RetentionConfig
from pgvault.expire.apply import Policed, expire_cluster
from pgvault.expire.carrying import Report
from pgvault.expire.policy import Policy
from pgvault.instants import SystemClock
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import ImmediateTarget, TargetOptions, TimeTarget
from pgvault.repository.leases import Terms
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.endurance

HOUR = timedelta(hours=1)
RULES = {"full": 2, "window": timedelta(seconds=1), "grace": HOUR}


class Ahead(SystemClock):
    """A clock that is so far ahead."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return datetime.now(UTC) + self._by


def expire(vault: Vault, ahead: timedelta) -> Report:
    """What `pgvault expire` does, so much later."""
    wanted = Policed("main", Policy(RetentionConfig.model_validate(RULES)), "test@db1")
    report = expire_cluster(vault.archive.repository, wanted, terms=Terms(clock=Ahead(ahead)))
    report.require_done()
    return report


def configure(vault: Vault) -> Path:
    """Name the server and the rules."""
    text = vault.archive.config.read_text()
    given = f"{{dsn: {json.dumps(vault.server.dsn)}, retention: {{full: 2, window: 1s, grace: 1h}}}}"
    vault.archive.config.write_text(text.replace("{dsn: ''}", given))
    return vault.archive.config


def test_what_retention_keeps_restores_at_both_its_ends(server: ServerFactory, tmp_path: Path) -> None:
    """To the window's begin and end, and what is held to its own end; list, status and verify are green."""
    vault = make_vault(server, NEWEST, tmp_path)
    vault.server.sql("ALTER SYSTEM SET archive_timeout = '60s'")
    vault.server.sql("SELECT pg_reload_conf()")
    words = ("--config", configure(vault))
    labels = []
    for number in range(1, 5):
        vault.insert(number)
        labels.append(vault.backup().label)
        vault.insert(number * 10)
        vault.archive_all()
    moment = vault.insert(50)
    vault.insert(60)
    vault.archive_all()
    held, unwanted, older, newest = labels
    assert pgvault(*words, "verify").status == 0
    assert pgvault(*words, "hold", held, "--why", "incident 42").status == 0

    marked = pgvault("--verbose", *words, "expire")
    assert marked.status == 0, marked
    assert f"marked: {unwanted}: " in marked.output
    assert f"expiring: {unwanted}, from " in pgvault(*words, "list").output
    assert pgvault(*words, "undelete", unwanted).status == 0
    assert pgvault_json(*words, "list")["expiring"] == []
    assert expire(vault, timedelta(0)).marked == [unwanted]
    report = expire(vault, 2 * HOUR)

    assert report.removed == [unwanted]
    listed = pgvault_json(*words, "list")
    assert [backup["label"] for backup in listed["backups"]] == [held, older, newest]
    assert listed["gaps"] == listed["not_restorable"] == listed["expiring"] == []
    assert [found["has_expired_behind"] for found in listed["recovery_window"]] == [True, True, False]
    assert "the window begins at" in pgvault(*words, "list").output
    assert pgvault(*words, "wal", "list", "--missing").status == 0
    status = pgvault_json(*words, "status")
    findings = {each["name"]: each for each in status["clusters"][0]["findings"]}
    assert {name for name, each in findings.items() if each["level"] == "red"} == set(), findings
    assert findings["window"]["figures"]["begins_at"] == listed["recovery_window"][-1]["starts_at"]
    verified = pgvault(*words, "verify")
    assert verified.status == 0, verified

    begin = datetime.fromisoformat(listed["recovery_window"][-1]["starts_at"]) + timedelta(milliseconds=1)
    at_begin = vault.finished(TimeTarget(begin, begin.isoformat(), None))
    assert vault.rows(at_begin) == [1, 2, 3, 4, 10, 20, 30]
    at_end = vault.finished(TimeTarget(moment, moment.isoformat(), None))
    assert vault.rows(at_end) == [1, 2, 3, 4, 10, 20, 30, 40, 50]
    for label, expected in ((held, [1]), (older, [1, 2, 3, 10, 20])):
        request = RestoreRequest(ImmediateTarget(), TargetOptions(), label)
        assert vault.rows(vault.finished(ImmediateTarget(), request=request)) == expected

    assert expire(vault, 3 * HOUR).removed == []

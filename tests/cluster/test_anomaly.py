"""Backups of a real server over some days: usual ones, a dropped database, tables that somebody encrypted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.config import RetentionConfig
from pgvault.config.anomaly import AnomalyConfig
from pgvault.expire.apply import Policed, plan_only
from pgvault.expire.policy import Policy
from pgvault.monitor.anomalystatus import judge_backups
from pgvault.monitor.finding import Finding
from pgvault.process import run
from pgvault.repository.catalog import read_catalog
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from tests.anomaly.days import DEFAULT
from tests.cli.here import pgvault
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

NOISE = "||".join(["uuid_send(gen_random_uuid())"] * 5)  # as long as what it takes the place of


@dataclass
class Days:
    """A server with a bank and a shop on it, and one backup after the other."""

    vault: Vault
    labels: list[str] = field(default_factory=list)

    @property
    def repository(self) -> Repository:
        return self.vault.archive.repository

    def work(self, transactions: int) -> None:
        """A day's load."""
        pgbench = self.vault.server.programs.path("pgbench")
        run([pgbench, "-n", "-t", str(transactions), self.vault.server.dsn_of("postgres", "bank")], timeout=120)

    def back_up(self) -> Manifest:
        manifest = self.vault.backup()
        self.labels.append(manifest.label)
        return manifest

    def look(self, anomaly: AnomalyConfig = DEFAULT) -> dict[str, Finding]:
        """What is told of the newest backup, measure by measure; nothing where it is as usual."""
        told = list(judge_backups(read_catalog(self.repository, "main").roots, anomaly, now=datetime.now(UTC)))
        assert all(each.figures["judged"] for each in told)
        return {str(each.figures["measure"]): each for each in told if each.figures["backup"] == self.labels[-1]}

    def kept(self, anomaly: AnomalyConfig = DEFAULT) -> dict[str, tuple[str, ...]]:
        """What an expiry would keep that wants one full backup."""
        policy = Policy(RetentionConfig(full=1), anomaly=anomaly)
        plan = plan_only(self.repository, Policed("main", policy, "test@db1")).plan
        return {each.label: each.reasons for each in plan.kept}

    def configure(self) -> Path:
        path = self.vault.archive.config.with_name("days.yaml")
        dsn = json.dumps(self.vault.server.dsn)
        path.write_text(
            f"repository:\n  key: file:{self.vault.archive.key}\n"
            f"  copies: {{primary: {{url: '{self.vault.archive.root.as_uri()}'}}}}\n"
            f"clusters: {{main: {{dsn: {dsn}, retention: {{full: 1}}}}}}\n"
        )
        return path


@pytest.fixture(scope="module")
def days(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Days:
    """Three usual days."""
    vault = make_vault(servers, NEWEST, tmp_path_factory.mktemp("days"), wal_segsize_mib=16)
    server = vault.server
    server.sql("ALTER SYSTEM SET archive_timeout = '60s'")
    server.sql("SELECT pg_reload_conf()")
    server.sql("CREATE DATABASE bank")
    server.sql("CREATE DATABASE shop")
    run([server.programs.path("pgbench"), "-i", "-q", "-s", "3", server.dsn_of("postgres", "bank")], timeout=120)
    server.sql(
        "CREATE TABLE goods AS SELECT g, repeat('socks ', 20) AS what FROM generate_series(1, 30000) g", database="shop"
    )
    server.sql("VACUUM FREEZE", database="bank")
    made = Days(vault)
    for _ in range(3):
        made.work(40)
        made.back_up()
    return made


def test_what_happens_to_a_database_shows_in_its_backup(days: Days) -> None:
    """A busy day is as usual; a dropped database is not, nor are tables full of noise; what was normal stays."""
    server = days.vault.server
    days.work(80)
    busy = days.back_up()
    assert days.look().keys() == {""}, "a normal day is no anomaly"
    assert busy.measures is not None
    assert 0 < busy.measures.values["changed"] < 0.3
    assert busy.measures.values["relations"] > 8

    server.sql("DROP DATABASE shop")
    dropped = days.back_up()
    found = days.look()
    assert found.keys() == {"databases"}
    assert found["databases"].figures["value"] == len(dropped.databases) == len(busy.databases) - 1
    assert found["databases"].figures["last_normal"] == busy.label

    server.sql(f"ALTER TABLE pgbench_accounts ALTER filler TYPE bytea USING {NOISE}", database="bank")
    encrypted = days.back_up()
    assert encrypted.measures is not None
    found = days.look()
    assert found.keys() == {"databases", "compression", "changed"}, found
    assert encrypted.measures.values["compression"] < busy.total_bytes / busy.stored_bytes / 2
    assert encrypted.measures.values["changed"] > 0.3

    later = days.back_up()
    assert days.look().keys() == {"databases", "compression"}, "nothing was changed since, and nothing is right"
    words = ("--config", days.configure())
    assert pgvault(*words, "verify").status == 0
    kept = days.kept()
    assert kept.keys() == {busy.label, later.label}
    assert kept[busy.label] == (f"last normal one before {dropped.label}, which is anomalous",)
    word = AnomalyConfig(normal_since=dropped.started_at)
    assert days.kept(word).keys() == {later.label}

    assert f"stays: {busy.label}: last normal one before" in pgvault(*words, "expire", "--dry-run").output
    assert f"{busy.label} is the last normal one" in pgvault(*words, "status").output

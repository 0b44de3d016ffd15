"""A managed server: no superuser, no replication, no files. Logical backups alone, and every command says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.errors import ObjectiveMissed, ServerUnfit
from tests.archive import Archive, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.repository.logicals import SHOP, put_logical
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

UNPROVEN = {"drill", "verify", "escrow", "anomaly"}  # of a backup that was just taken, and nothing else was done


@dataclass(frozen=True, slots=True)
class Managed:
    """Such a server, and a repository for it."""

    server: Server
    archive: Archive

    def configure(self, more: str = "source: logical") -> Path:
        """Write a configuration for the role that may only read; returns its path."""
        text = self.archive.config.read_text().partition("clusters:")[0]
        dsn = self.server.dsn_of("reader")
        self.archive.config.write_text(f'{text}clusters:\n  main: {{dsn: "{dsn}", {more}}}\n')
        return self.archive.config


@pytest.fixture(scope="module")
def provider(templates: Path) -> Iterator[Server]:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        server = factory(NEWEST)
        server.sql("CREATE ROLE reader LOGIN; CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)")
        server.sql("GRANT SELECT ON orders TO reader")
        yield server
    finally:
        factory.clear()


@pytest.fixture
def managed(provider: Server, tmp_path: Path) -> Managed:
    return Managed(provider, make_archive(tmp_path))


def take(managed: Managed, *, ago: timedelta = timedelta()) -> str:
    """A logical backup that was taken then."""
    at = datetime.now(UTC) - ago
    label = f"{at:%Y%m%dT%H%M%SZ}-10c1"
    databases = (replace(SHOP, name="postgres", snapshot_at=at),)
    put_logical(managed.archive.repository, label, started_at=at, stopped_at=at, databases=databases)
    return label


def test_check_says_what_it_means(managed: Managed) -> None:
    """All that logical backups need is there: status 0, and a warning that no point in time can be restored."""
    config = managed.configure()

    document = pgvault_json("--config", config, "check")
    finished = pgvault("--config", config, "check")

    assert document["passed"] is True
    warned = [finding for finding in document["checks"] if finding["level"] == "warn"]
    assert [finding["name"] for finding in warned] == ["point in time", "roles"]
    assert "only the moment of a backup can be restored" in warned[0]["detail"]
    assert "no schedule is configured" in warned[0]["detail"]
    assert finished.status == 0
    assert "warn  point in time" in finished.output
    assert "archiving" not in finished.output


def test_check_fails_where_a_table_can_not_be_read(managed: Managed) -> None:
    """By its own status, with a hint."""
    config = managed.configure()
    managed.server.sql("REVOKE SELECT ON orders FROM reader")
    try:
        finished = pgvault("--config", config, "check")
    finally:
        managed.server.sql("GRANT SELECT ON orders TO reader")

    assert finished.status == ServerUnfit.exit_code
    assert "FAIL  database postgres: role 'reader' can not read 1 tables" in finished.output


def test_check_of_the_usual_kind_names_the_way_out(managed: Managed) -> None:
    """Who configures such a server like any other learns what works there; it is no less red for that."""
    config = managed.configure("archive_wait: 1s")

    document = pgvault_json("--config", config, "check", status=ServerUnfit.exit_code)

    assert document["passed"] is False
    (said,) = [finding for finding in document["checks"] if finding["name"] == "logical backups"]
    assert said["level"] == "warn"
    assert "source: logical" in said["hint"]
    assert "only the moment of each backup" in said["hint"]


def test_status_is_red_without_a_backup(managed: Managed) -> None:
    """And asks for no WAL."""
    document = pgvault_json("--config", managed.configure(), "status", status=ObjectiveMissed.exit_code)

    findings = {finding["name"]: finding for finding in document["clusters"][0]["findings"]}
    assert {"server", "backup"} <= findings.keys()
    assert not {"WAL lag", "last segment", "archiving", "pg_wal disk"} & findings.keys()
    assert findings["backup"]["level"] == "red"
    assert findings["backup"]["figures"]["count"] == 0


def test_status_is_green_with_one_of_today(managed: Managed) -> None:
    """What would be lost is said all the same."""
    config = managed.configure("source: logical, objectives: {rpo: 24h}")
    label = take(managed, ago=timedelta(hours=3))

    document = pgvault_json("--config", config, "status")
    brief = pgvault("--config", config, "status", "--brief")

    findings = {finding["name"]: finding for finding in document["clusters"][0]["findings"]}
    assert document["level"] == "warn"  # since nothing was drilled or verified yet
    assert findings["backup"]["figures"]["label"] == label
    assert findings["data loss"]["figures"]["limit_seconds"] == 86400
    said = "last backup 3.0 h ago, not scheduled, 3.0 h would be lost, never drilled"
    assert brief.output == f"main: healthy as far as is known, {said}\n"


def test_status_holds_it_against_the_objective(managed: Managed) -> None:
    """A quarter of an hour can not be kept by backups of every night."""
    config = managed.configure("source: logical, objectives: {rpo: 15m}")
    take(managed, ago=timedelta(hours=3))

    document = pgvault_json("--config", config, "status", status=ObjectiveMissed.exit_code)

    red = [finding for finding in document["clusters"][0]["findings"] if finding["level"] == "red"]
    assert [finding["name"] for finding in red] == ["data loss", "objective"]
    assert "the objective is 15 min" in red[0]["detail"]


def test_each_class_has_an_objective_of_its_own(managed: Managed) -> None:
    """A backup of everything holds every class; it is the newest that holds it that counts."""
    classes = "{critical: {tables: [public.orders], rpo: 1h}, low: {tables: ['app.*'], rpo: 48h}}"
    config = managed.configure(f"source: logical, classes: {classes}")
    take(managed, ago=timedelta(hours=3))

    document = pgvault_json("--config", config, "status", status=ObjectiveMissed.exit_code)

    levels = {finding["name"]: finding["level"] for finding in document["clusters"][0]["findings"]}
    assert (levels["class critical"], levels["class low"]) == ("red", "ok")


def test_it_works_with_logical_backups_alone(managed: Managed) -> None:
    """`pgvault backup` takes one without being told; it is listed, verified, and all is green."""
    config = managed.configure()

    (taken,) = pgvault_json("--config", config, "backup")["backups"]
    (listed,) = pgvault_json("--config", config, "list")["logical"]
    (label,) = pgvault_json("--config", config, "verify")["backups"]
    shown = pgvault_json("--config", config, "show", label)
    status = pgvault_json("--config", config, "status")

    assert taken["label"] == listed["label"] == label
    assert (taken["type"], taken["tables"], taken["rows"]) == ("logical", 1, 2)
    (orders,) = [each for each in shown["databases"][0]["contents"] if each["table"] == "orders"]
    assert orders["rows"] == 2
    assert orders["fingerprint"] is not None
    assert {each["name"] for each in status["clusters"][0]["findings"] if each["level"] != "ok"} <= UNPROVEN


def test_verify_is_content_with_it(managed: Managed) -> None:
    """No WAL is missed."""
    config = managed.configure()
    label = take(managed)

    assert pgvault_json("--config", config, "verify")["backups"] == [label]

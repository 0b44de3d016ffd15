"""What customers bring that logical backups serve: schema on change, data classes, the shell script they had."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.config import ClusterConfig
from pgvault.instants import parse_duration
from pgvault.process import Finished, attempt
from tests.archive import ROOT, Archive, bare_environment, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.servers import NEWEST, Server, ServerFactory

SCRIPT = ROOT / "scripts" / "backup-database.sh"

# The table of data classes as it was promised: priority, RTO, RPO, backup, kept.
CLASSES = {
    "critical": (1, "1 h", "15 min", "daily", "90 days"),
    "high": (2, "4 h", "1 h", "daily", "30 days"),
    "medium": (3, "8 h", "24 h", "weekly", "30 days"),
    "low": (4, "24 h", "48 h", "monthly", "90 days"),
}
CRON = {"daily": "0 1 * * *", "weekly": "0 2 * * 0", "monthly": "0 3 1 * *"}
TABLES = {
    "critical": "public.accounts",
    "high": "public.history",
    "medium": "public.preferences",
    "low": "public.analytics",
}


def short(text: str) -> str:
    """As the configuration takes it: 90 days is 90d."""
    number, unit = text.split()
    return number + {"h": "h", "min": "m", "days": "d"}[unit]


def classes() -> dict[str, dict[str, object]]:
    """The whole table as configuration."""
    return {
        name: {
            "priority": priority,
            "rto": short(rto),
            "rpo": short(rpo),
            "backup": CRON[backup],
            "keep": short(kept),
            "tables": [TABLES[name]],
        }
        for name, (priority, rto, rpo, backup, kept) in CLASSES.items()
    }


@pytest.mark.parametrize("name", CLASSES)
def test_every_data_class_is_configured_as_it_was_promised(name: str) -> None:
    """Its recovery priority, RTO, RPO, how often it is backed up and how long that is kept."""
    _, rto, rpo, backup, _ = CLASSES[name]
    found = ClusterConfig.model_validate({"dsn": "", "classes": classes()}).classes[name]

    assert found.priority == CLASSES[name][0]
    assert (found.rto, found.rpo) == (parse_duration(rto), parse_duration(rpo))
    assert found.backup == CRON[backup]
    assert found.keep in (timedelta(days=90), timedelta(days=30))
    assert found.tables == (TABLES[name],)


def test_the_shell_script_has_its_place() -> None:
    """Under the name that stands in crontabs and runbooks, to be run as it is."""
    assert os.access(SCRIPT, os.X_OK)
    assert "--type logical" in SCRIPT.read_text()


@pytest.fixture(scope="module")
def shop(templates: Path) -> Iterator[Server]:
    """A server with a table of each class."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        server = factory(NEWEST)
        for table in TABLES.values():
            server.sql(f"CREATE TABLE {table} AS SELECT n AS id FROM generate_series(1, 10) n")
        server.sql("CREATE DATABASE crm")
        yield server
    finally:
        factory.clear()


@pytest.fixture
def archive(shop: Server, tmp_path: Path) -> Archive:
    """A repository, and a configuration with that server and the table of classes."""
    made = make_archive(tmp_path)
    text = made.config.read_text().partition("clusters:")[0]
    cluster = {"dsn": shop.dsn, "classes": classes(), "logical": {"load_schema": False}}
    made.config.write_text(f"{text}clusters: {json.dumps({'main': cluster})}\n")
    return made


def run_script(archive: Archive, *words: str) -> Finished:
    """Run it as cron does, with the configuration's place in the environment."""
    environment = {**bare_environment(), "PGVAULT_CONFIG": str(archive.config), "HOME": "/nonexistent"}
    return attempt([SCRIPT, *words], timeout=120, env=environment)


@pytest.mark.cluster
def test_backup_database_backs_up_databases(archive: Archive) -> None:
    """`scripts/backup-database.sh crm`: that database, in the catalog; and the status tells of a failure."""
    finished = run_script(archive, "crm")
    failed = run_script(archive, "nothing")

    (listed,) = pgvault_json("--config", archive.config, "list")["logical"]
    assert finished.status == 0, finished.errors
    assert [database["name"] for database in listed["databases"]] == ["crm"]
    assert failed.status != 0
    assert "'nothing'" in failed.errors


@pytest.mark.cluster
def test_each_class_is_backed_up_by_itself(archive: Archive) -> None:
    """All definitions, and the rows of its own tables only."""
    taken = {name: pgvault_json("--config", archive.config, "backup", "--type", "logical", "--class", name)
             for name in ("critical", "low")}  # fmt: skip

    listed = pgvault_json("--config", archive.config, "list", "--type", "logical")["logical"]
    assert [backup["class"] for backup in listed] == ["critical", "low"]
    for name, document in taken.items():
        label = document["backups"][0]["label"]
        shown = pgvault_json("--config", archive.config, "show", label)
        tables = [
            f"{each['schema']}.{each['table']}"
            for database in shown["databases"]
            for each in database["contents"]
            if each["kind"] == "table"
        ]
        assert tables == [TABLES[name]]


@pytest.mark.cluster
@pytest.mark.endurance
def test_the_schema_is_kept_when_it_changed_and_for_ever(archive: Archive, shop: Server) -> None:
    """Asked every hour, kept when it changed; what was kept stays, verified like every backup."""
    words = ("--config", archive.config, "backup", "--type", "schema")
    for _ in range(2):
        assert pgvault(*words).status == 0
    first = pgvault_json("--config", archive.config, "list", "--type", "schema")["logical"]
    shop.sql("INSERT INTO accounts VALUES (11)")
    assert pgvault(*words).status == 0
    unchanged = pgvault_json("--config", archive.config, "list", "--type", "schema")["logical"]
    shop.sql("ALTER TABLE accounts ADD balance numeric(12,2)")
    assert pgvault(*words).status == 0

    both = pgvault_json("--config", archive.config, "list", "--type", "schema")["logical"]
    assert len(first) == len(unchanged) == 1
    assert [backup["label"] for backup in both][:1] == [first[0]["label"]]
    assert len(both) == 2
    assert pgvault_json("--config", archive.config, "verify")["passed"] is True
    difference = pgvault("--config", archive.config, "schema", "diff", *(backup["label"] for backup in both))
    assert "balance numeric(12,2)" in difference.output

"""The commands in a row, with a server: schema backups, a logical backup, its drill."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import DrillFailed, UsageError
from tests.archive import Archive, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.servers import NEWEST, ServerFactory

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.endurance,
    pytest.mark.skipif(not NEWEST, reason="no PostgreSQL is installed"),
]


def configured(archive: Archive, dsn: str, scratch: Path, more: str = "") -> Path:
    """Let the configuration name a server, and where drills are made."""
    text = archive.config.read_text().partition("clusters:")[0]
    cluster = f"    dsn: \"{dsn}\"\n    drill: {{scratch: '{scratch}'}}\n{more}"
    archive.config.write_text(f"{text}clusters:\n  main:\n{cluster}")
    return archive.config


def test_definitions_are_kept_when_they_change_and_rows_are_drilled(server: ServerFactory, tmp_path: Path) -> None:
    """From the first schema backup to a green drill of a logical one, which turns red when a check says so."""
    one, archive, scratch = server(NEWEST), make_archive(tmp_path), server.directory()
    config = configured(archive, one.dsn, scratch)
    one.sql("CREATE TABLE t (a int PRIMARY KEY, b text)")
    one.sql("INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i")

    (first,) = pgvault_json("--config", config, "backup", "--type", "schema")["backups"]
    (again,) = pgvault_json("--config", config, "backup", "--type", "schema")["backups"]
    said = pgvault("-v", "--config", config, "backup", "--type", "schema")
    one.sql("ALTER TABLE t ADD c date")
    line = pgvault("-v", "--config", config, "backup", "--type", "schema").output

    assert (first["type"], first["loaded"], first["unchanged"]) == ("schema", True, False)
    assert (again["label"], again["unchanged"]) == (first["label"], True)
    assert (said.status, said.output) == (0, f"main: definitions unchanged since {first['label']}\n")
    assert "definitions of 1 database, loaded into an empty server" in line
    diff = pgvault("--config", config, "schema", "diff", first["label"], "latest").output
    assert "+    c date" in diff.splitlines()

    assert pgvault("--config", config, "backup", "--type", "logical").status == 0
    drilled = pgvault_json("--config", config, "drill", "--logical", "latest")

    assert drilled["passed"]
    assert drilled["target"] == f"logical {drilled['backup']}"
    assert "1 tables with 1000 rows compared" in [check["detail"] for check in drilled["checks"]]
    assert drilled["rpo"]["proven_by"] == "the snapshot of this logical backup alone, without WAL"
    assert list(scratch.iterdir()) == []

    configured(archive, one.dsn, scratch, "    checks: [{name: even, query: SELECT count(*) FROM t WHERE a % 2 = 1}]\n")
    failed = pgvault("--config", config, "drill", "--logical", drilled["backup"])

    assert failed.status == DrillFailed.exit_code
    assert "reached: the snapshots of 1 database, the oldest of" in failed.output
    assert "check 'even': returned 500" in failed.errors
    refused = pgvault("--config", config, "backup", "--type", "schema", "--class", "critical")
    assert refused.status == UsageError.exit_code

"""`list`, `show` and `verify` of logical backups, where no server is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.errors import ObjectMissing, TargetTooEarly, VerifyFailed
from pgvault.repository import layout
from pgvault.repository.logical import LogicalType
from tests.archive import Archive
from tests.cli.here import pgvault, pgvault_json
from tests.repository.logicals import AT, FINGERPRINT, LABEL, SHOP, put_logical

SCHEMA = "20260115T130000Z-5c4e"


@pytest.fixture
def logical(archive: Archive) -> Path:
    """A configuration whose repository holds a logical backup of a class, and a schema backup later."""
    put_logical(archive.repository, class_name="critical", databases=(replace(SHOP, name="shop\n\x1b[31m"),))
    at = AT + timedelta(hours=1)
    bare = replace(SHOP, table_count=0, row_count=0)
    put_logical(
        archive.repository,
        SCHEMA,
        files={b"16384.sql": b"CREATE TABLE orders (id int);\n"},
        type=LogicalType.SCHEMA,
        has_globals=False,
        has_passwords=False,
        started_at=at,
        stopped_at=at + timedelta(seconds=2),
        databases=(bare,),
        system_identifier=None,
    )
    return archive.config


def test_they_are_listed_beside_the_physical_ones(logical: Path) -> None:
    """What scripts read of physical backups stays as it is; logical ones have a list of their own."""
    document = pgvault_json("--config", logical, "list")

    assert document["backups"] == []
    assert document["recovery_window"] == []
    first, second = document["logical"]
    assert (first["label"], first["type"], first["class"]) == (LABEL, "logical", "critical")
    assert (second["label"], second["type"], second["class"]) == (SCHEMA, "schema", None)
    assert (first["tables"], first["rows"]) == (2, 40)
    assert first["started_at"] == "2026-01-15T12:00:00+00:00"
    assert first["databases"][0]["name"] == "shop\n\x1b[31m"
    assert first["databases"][0]["lsn"] == "16/B3000120"
    assert (first["system_identifier"], second["system_identifier"]) == ("7501234567890123456", None)
    assert first.keys() == {
        *("label", "type", "cluster", "started_at", "stopped_at", "class", "databases", "tables", "rows"),
        *("has_globals", "has_passwords", "loaded", "size_bytes", "stored_bytes", "system_identifier"),
        *("postgres_major", "dump_version"),
    }


def test_a_list_for_people_names_them_in_full(logical: Path) -> None:
    """Label, type, databases, tables, rows, class; a name that would write on the terminal is spelt out."""
    finished = pgvault("--config", logical, "list")

    assert finished.status == 0
    assert "logical backups of main" in finished.output
    (line,) = [line for line in finished.output.splitlines() if line.startswith(LABEL)]
    assert [word for word in line.split() if word in ("logical", "2", "40", "critical")] == [
        *("logical", "2", "40", "critical"),
    ]
    assert "shop\\n\\x1b[31m" in line
    assert "restorable" not in finished.output
    assert "has no backup" not in finished.output


@pytest.mark.parametrize(
    ("kind", "labels"), [("logical", [LABEL]), ("schema", [SCHEMA]), ("physical", []), ("full", [])]
)
def test_a_type_can_be_asked_for(logical: Path, kind: str, labels: list[str]) -> None:
    """Nothing of that type is said to be nothing of that type."""
    document = pgvault_json("--config", logical, "list", "--type", kind)
    finished = pgvault("--config", logical, "list", "--type", kind)

    assert [backup["label"] for backup in document["logical"]] == labels
    assert (f"cluster main has no backup of type {kind}" in finished.output) == (not labels)
    assert all(label in finished.output for label in labels)


def test_an_unknown_type_is_refused(logical: Path) -> None:
    """With the names there are."""
    finished = pgvault("--config", logical, "list", "--type", "differential")

    assert finished.status == 2
    assert "schema" in finished.errors


def test_show_tells_all_of_a_logical_one(logical: Path) -> None:
    """Databases with their tables, rows and fingerprints, what has none and why, and the files."""
    document = pgvault_json("--config", logical, "show", LABEL)
    listed = pgvault_json("--config", logical, "list")["logical"][0]

    (database,) = document["databases"]
    assert database["contents"] == [
        {
            "schema": "public",
            "table": "orders",
            "kind": "table",
            "rows": 40,
            "fingerprint": FINGERPRINT,
            "why": None,
        },
        {
            "schema": "public",
            "table": "secrets",
            "kind": "table",
            "rows": None,
            "fingerprint": None,
            "why": "permission denied for table secrets",
        },
    ]
    del database["contents"]
    assert document.items() >= listed.items()
    files = {file["path"]: file["size_bytes"] for file in document["files"]}
    assert files["globals.sql"] == 18
    assert sum(files.values()) == document["size_bytes"]
    assert len(files) == document["file_count"]
    said = pgvault("--config", logical, "show", LABEL).output
    for words in ("public.orders", FINGERPRINT, "permission denied", "16384/toc.dat", "class: critical"):
        assert words in said
    assert "\x1b" not in said


def test_show_tells_of_a_schema_backup(logical: Path) -> None:
    """It has no tables to tell of."""
    document = pgvault_json("--config", logical, "show", SCHEMA)

    assert document["type"] == "schema"
    assert document["databases"][0]["contents"] == []
    assert [file["path"] for file in document["files"]] == ["16384.sql"]


def test_verify_needs_no_wal_for_them(logical: Path) -> None:
    """Green with logical backups alone."""
    document = pgvault_json("--config", logical, "verify")

    assert document["passed"] is True
    assert document["backups"] == [LABEL, SCHEMA]
    assert document["wal_segments"] == 0


def test_damage_is_told(logical: Path, archive: Archive) -> None:
    """By verify; list and show need only root and file list."""
    path = archive.root / layout.pack("main", LABEL, 0)
    path.chmod(0o600)
    path.unlink()

    document = pgvault_json("--config", logical, "verify", status=VerifyFailed.exit_code)

    assert [problem["what"] for problem in document["problems"]] == [f"backup {LABEL}"]
    assert pgvault("--config", logical, "list").status == 0


def test_a_point_in_time_needs_a_physical_one(logical: Path, tmp_path: Path) -> None:
    """A logical backup is never planned with: not as the newest, not by its label."""
    target = str(tmp_path / "data")

    latest = pgvault("--config", logical, "restore", "--to", "latest", target)
    named = pgvault("--config", logical, "restore", "--backup", LABEL, "--immediate", target)

    assert latest.status == TargetTooEarly.exit_code
    assert "--logical" in latest.errors
    assert named.status == ObjectMissing.exit_code
    assert f"pgvault restore --logical {LABEL}" in named.errors
    assert not (tmp_path / "data").exists()

"""`schema list`, `schema diff` and the words of `drill --logical`, where no server is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.errors import ObjectMissing, UsageError
from pgvault.logical.definitions import schema_digest
from pgvault.repository.logical import LogicalType
from tests.archive import Archive
from tests.cli.here import pgvault, pgvault_json
from tests.repository.logicals import AT, LABEL, SHOP, put_logical

OLD = b"""-- Dumped by pg_dump version 18.1
\\restrict abc
CREATE TABLE a (
    id integer
);

CREATE TABLE b (
    id integer
);
"""
NEW = OLD.replace(b"18.1", b"18.6").replace(b"abc", b"xyz").replace(b"b (\n    id integer", b"b (\n    id bigint")
FIRST, SECOND = "20260115T100000Z-0001", "20260115T110000Z-0002"


def put_schema(archive: Archive, label: str, hours: int, definitions: dict[str, bytes]) -> None:
    """Commit a schema backup of databases by name."""
    databases = tuple(
        replace(SHOP, oid=16384 + number, name=name, schema_sha256=schema_digest(sql), table_count=0, row_count=0)
        for number, (name, sql) in enumerate(sorted(definitions.items()))
    )
    put_logical(
        archive.repository,
        label,
        files={each.sql_path: definitions[each.name] for each in databases},
        type=LogicalType.SCHEMA,
        has_globals=False,
        databases=databases,
        started_at=AT + timedelta(hours=hours),
        stopped_at=AT + timedelta(hours=hours),
        is_loaded=True,
    )


@pytest.fixture
def schemas(archive: Archive) -> Path:
    """Two schema backups: one database changed, one the same, one gone, one new; and a logical backup beside them."""
    put_schema(archive, FIRST, 0, {"shop": OLD, "same": OLD, "gone": OLD})
    put_schema(archive, SECOND, 1, {"shop": NEW, "same": OLD.replace(b"18.1", b"18.6"), "new": NEW})
    put_logical(archive.repository)
    return archive.config


def test_the_list_says_when_what_changed(schemas: Path) -> None:
    """A line for each schema backup, oldest first; other backups are not among them."""
    document = pgvault_json("--config", schemas, "schema", "list")

    assert [(each["label"], each["changed_databases"]) for each in document["schemas"]] == [
        (FIRST, ["gone", "same", "shop"]),
        (SECOND, ["gone", "new", "shop"]),
    ]
    lines = pgvault("--config", schemas, "schema", "list").output.splitlines()
    digest = schema_digest(NEW).hex()
    assert f"gone (gone), new {digest[:12]}, shop {digest[:12]}" in lines[-1]


def test_the_diff_shows_what_changed_and_nothing_else(schemas: Path) -> None:
    """Versions and tokens of a dump are no change; a database that is new or gone is one as a whole."""
    finished = pgvault("--config", schemas, "schema", "diff", FIRST, "latest", "--database", "shop")

    assert finished.status == 0
    assert finished.output.splitlines() == [
        f"--- {FIRST}/shop",
        f"+++ {SECOND}/shop",
        "@@ -2,5 +2,5 @@",
        "     id integer",
        " );",
        " CREATE TABLE b (",
        "-    id integer",
        "+    id bigint",
        " );",
    ]
    document = pgvault_json("--config", schemas, "schema", "diff", FIRST, SECOND)
    assert [(each["database"], each["change"]) for each in document["databases"]] == [
        ("gone", "removed"),
        ("new", "added"),
        ("shop", "changed"),
    ]


def test_the_exit_status_tells_only_when_asked(schemas: Path) -> None:
    """As with git: 0 whatever the diff, and 1 for one with --exit-code."""
    words = ("--config", schemas, "schema", "diff")

    assert pgvault(*words, FIRST, SECOND).status == 0
    assert pgvault(*words, FIRST, SECOND, "--exit-code").status == 1
    assert pgvault(*words, FIRST, SECOND, "--exit-code", "--database", "same").status == 0
    assert pgvault(*words, SECOND, "latest", "--exit-code") == pgvault(*words, SECOND, SECOND)


def test_what_is_no_schema_backup_is_refused(schemas: Path) -> None:
    """A logical backup, a label that is not there, a database that neither has."""
    words = ("--config", schemas, "schema", "diff")

    assert pgvault(*words, LABEL, FIRST).status == UsageError.exit_code
    assert pgvault(*words, "20260115T100000Z-ffff", FIRST).status == ObjectMissing.exit_code
    assert pgvault(*words, FIRST, SECOND, "--database", "nowhere").status == UsageError.exit_code


def test_an_empty_list_is_said(archive: Archive) -> None:
    """And latest of nothing is an error."""
    assert "has no schema backup" in pgvault("--config", archive.config, "schema", "list").output
    assert pgvault("--config", archive.config, "schema", "diff", "latest", "latest").status == ObjectMissing.exit_code


def test_a_logical_drill_has_no_target(archive: Archive) -> None:
    """The moment is that of the dump."""
    finished = pgvault("--config", archive.config, "drill", "--logical", "latest", "--to", "latest")

    assert finished.status == UsageError.exit_code
    assert "--logical excludes --to" in finished.errors

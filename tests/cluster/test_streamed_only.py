"""A cluster whose WAL comes by the stream alone: archive_mode off, archive_timeout 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import ArchiveNotWorking
from tests.cli.here import pgvault
from tests.cluster.streams import Streamed, make_streamed, write_stream_config
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.cluster

ALONE = {"archive_mode": "off", "archive_command": "", "archive_timeout": "0", "max_slot_wal_keep_size": "-1"}


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def streamed(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamed]:
    """Nothing runs but the server; the tests below build on each other."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    made = make_streamed(servers, tmp_path_factory.mktemp("streamed"), NEWEST, **ALONE)
    made.server.sql("CREATE TABLE rows (number int)")
    try:
        yield made
    finally:
        made.kill()


def checks(streamed: Streamed) -> dict[str, dict[str, Any]]:
    """What `check --json` says, by name."""
    finished = pgvault("--config", streamed.archive.config, "check", "--json")
    return {each["name"]: each for each in json.loads(finished.output)["checks"]}


def impatient(streamed: Streamed) -> None:
    """Let nothing be waited for longer than a second."""
    text = streamed.archive.config.read_text()
    streamed.archive.config.write_text(text.replace("    stream:", "    archive_wait: 1s\n    stream:"))


def test_without_a_stream_it_is_red_and_says_what_to_start(streamed: Streamed) -> None:
    """The slot is missing, nothing arrives, and archive_command is not blamed for it."""
    impatient(streamed)

    found = checks(streamed)

    assert [name for name, each in found.items() if not each["passed"]] == ["slot", "archiving"]
    assert "archive_timeout" not in found
    assert found["replication"]["passed"]
    for name in ("slot", "archiving"):
        assert "no replication slot 'pgvault'" in found[name]["detail"]
        assert "pgvault wal stream" in found[name]["hint"]
    finished = pgvault("--config", streamed.archive.config, "backup")
    assert finished.status == ArchiveNotWorking.exit_code
    assert "archive_command" not in finished.errors


def test_a_slot_that_nobody_reads_is_red(streamed: Streamed) -> None:
    """Created by hand, or left by a stream that died."""
    streamed.server.sql("SELECT pg_create_physical_replication_slot('pgvault', true)")

    found = checks(streamed)

    streamed.server.sql("SELECT pg_drop_replication_slot('pgvault')")
    for name in ("slot", "archiving"):
        assert "nobody receives from replication slot 'pgvault'" in found[name]["detail"]


def test_without_the_section_the_same_server_is_red_as_ever(streamed: Streamed) -> None:
    """archive_timeout 0 and archive_mode off are fine only for whom `stream:` is configured."""
    text = streamed.archive.config.read_text()
    lines = [line for line in text.splitlines(keepends=True) if "stream:" not in line]
    streamed.archive.config.write_text("".join(lines))

    found = checks(streamed)

    streamed.archive.config.write_text(text)
    assert not found["archive_timeout"]["passed"]
    assert "does not archive WAL" in found["settings"]["detail"]


def test_with_the_stream_it_is_green_and_warned_of_what_may_come(streamed: Streamed) -> None:
    """A real segment goes through it; a slot that may keep everything is a warning, which fails nothing."""
    write_stream_config(streamed, streamed.dsn)
    streamed.start_streaming()

    found = checks(streamed)

    assert all(each["passed"] for each in found.values()), found
    assert "went through the stream and was read back" in found["archiving"]["detail"]
    assert [name for name, each in found.items() if each["level"] == "warn"] == ["kept WAL"]
    assert "GiB are left" in found["kept WAL"]["detail"]
    finished = pgvault("--config", streamed.archive.config, "check")
    assert finished.status == 0
    assert "warn  kept WAL: max_slot_wal_keep_size is -1" in finished.output
    assert "max_slot_wal_keep_size = '" in found["kept WAL"]["hint"]


@pytest.mark.endurance
def test_it_is_backed_up_and_restored(streamed: Streamed) -> None:
    """The backup waits for the stream, and what was committed behind it comes back from tails."""
    streamed.server.sql("INSERT INTO rows VALUES (1)")
    streamed.backup()
    streamed.server.sql("INSERT INTO rows VALUES (2)")
    streamed.stop()

    restored = streamed.restore("--to", "latest")

    assert restored.sql("SELECT number FROM rows ORDER BY 1") == [(1,), (2,)]


def test_a_role_without_replication_is_told_the_statement(streamed: Streamed) -> None:
    """And --print-grants prints it beside the grants, with the line that pg_hba.conf lacks."""
    streamed.server.sql("CREATE ROLE backup LOGIN")
    write_stream_config(streamed, streamed.server.dsn_of("backup"))

    printed = pgvault("--config", streamed.archive.config, "check", "--print-grants").output.splitlines()
    statements = [line for line in printed if not line.startswith("#")]
    assert 'ALTER ROLE "backup" REPLICATION;' in statements
    assert any('replication "backup"' in line for line in printed)
    for statement in statements[:-1]:
        streamed.server.sql(statement)
    impatient(streamed)
    found = checks(streamed)
    assert not found["replication role"]["passed"]
    assert found["replication role"]["hint"].endswith('ALTER ROLE "backup" REPLICATION;')
    streamed.server.sql(statements[-1])
    found = checks(streamed)
    assert found["replication role"]["passed"]
    assert found["replication"]["passed"]

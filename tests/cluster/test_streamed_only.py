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
from tests.wal.servers import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def connected(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamed]:
    """A server that archives nothing by itself."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    made = make_streamed(
        servers,
        tmp_path_factory.mktemp("streamed"),
        NEWEST,
        archive_mode="off",
        archive_command="",
        archive_timeout="0",
        max_slot_wal_keep_size="-1",
    )
    made.server.sql("CREATE TABLE rows (number int)")
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def alone(connected: Streamed) -> Streamed:
    """Nobody streams, there is no slot, and nothing is waited for longer than a second."""
    connected.kill()
    connected.process = None
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE active_pid IS NULL"
    wait_until(lambda: connected.server.sql(drop) or not connected.server.sql("SELECT FROM pg_replication_slots"))
    write_stream_config(connected, connected.server.dsn)
    text = connected.archive.config.read_text()
    connected.archive.config.write_text(text.replace("    stream:", "    archive_wait: 1s\n    stream:"))
    return connected


@pytest.fixture
def streamed(connected: Streamed) -> Streamed:
    """The stream runs."""
    write_stream_config(connected, connected.server.dsn)
    if connected.process is None:
        connected.start_streaming()
    return connected


def checks(streamed: Streamed) -> dict[str, dict[str, Any]]:
    """What `check --json` says, by name."""
    finished = pgvault("--config", streamed.archive.config, "check", "--json")
    return {each["name"]: each for each in json.loads(finished.output)["checks"]}


def test_without_a_stream_it_is_red_and_says_what_to_start(alone: Streamed) -> None:
    """The slot is missing, nothing arrives, and archive_command is not blamed for it."""
    found = checks(alone)

    assert [name for name, each in found.items() if not each["passed"]] == ["slot", "archiving"]
    assert "archive_timeout" not in found
    assert found["replication"]["passed"]
    for name in ("slot", "archiving"):
        assert "no replication slot 'pgvault'" in found[name]["detail"]
        assert "pgvault wal stream" in found[name]["hint"]
    finished = pgvault("--config", alone.archive.config, "backup")
    assert finished.status == ArchiveNotWorking.exit_code
    assert "archive_command" not in finished.errors


def test_a_slot_that_nobody_reads_is_red(alone: Streamed) -> None:
    """Created by hand, or left by a stream that died."""
    alone.server.sql("SELECT pg_create_physical_replication_slot('pgvault', true)")

    found = checks(alone)

    for name in ("slot", "archiving"):
        assert "nobody receives from replication slot 'pgvault'" in found[name]["detail"]


def test_without_the_section_the_same_server_is_red_as_ever(alone: Streamed) -> None:
    """archive_timeout 0 and archive_mode off are fine only for whom `stream:` is configured."""
    text = alone.archive.config.read_text()
    lines = [line for line in text.splitlines(keepends=True) if "stream:" not in line]
    alone.archive.config.write_text("".join(lines))

    found = checks(alone)

    alone.archive.config.write_text(text)
    assert not found["archive_timeout"]["passed"]
    assert "does not archive WAL" in found["settings"]["detail"]


def test_with_the_stream_it_is_green_and_warned_of_what_may_come(streamed: Streamed) -> None:
    """A real segment goes through it; a slot that may keep everything is a warning, which fails nothing."""
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
    streamed.process = None

    restored = streamed.restore("--to", "latest")

    assert restored.sql("SELECT number FROM rows ORDER BY 1") == [(1,), (2,)]


def test_a_role_without_replication_is_told_the_statement(alone: Streamed) -> None:
    """And --print-grants prints it beside the grants, with the line that pg_hba.conf lacks."""
    alone.server.sql("CREATE ROLE backup LOGIN")
    text = alone.archive.config.read_text()
    alone.archive.config.write_text(text.replace("user=postgres", "user=backup"))

    printed = pgvault("--config", alone.archive.config, "check", "--print-grants").output.splitlines()
    statements = [line for line in printed if not line.startswith("--")]
    assert 'ALTER ROLE "backup" REPLICATION;' in statements
    assert any('replication "backup"' in line for line in printed)
    alone.server.sql("BEGIN; " + "\n".join(printed) + "\nROLLBACK")  # all of it can be piped into psql
    for statement in statements[:-1]:
        alone.server.sql(statement)
    found = checks(alone)
    assert not found["replication role"]["passed"]
    assert found["replication role"]["hint"].endswith('ALTER ROLE "backup" REPLICATION;')
    alone.server.sql(statements[-1])
    found = checks(alone)
    assert found["replication role"]["passed"]
    assert found["replication"]["passed"]

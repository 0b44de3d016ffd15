from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgvault.errors import ServerUnfit, ServerUnreachable
from pgvault.postgres.archiver import read_archiver_statistics
from pgvault.postgres.grants import GRANTS, grants_for
from pgvault.postgres.server import Session
from pgvault.postgres.walstate import read_wal_state
from pgvault.process import run
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

ROLE = 'back "up" é'  # its name must be quoted everywhere

# All that pgvault does in a session, by name: each must work with the grants, and some must fail without one.
DEEDS: dict[str, Callable[[Session], object]] = {
    "facts": Session.facts,
    "configuration files": Session.configuration_files,
    "missing grants": Session.missing_grants,
    "ping": Session.ping,
    "clock": Session.clock,
    "checkpoint": Session.control_positions,
    "backup": lambda session: (session.start_backup("x"), session.stop_backup()),
    "switch": Session.switch_wal,
    "restore point": lambda session: session.create_restore_point("x"),
    "message": lambda session: session.emit_message("x"),
    "watermark": Session.idle_watermark,
    "archiver": read_archiver_statistics,
    "WAL state": lambda session: read_wal_state(session, slot="x"),
}


@contextmanager
def open_transaction(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction that has an id and has not ended."""
    with psycopg.connect(server.dsn) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        yield connection


@contextmanager
def session_of(server: Server) -> Iterator[Session]:
    with Session(server.dsn) as session:
        yield session


def refused_deeds(dsn: str) -> list[ServerUnfit]:
    """What a role is told when it tries everything."""
    refusals = []
    with Session(dsn) as session:
        for deed in DEEDS.values():
            try:
                deed(session)
            except ServerUnfit as error:
                refusals.append(error)
    return refusals


def control(server: Server, field: str) -> str:
    """What pg_controldata prints for a field."""
    text = run([server.programs.path("pg_controldata"), server.data], timeout=10, env={"LC_ALL": "C"})
    match = re.search(rf"^{re.escape(field)}: +(.*)$", text, re.MULTILINE)
    assert match is not None
    return match[1]


def test_facts_are_those_of_the_server(server: ServerFactory, major: int) -> None:
    """Facts agree with what PostgreSQL's own programs read from the directory, and with what was set."""
    place = server.directory()
    one = server(
        major,
        settings={
            "archive_mode": "on",
            "archive_command": "cp %p /nowhere/%f",
            "archive_timeout": "5min",
            "TimeZone": "Europe/Berlin",
            "log_timezone": "Asia/Tokyo",
            "max_connections": "33",
        },
        wal_segsize_mib=1,
    )
    (place / "space é").mkdir()
    one.sql(f"CREATE TABLESPACE \"odd 'name'\" LOCATION '{place}/space é'")
    one.sql("CREATE DATABASE shop")

    with session_of(one) as session:
        facts = session.facts()

    assert str(facts.system_identifier) == control(one, "Database system identifier")
    assert facts.major == major
    assert facts.version_text.startswith(one.programs.minor_text)
    assert facts.data_directory == one.data
    assert facts.config_file == one.data / "postgresql.conf"
    assert (facts.block_size, facts.wal_block_size, facts.wal_segment_size) == (8192, 8192, 2**20)
    assert (facts.timeline, facts.in_recovery) == (1, False)
    assert (facts.timezone, facts.log_timezone) == ("Europe/Berlin", "Asia/Tokyo")
    assert (facts.archive_mode, facts.archive_command, facts.archive_library) == ("on", "cp %p /nowhere/%f", "")
    assert facts.archive_timeout == timedelta(minutes=5)
    assert (facts.wal_level, facts.full_page_writes, facts.data_checksums) == ("replica", True, True)
    assert facts.standby_minima["max_connections"] == 33
    ((name, location),) = facts.tablespaces.values()
    assert (name, location) == ("odd 'name'", f"{place}/space é")
    assert {"postgres", "shop", "template0", "template1"} == set(facts.databases.values())
    assert facts.bootstrap_superuser == "postgres"


def test_no_archive_command_is_empty(server: ServerFactory) -> None:
    """PostgreSQL shows "(disabled)" while archive_mode is off; nobody must take that for a command."""
    with session_of(server(NEWEST)) as session:
        assert session.facts().archive_command == ""


def test_a_name_in_another_encoding_does_not_break_anything(server: ServerFactory) -> None:
    """A database or a backup label of a LATIN1 cluster is bytes that are no UTF-8."""
    one = server(NEWEST, initdb=("-E", "LATIN1"))
    one.sql('CREATE DATABASE "caf\xe9"')

    with session_of(one) as session:
        assert r"caf\xe9" in session.facts().databases.values()


def test_the_grants_are_enough(server: ServerFactory, major: int) -> None:
    """A role without superuser rights does everything with exactly the statements that are printed."""
    one = server(major)
    quoted = ROLE.replace('"', '""')
    one.sql(f'CREATE ROLE "{quoted}" LOGIN')
    for statement in grants_for(ROLE):
        one.sql(statement)

    with Session(psycopg.conninfo.make_conninfo(one.dsn, user=ROLE)) as session:
        for deed in DEEDS.values():
            deed(session)
        assert session.missing_grants() == ()
        assert session.facts().role == ROLE


def test_each_grant_is_needed(server: ServerFactory, major: int) -> None:
    """Without any one of them something is refused, in one sentence and with the statement that helps."""
    one = server(major)
    for number, left_out in enumerate(GRANTS):
        role = f"backup{number}"
        one.sql(f"CREATE ROLE {role} LOGIN")
        for statement in GRANTS:
            if statement != left_out:
                one.sql(statement.format(role=role))

        refusals = refused_deeds(one.dsn_of(role))

        assert refusals, left_out
        for error in refusals:
            assert str(error).startswith(f"role '{role}' lacks 1 of the {len(GRANTS)} grants that pgvault needs: ")
            assert "\n" not in str(error)
            statement = left_out.format(role=f'"{role}"')
            assert error.hint == f"As a superuser, in database 'postgres': {statement};"


def test_no_grants_at_all_are_one_sentence(server: ServerFactory) -> None:
    """A fresh role is told everything at once, and PUBLIC rights are enough for the rest."""
    one = server(NEWEST)
    quoted = ROLE.replace('"', '""')
    one.sql(f'CREATE ROLE "{quoted}" LOGIN')

    refusals = refused_deeds(psycopg.conninfo.make_conninfo(one.dsn, user=ROLE))

    assert {error.hint for error in refusals} == {
        f"As a superuser, in database 'postgres': {'; '.join(grants_for(ROLE))};"
    }
    assert all(str(error).startswith(f"role '{ROLE}' lacks 5 of the 5 grants") for error in refusals)


def test_a_backup_starts_and_stops(server: ServerFactory, major: int) -> None:
    """Label and LSNs are PostgreSQL's own, to the byte; the checkpoint is the one on disk."""
    one = server(major)
    place = server.directory()
    one.sql(f"CREATE TABLESPACE s LOCATION '{place}'")

    with session_of(one) as session:
        start = session.start_backup("full é 'x'")
        checkpoint = session.control_positions()[0]
        on_disk = control(one, "Latest checkpoint location")
        redo = control(one, "Latest checkpoint's REDO location")
        stopped = session.stop_backup()

    assert (str(checkpoint), str(start)) == (on_disk, redo)
    assert start < stopped.stop_lsn
    assert stopped.label_file.startswith(f"START WAL LOCATION: {start} (file ".encode())
    assert "\nLABEL: full é 'x'\n".encode() in stopped.label_file
    assert stopped.tablespace_map.endswith(f" {place}\n".encode())


def test_a_backup_without_tablespaces_has_no_map(server: ServerFactory) -> None:
    """An empty map means that no file is to be written."""
    with session_of(server(NEWEST)) as session:
        session.start_backup("x")
        assert session.stop_backup().tablespace_map == b""


def test_stopping_does_not_wait_for_the_archive(server: ServerFactory) -> None:
    """A failing archive_command must not hold the session: what is in the repository is ours to check."""
    one = server(NEWEST, settings={"archive_mode": "on", "archive_command": "false"})

    with session_of(one) as session:
        session.start_backup("x")
        began = time.monotonic()
        session.stop_backup()
        assert time.monotonic() - began < 5
        session.switch_wal()
        while not read_archiver_statistics(session).failed_count:
            time.sleep(0.05)
        statistics = read_archiver_statistics(session)

    assert statistics.archived_count == 0
    assert statistics.last_failed_name is not None
    assert statistics.last_failed_at is not None
    assert abs(statistics.last_failed_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_timeouts_of_the_role_do_not_end_the_session(server: ServerFactory, major: int) -> None:
    """Every timeout that could end a long backup is off, whatever the role or the cluster sets."""
    one = server(major, settings={"idle_session_timeout": "100", "idle_in_transaction_session_timeout": "100"})
    one.sql("ALTER ROLE postgres SET statement_timeout = 100")
    if major >= 17:
        one.sql("ALTER ROLE postgres SET transaction_timeout = 100")

    with session_of(one) as session:
        session.start_backup("x")
        session.row("SELECT 1 FROM pg_sleep(0.4)")
        time.sleep(0.4)
        session.ping()
        session.stop_backup()


def test_a_terminated_session_is_no_backup(server: ServerFactory, major: int) -> None:
    """Who kills the session ends the backup; nothing reconnects and goes on."""
    one = server(major)

    with session_of(one) as session:
        session.start_backup("x")
        one.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgvault'")

        with pytest.raises(ServerUnreachable, match="session with PostgreSQL was lost: "):
            session.stop_backup()
        with pytest.raises(ServerUnreachable):
            session.ping()


def test_a_killed_server_is_a_lost_session(server: ServerFactory) -> None:
    """So is a crash of the whole server, even when it is back by the time we ask."""
    one = server(NEWEST)

    with session_of(one) as session:
        session.start_backup("x")
        one.kill()
        one.start()

        with pytest.raises(ServerUnreachable):
            session.ping()


def test_stopping_what_was_not_started_is_refused(server: ServerFactory) -> None:
    """PostgreSQL's own words, in one clause."""
    with (
        session_of(server(NEWEST)) as session,
        pytest.raises(ServerUnfit, match=r"^PostgreSQL refuses: backup is not in"),
    ):
        session.stop_backup()


def test_promotion_ends_a_backup_of_a_standby(server: ServerFactory, major: int) -> None:
    """A backup begun in recovery and stopped after it is none."""
    one = server(major, running=False)
    (one.data / "standby.signal").touch()
    one.start()

    with session_of(one) as session:
        assert session.facts().in_recovery
        session.start_backup("x")
        one.sql("SELECT pg_promote()")

        with pytest.raises(ServerUnfit, match="promoted during online backup"):
            session.stop_backup()

    with session_of(one) as session:
        assert session.facts().timeline == 2


def test_what_a_standby_can_not_do_is_said(server: ServerFactory) -> None:
    """Switching WAL is for the primary."""
    one = server(NEWEST, running=False)
    (one.data / "standby.signal").touch()
    one.start()

    with session_of(one) as session:
        assert not session.idle_watermark().is_idle
        with pytest.raises(ServerUnfit, match="recovery is in progress"):
            session.switch_wal()

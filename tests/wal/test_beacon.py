"""A server that has nothing to do commits now and then, and only then."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgvault.errors import ServerUnreachable
from pgvault.instants import SystemClock
from pgvault.postgres.connection import Connection
from pgvault.postgres.waldump import transactions
from pgvault.wal.beacon import APPLICATION_NAME, Beacon
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import copy_of, wait_until

pytestmark = pytest.mark.cluster

ROLE = "poor"


def beacon_of(server: Server, *, role: str = "postgres", every: timedelta = timedelta(seconds=10)) -> Beacon:
    dsn = f"{server.dsn_of(role)} connect_timeout=2"
    return Beacon(lambda: Connection(dsn), every=every, clock=SystemClock())


def commit_times(server: Server) -> list[datetime]:
    """The time of every commit in the segment that is being written."""
    name = str(server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    return [record.at for record in transactions(server.programs, server.data / "pg_wal", [name])]


def own_sessions(server: Server) -> list[tuple[object, ...]]:
    return server.sql(
        f"SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}'"
    )


def test_an_idle_server_commits_and_a_busy_one_is_left_alone(server: ServerFactory, major: int) -> None:
    """Without privileges, at wal_level replica; commits have the server's time, and leave nothing open."""
    one = server(major)
    assert one.value("SHOW wal_level") == "replica"
    one.sql(f"CREATE ROLE {ROLE} LOGIN NOINHERIT")
    beacon = beacon_of(one, role=ROLE)
    assert not beacon.beat()  # only looks
    before, known = datetime.now(UTC), commit_times(one)

    assert [beacon.beat() for _ in range(3)] == [True, True, True]

    new = commit_times(one)[len(known) :]
    assert len(new) == 3
    assert all(before <= at <= datetime.now(UTC) for at in new)
    assert own_sessions(one) == [("idle", None, None)]
    one.sql("CREATE TABLE t (a int)")
    assert not beacon.beat()
    assert beacon.beat()
    one.sql("SELECT 1; SELECT count(*) FROM pg_class")  # readers commit nothing
    assert beacon.beat()
    beacon.close()
    assert "permission denied" not in one.instance.log_text()


def test_it_waits_for_no_standby(server: ServerFactory) -> None:
    """With a synchronous standby that is not there every other commit hangs; the beacon's does not."""
    one = server(NEWEST, settings={"synchronous_standby_names": "nobody"})
    beacon = beacon_of(one)
    beacon.beat()

    began = time.monotonic()
    assert beacon.beat()

    assert time.monotonic() - began < 2
    with psycopg.connect(one.dsn, autocommit=True) as other:
        # No statement_timeout ends this wait: it is off by then.
        waiting = threading.Thread(target=other.execute, args=("SELECT pg_logical_emit_message(true, 'x', 'y')",))
        waiting.start()
        pid = f"pid = {other.info.backend_pid} AND wait_event = 'SyncRep'"
        wait_until(lambda: one.sql(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {pid}"))
        waiting.join(10)
    beacon.close()


def test_a_standby_is_left_alone_until_it_is_promoted(server: ServerFactory) -> None:
    """Nothing is even tried there: PostgreSQL would log an error each time."""
    one = server(NEWEST)
    copy = copy_of(one, server.directory())
    (copy / "standby.signal").touch()
    settings = {"primary_conninfo": one.dsn, "wal_retrieve_retry_interval": "100ms"}
    other = server.adopt(one.programs, copy, settings=settings)
    beacon = beacon_of(other)

    assert [beacon.beat() for _ in range(3)] == [False, False, False]
    assert "during recovery" not in other.instance.log_text()
    other.sql("SELECT pg_promote()")
    assert [beacon.beat() for _ in range(2)] == [False, True]
    beacon.close()


def test_a_lost_session_is_replaced(server: ServerFactory) -> None:
    """Its database may even be dropped by force; whatever ends the session is one failed beat."""
    one = server(NEWEST)
    beacon = beacon_of(one)
    beacon.beat()
    one.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}'")

    with pytest.raises(ServerUnreachable):
        beacon.beat()

    assert beacon.beat()
    beacon.close()


def test_it_runs_through_an_outage_and_says_each_change_once(
    server: ServerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when the server goes, one when it is back, none for beats."""
    one = server(NEWEST)
    stop = threading.Event()
    beacon = beacon_of(one, every=timedelta(milliseconds=50))
    caplog.set_level(logging.INFO, "pgvault.wal.beacon")
    thread = threading.Thread(target=beacon.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: len(commit_times(one)) > 3)
        one.kill()
        wait_until(lambda: any("gives no beacon" in message for message in caplog.messages))
        one.start()
        known = len(commit_times(one))
        wait_until(lambda: len(commit_times(one)) > known)
    finally:
        stop.set()
        thread.join(10)

    assert not thread.is_alive()
    said = [message.partition(":")[0] for message in caplog.messages]
    assert said[0] == said[-1] == "the server is a primary"
    assert set(said[1:-1]) == {"the server gives no beacon"}
    assert len(said) <= 6  # being lost, refused, and starting up again are different news
    assert own_sessions(one) == []

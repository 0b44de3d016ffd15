"""A snapshot sees the rows that its tables had, whatever is done to them before they are locked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from pgvault.logical.snapshot import taking_snapshot
from pgvault.postgres.dumping import DumpTarget
from pgvault.postgres.fingerprint import count_rows
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

WAIT = timedelta(seconds=20)
WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture(scope="module")
def server(servers: ServerFactory) -> Server:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    return servers(NEWEST)


@pytest.fixture
def fresh(server: Server) -> Iterator[Server]:
    """The server, with a table of 1,000 rows and one of 10."""
    server.sql("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g; CREATE TABLE other AS SELECT 1 AS g")
    yield server
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def target(server: Server) -> DumpTarget:
    return DumpTarget(server.programs, server.dsn, None, {})


def rows(server: Server) -> dict[str, int | None]:
    with taking_snapshot(target(server), lock_wait=WAIT) as taken:
        return {each.table: count_rows(taken.connection, each) for each in taken.tables}


@pytest.mark.parametrize(
    ("statement", "counted"),
    [
        ("ALTER TABLE t ALTER COLUMN g TYPE bigint", {"t": 1000, "other": 1}),
        ("ALTER TABLE t RENAME TO old; ALTER TABLE other RENAME TO t", {"old": 1000, "t": 1}),
        ("TRUNCATE t; INSERT INTO t SELECT 1 FROM generate_series(1, 7)", {"t": 7, "other": 1}),
    ],
)
def test_a_table_that_changes_between_snapshot_and_lock(fresh: Server, statement: str, counted: dict[str, int]) -> None:
    """Was rewritten: in the first snapshot it is empty for ever, so another one is taken."""
    with ThreadPoolExecutor(1) as pool, psycopg.connect(fresh.dsn) as other:
        other.execute("LOCK TABLE t, other")
        found = pool.submit(rows, fresh)
        wait_until(lambda: fresh.value(WAITS))
        other.execute(statement.encode())
        other.commit()

        assert found.result(30) == counted


def test_partitioned_tables_are_locked_before_their_partitions(fresh: Server) -> None:
    """A statement that got the parent would wait for us at a partition, and pg_dump for it at the parent."""
    fresh.sql("CREATE TABLE parent (a int) PARTITION BY LIST (a)")
    fresh.sql("CREATE TABLE a_part PARTITION OF parent FOR VALUES IN (1)")
    with taking_snapshot(target(fresh), lock_wait=WAIT), psycopg.connect(fresh.dsn) as other:
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("LOCK TABLE ONLY parent IN ACCESS EXCLUSIVE MODE")

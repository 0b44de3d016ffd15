"""One snapshot in one database: exported for pg_dump, and read by ourselves for rows and fingerprints.

Its session holds it from before pg_dump starts until pg_dump has ended, and the locks of what it will read: were they
taken later, a DROP TABLE that waits for pg_dump's lock would make us wait for it, and it for us.

A table that was truncated or rewritten after the snapshot was taken, and before its lock was, is empty to whoever reads
it in that snapshot, whatever rows it had. So where that happened another snapshot is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Self

import psycopg
from psycopg import IsolationLevel

from pgvault.errors import PgvaultError, ServerUnfit, ServerUnreachable
from pgvault.logical.tables import DatabaseConnection, large_objects_record, record
from pgvault.postgres.connection import EPOCH
from pgvault.postgres.dumping import DumpTarget
from pgvault.postgres.fingerprint import (
    TableName,
    ask,
    fingerprint_large_objects,
    fingerprint_table,
    list_tables,
    lock_tables,
    number,
    open_session,
    said,
    text,
)
from pgvault.postgres.lsn import Lsn
from pgvault.repository.tables import TableRecord

END_SECONDS = 20.0  # for a query that was canceled to end
TRIES = 5  # snapshots, until nobody changes a table between one and its locks

POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text
"""
PARENTS = """
SELECT c.oid, n.nspname::text, p.relname::text
  FROM pg_class c, pg_partition_ancestors(c.oid) AS a (oid), pg_class p, pg_namespace n
 WHERE c.relispartition AND c.relkind = 'r' AND p.oid = a.oid AND n.oid = p.relnamespace
"""
GONE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
# pg_dump locks them, too.
PARTITIONED = """
SELECT c.oid, n.nspname::text, c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'p' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
# pg_class is read in the snapshot; the functions know what is true by now.
CHANGED = """
SELECT n.nspname::text, c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ('{{{oids}}}'::oid[])
   AND (pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode
        OR CASE WHEN has_schema_privilege(n.oid, 'USAGE')
                THEN to_regclass(format('%I.%I', n.nspname, c.relname)) IS DISTINCT FROM c.oid::regclass END)
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a database, as long as its session lives."""

    connection: DatabaseConnection
    database_oid: int
    id: str  # for pg_dump
    taken_at: datetime  # server clock, right after it was taken
    lsn: Lsn | None  # None where the role may not ask
    tables: tuple[TableName, ...]  # with rows of their own; locked, where we may read them
    parents: dict[int, tuple[tuple[str, str], ...]]  # of a partition's oid: schema and table of what it is a part of


@contextmanager
def taking_snapshot(target: DumpTarget, *, lock_wait: timedelta, with_locks: bool = True) -> Iterator[Snapshot]:
    """Open a session, take and export a snapshot and lock all tables; all is let go at the end of the `with`.

    Raises ServerUnreachable, ServerUnfit where a table stays locked by somebody else for longer than `lock_wait`.
    """
    connection = open_session(target.dsn, password=target.password, lock_timeout=lock_wait)
    try:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with explaining(connection):
            for attempt in range(TRIES):
                with connection.transaction():
                    snapshot = _take(connection)
                    if with_locks and not _lock(snapshot, is_last=attempt == TRIES - 1):
                        continue
                    yield snapshot
                    ask(connection, "SELECT 1")  # it was there to the end
                    return
    finally:
        connection.close()


def _lock(snapshot: Snapshot, *, is_last: bool) -> bool:
    """Lock all tables; return whether they are still those that the snapshot sees. Raises ServerUnfit."""
    connection = snapshot.connection
    rows = ask(connection, PARTITIONED)
    partitioned = [TableName(number(oid), text(schema), text(table), 0) for oid, schema, table in rows]
    # As pg_dump: parents are mostly older than their children, and statements lock parents first.
    ordered = sorted((*partitioned, *snapshot.tables), key=lambda each: each.oid)
    try:
        with connection.transaction():
            lock_tables(connection, ordered)
    except ServerUnfit as error:
        if is_last or not isinstance(error.__cause__, GONE):
            raise
        return False
    changed = ask(connection, CHANGED.format(oids=",".join(str(each.oid) for each in snapshot.tables)))
    if changed and is_last:
        schema, table = map(text, changed[0])
        raise ServerUnfit(
            f"table '{schema}.{table}' was truncated, rewritten or replaced after each of {TRIES} snapshots",
            hint="In such a snapshot it is empty. Take the backup when nobody changes tables.",
        )
    return not changed


def _take(connection: DatabaseConnection) -> Snapshot:
    ((exported, microseconds),) = ask(
        connection, "SELECT pg_export_snapshot(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    )
    ((database_oid,),) = ask(connection, "SELECT oid FROM pg_database WHERE datname = current_database()")
    lsn = _position(connection)
    tables = list_tables(connection)
    parents: dict[int, tuple[tuple[str, str], ...]] = {}
    for oid, schema, table in ask(connection, PARENTS):
        parents[number(oid)] = (*parents.get(number(oid), ()), (text(schema), text(table)))
    at = EPOCH + timedelta(microseconds=number(microseconds))
    return Snapshot(connection, number(database_oid), text(exported), at, lsn, tuple(tables), parents)


def _position(connection: DatabaseConnection) -> Lsn | None:
    try:
        with connection.transaction():
            ((position,),) = ask(connection, POSITION)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
        return None
    return None if position is None else Lsn.parse(text(position))


@contextmanager
def explaining(connection: DatabaseConnection) -> Iterator[None]:
    """Say in our words what went wrong with a session."""
    try:
        yield
    except psycopg.Error as error:
        if connection.closed or (error.sqlstate or "08").startswith(("08", "57P")):
            raise ServerUnreachable(f"the session with PostgreSQL was lost: {said(error)}") from error
        raise ServerUnfit(f"PostgreSQL refuses: {said(error)}", hint=error.diag.message_hint) from error


class Fingerprints:
    """Rows and fingerprints of a snapshot's tables, read by a thread of its own; it ends with the `with`."""

    def __init__(self, snapshot: Snapshot, tables: tuple[TableName, ...]) -> None:
        self._snapshot = snapshot
        # pg_dump begins with the largest, too: what one has read the other finds in the server's memory.
        self._tables = sorted(tables, key=lambda each: -each.bytes)
        self._records: list[TableRecord] = []
        self._error: BaseException | None = None
        self._is_unwanted = Event()
        self._thread = Thread(target=self._run, name="fingerprints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_unwanted.set()
        if self._thread.is_alive():
            self._snapshot.connection.cancel_safe(timeout=END_SECONDS)
        self._thread.join(END_SECONDS)

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._error is not None:
            raise self._error

    @property
    def is_done(self) -> bool:
        """Whether all is read. Raises what went wrong."""
        is_over = not self._thread.is_alive()
        self.check()
        return is_over

    def records(self) -> list[TableRecord]:
        """Return the records, once all is read."""
        if not self.is_done:
            raise ServerUnfit("rows were not counted to the end")
        return self._records

    def _run(self) -> None:
        connection = self._snapshot.connection
        try:
            with explaining(connection):
                for each in self._tables:
                    if self._is_unwanted.is_set():
                        return
                    self._records.append(record(each, fingerprint_table(connection, each)))
                self._records.append(large_objects_record(fingerprint_large_objects(connection)))
        except PgvaultError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  another thread raises it
            self._error = error

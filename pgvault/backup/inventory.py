"""Note what the server holds while a physical backup ends: what a drill later compares a restored server with.

    look_before ─► pg_backup_stop ─► take_inventory       what is the same in both was there at the stop: *settled*

Plain catalog reads in short sessions of their own, one for each database and look, with short time limits: nothing
waits for us, and the backup waits for nobody. A database that can not be read is noted as such. Without an inventory a
backup is no less a backup, so nothing that the server says here fails one.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from pgvault.errors import PgvaultError, ServerUnfit
from pgvault.postgres.connection import Connection, read_lsn
from pgvault.postgres.inventory import (
    DatabaseEntry,
    ExtensionEntry,
    Raw,
    RelationEntry,
    RoleEntry,
    ServerEntry,
    UnreadEntry,
    read_collations,
    read_databases,
    read_extensions,
    read_relation_oids,
    read_relations,
    read_roles,
    read_server,
)
from pgvault.postgres.lsn import Lsn
from pgvault.repository.inventory import Entry, put_inventory
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

LIMITS = {"lock_timeout": "2s", "statement_timeout": "30s", "default_transaction_read_only": "on"}
LOOK_SECONDS = 60.0  # for all databases together; those that are left then are noted as unread
POSITION = """
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text
"""
STARTED = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"


@dataclass(slots=True)
class Before:
    """What was there shortly before pg_backup_stop."""

    roles: frozenset[RoleEntry] = frozenset()
    extensions: dict[int, frozenset[ExtensionEntry]] = field(default_factory=dict)  # by database
    relations: dict[int, array[int]] = field(default_factory=dict)  # oids, by database
    unread: dict[int, str] = field(default_factory=dict)  # databases that could not be read, and why
    lsn: Lsn | None = None  # where WAL stood when all of that had been read; None: not known

    def is_within(self, stop_lsn: Lsn) -> bool:
        """Whether a backup that stops there holds all of it: that of a standby may stop before."""
        return self.lsn is not None and self.lsn <= stop_lsn


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same in every database."""

    server: ServerEntry
    roles: tuple[RoleEntry, ...]
    databases: tuple[DatabaseEntry, ...]


def look_before(session: Connection) -> Before:
    """Note what is there now. Raises nothing for what the server says."""
    before = Before()
    deadline = time.monotonic() + LOOK_SECONDS
    try:
        with _beside(session) as raw:
            before.roles = frozenset(read_roles(raw))
            databases = read_databases(raw)
    except (PgvaultError, psycopg.Error, UnicodeError) as error:
        logger.debug("the inventory can not say what is settled: %s", _said(error))
        return before
    for database in databases:
        if database.connects:
            _note_before(session, database, before, deadline)
    try:
        (lsn,) = session.row(POSITION)
        before.lsn = read_lsn(lsn)
    except PgvaultError as error:
        logger.debug("the inventory can not say what is settled: %s", error)
    return before


def take_inventory(
    repository: Repository, session: Connection, before: Before, *, cluster: str, label: str
) -> tuple[Stored, ...]:
    """Store what is there now; returns nothing where the server does not say. Raises what the store raises."""
    try:
        with _beside(session) as raw:
            shared = _Shared(read_server(raw), tuple(read_roles(raw)), tuple(read_databases(raw)))
    except (PgvaultError, psycopg.Error, UnicodeError) as error:
        logger.warning("backup %s has no inventory: %s", label, _said(error))
        return ()
    return put_inventory(repository, cluster, label, _entries(session, shared, before))


def _entries(session: Connection, shared: _Shared, before: Before) -> Iterator[Entry]:
    yield shared.server
    for role in shared.roles:
        yield replace(role, is_settled=role in before.roles)
    deadline = time.monotonic() + LOOK_SECONDS
    for database in shared.databases:
        yield database
        if database.connects:
            yield from _inside(session, database, before, deadline)


def _inside(session: Connection, database: DatabaseEntry, before: Before, deadline: float) -> Iterator[Entry]:
    oid = database.oid
    extensions, relations = before.extensions.get(oid, frozenset()), frozenset(before.relations.get(oid, ()))
    if oid in before.unread:
        yield UnreadEntry(oid, before.unread[oid])
        return
    try:
        with _beside(session, database.name, deadline=deadline) as raw:
            for extension in read_extensions(raw, oid):
                yield replace(extension, is_settled=extension in extensions)
            yield from read_collations(raw, oid)
            for relation in read_relations(raw, oid):
                yield _settled(relation, relations)
    except (PgvaultError, psycopg.Error, UnicodeError) as error:
        yield UnreadEntry(oid, _said(error))


def _settled(relation: RelationEntry, before: frozenset[int]) -> RelationEntry:
    return replace(relation, is_settled=True) if relation.oid in before else relation


def _note_before(session: Connection, database: DatabaseEntry, before: Before, deadline: float) -> None:
    oid = database.oid
    try:
        with _beside(session, database.name, deadline=deadline) as raw:
            before.extensions[oid] = frozenset(read_extensions(raw, oid))
            before.relations[oid] = array("Q", read_relation_oids(raw))
    except (PgvaultError, psycopg.Error, UnicodeError) as error:
        before.unread[oid] = _said(error)


@contextmanager
def _beside(session: Connection, database: str | None = None, *, deadline: float | None = None) -> Iterator[Raw]:
    """Open a short session with the very server of `session`. Raises PgvaultError, psycopg.Error, UnicodeError."""
    if deadline is not None and time.monotonic() > deadline:
        raise ServerUnfit(f"there was no time for it: all databases together took {LOOK_SECONDS:g} s")
    raw = session.beside(database, limits=LIMITS)
    try:
        if raw.execute(STARTED.encode()).fetchone() != tuple(session.row(STARTED)):
            raise ServerUnfit("another server answers under this dsn")
        yield raw
    finally:
        raw.close()


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

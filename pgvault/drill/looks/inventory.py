"""What the server held when it was backed up is there: roles, extensions, relations, rows, size; sorted as it was.

The first of all looks: while nobody has written, the next transaction id tells whether one ended since the backup.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import psycopg

from pgvault.checks.result import CheckResult, NotTested, unproven
from pgvault.drill.collations import IndexAtRisk, Mismatch, check_indexes, find_mismatches, judge_collations
from pgvault.drill.drift import (
    LIKELY_ROWS,
    UNKNOWN,
    Compared,
    Loss,
    Since,
    compare_extensions,
    compare_relations,
    compare_roles,
    judge,
    judge_host,
    judge_size,
    should_have_rows,
)
from pgvault.drill.restored import Restored
from pgvault.errors import PgvaultError
from pgvault.postgres.connection import open_connection
from pgvault.postgres.fingerprint import quote
from pgvault.postgres.inventory import (
    CollationEntry,
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
    read_relations,
    read_roles,
    read_server,
)
from pgvault.repository.inventory import Entry, read_inventory

NO_INVENTORY = NotTested("roles, extensions, relations and rows against the backup: it has no inventory")
SIZE = """
SELECT (SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint + pg_tablespace_size('pg_global')
"""
EMPTY_SECONDS = 60  # for finding one row of a table


@dataclass(slots=True)
class Noted:
    """What the inventory has of one database."""

    database: DatabaseEntry
    extensions: list[ExtensionEntry] = field(default_factory=list)
    collations: dict[int, CollationEntry] = field(default_factory=dict)
    relations: list[RelationEntry] = field(default_factory=list)
    unread: str | None = None


@dataclass(slots=True)
class _Found:
    """What is gathered over all databases."""

    extensions: list[Compared] = field(default_factory=list)
    relations: list[Compared] = field(default_factory=list)
    rows: list[Compared] = field(default_factory=list)
    versions: int = 0  # collations that have one
    mismatches: list[Mismatch] = field(default_factory=list)
    indexes: list[IndexAtRisk] = field(default_factory=list)


def inventory(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Compare what was restored with the backup's inventory; without one only what the catalogs themselves record."""
    if restored.manifest is None:
        return
    try:
        yield from _look(restored, read_inventory(restored.repository, restored.manifest))
    except (PgvaultError, psycopg.Error) as error:
        yield unproven("inventory", str(error).strip().partition("\n")[0])


def _look(restored: Restored, entries: Iterator[Entry]) -> Iterator[CheckResult | NotTested]:
    began = time.monotonic()
    raw = open_connection(restored.dsn)
    try:
        here, roles, databases = read_server(raw), read_roles(raw), read_databases(raw)
        ((size,),) = raw.execute(SIZE.encode()).fetchall()
    finally:
        raw.close()
    server = next(entries, None)
    since = UNKNOWN
    if isinstance(server, ServerEntry):
        since = Since.of(server, restored.reached_lsn, here.next_xid)
    assert restored.manifest is not None
    assert isinstance(size, int)
    yield judge_size(restored.manifest.total_bytes, size, is_idle=since.is_idle, seconds=time.monotonic() - began)
    if isinstance(server, ServerEntry):
        yield judge_host(server, here, seconds=0)
    else:
        yield NO_INVENTORY
    noted_roles, groups = _split(entries)
    found, places = _Found(), {database.oid: database for database in databases}
    if isinstance(server, ServerEntry):
        yield judge("roles", "roles", compare_roles(noted_roles, roles), is_certain=since.is_within, seconds=0)
    for noted in groups:
        if noted.unread is not None:
            yield NotTested(f"database {noted.database.name!r} against the backup's inventory: {noted.unread}")
        place = places.pop(noted.database.oid, None)
        if place is None:
            settled = any(relation.is_settled for relation in noted.relations)
            found.relations.append(Compared(1, [Loss(f"database {noted.database.name!r}", settled)]))
        else:
            _look_inside(restored, place, noted, found)
    for database in places.values():  # made since the backup; or there is no inventory
        _look_inside(restored, database, None, found)
    yield from judge_collations(found.versions, found.mismatches, found.indexes, seconds=time.monotonic() - began)
    if isinstance(server, ServerEntry):
        for name, noun, compared, is_certain in (
            ("extensions", "extensions", found.extensions, since.is_within),
            ("relations", "relations", found.relations, since.is_within),
            ("rows", f"tables of more than {LIKELY_ROWS} rows", found.rows, since.is_idle),
        ):
            yield judge(name, noun, _sum(compared), is_certain=is_certain, seconds=time.monotonic() - began)


def _split(entries: Iterator[Entry]) -> tuple[list[RoleEntry], Iterator[Noted]]:
    """Return the roles, and the databases one after another: no more than one of them is in memory."""
    roles: list[RoleEntry] = []
    for entry in entries:
        if not isinstance(entry, RoleEntry):
            return roles, _databases(chain([entry], entries))
        roles.append(entry)
    return roles, iter(())


def _databases(entries: Iterator[Entry]) -> Iterator[Noted]:
    noted: Noted | None = None
    for entry in entries:
        match entry:
            case DatabaseEntry():
                if noted is not None:
                    yield noted
                noted = Noted(entry)
            case _ if noted is None:
                continue
            case UnreadEntry():
                noted.unread = entry.why
            case ExtensionEntry():
                noted.extensions.append(entry)
            case CollationEntry():
                noted.collations[entry.oid] = entry
            case RelationEntry():
                noted.relations.append(entry)
    if noted is not None:
        yield noted


def _look_inside(restored: Restored, database: DatabaseEntry, noted: Noted | None, found: _Found) -> None:
    if not database.connects:
        return
    raw = open_connection(restored.dsn, database=database.name)
    try:
        collations = read_collations(raw, database.oid)
        found.versions += sum(version is not None for version in (database.recorded, *(c.recorded for c in collations)))
        mismatches = find_mismatches(
            database,
            collations,
            noted_database=None if noted is None else noted.database,
            noted={} if noted is None else noted.collations,
        )
        if noted is not None:
            extensions = read_extensions(raw, database.oid)
            found.extensions.append(compare_extensions(database.name, noted.extensions, extensions))
            relations = {relation.oid: relation for relation in read_relations(raw, database.oid)}
            found.relations.append(compare_relations(database.name, noted.relations, relations))
            full = [relation for relation in noted.relations if should_have_rows(relation, relations)]
            now = [relations[relation.oid] for relation in full]
            found.rows.append(_emptied(raw, database.name, full, now))
        if mismatches:
            found.mismatches += mismatches
            found.indexes += check_indexes(raw, database.name, mismatches)
    finally:
        raw.close()


def _emptied(raw: Raw, database: str, noted: Sequence[RelationEntry], now: Sequence[RelationEntry]) -> Compared:
    """Return which of these tables have no row; what can not be read is pg_amcheck's to tell."""
    losses, count = [], 0
    raw.execute(f"SET statement_timeout = '{EMPTY_SECONDS}s'".encode())
    for was, here in zip(noted, now, strict=True):
        name = f"{quote(here.schema)}.{quote(here.name)}"
        try:
            row = raw.execute(f"SELECT 1 FROM ONLY {name} LIMIT 1".encode("utf-8", "surrogateescape")).fetchone()
        except psycopg.Error:
            if raw.closed:
                raise
            continue
        count += 1
        if row is None:
            losses.append(Loss(f"{here} in {database!r} is empty and had {was.likely_rows} rows", was.is_settled))
    raw.execute("SET statement_timeout = 0")
    return Compared(count, losses)


def _sum(compared: Sequence[Compared]) -> Compared:
    return Compared(sum(each.count for each in compared), [loss for each in compared for loss in each.losses])

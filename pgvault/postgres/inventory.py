"""What a server holds, by its catalogs alone: roles, databases, extensions, collations, relations.

Nothing here reads a user's table or asks the file system: rows and pages are what the planner and the statistics
believe. Every query takes AccessShare on catalogs and nothing else. The same functions read the server that is backed
up and the restored one, so that both say it in the same words. Text is decoded as UTF-8; bytes that are none survive
as lone surrogates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg

from pgvault.postgres.connection import read_instant, read_lsn, read_number, read_path
from pgvault.postgres.lsn import Lsn

Raw = psycopg.Connection[tuple[object, ...]]  # with text as bytes, as open_connection makes it

SETTINGS = ("dynamic_library_path", "shared_preload_libraries")
ATTRIBUTES = ("bypassrls", "createdb", "createrole", "inherit", "login", "replication", "superuser")
PROVIDERS = {b"b": "builtin", b"c": "libc", b"d": "default", b"i": "icu"}
FIRST_USER_OID = 16384

ROLES = """
SELECT r.rolname, r.rolbypassrls, r.rolcreatedb, r.rolcreaterole, r.rolinherit, r.rolcanlogin, r.rolreplication,
       r.rolsuper, r.rolconnlimit,
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid)
FROM pg_roles r WHERE r.oid = 10 OR r.oid >= 16384 ORDER BY r.oid
"""
# Columns were renamed twice: daticulocale came in 15, and became datlocale in 17.
DATABASES = """
SELECT d.oid::bigint, d.datname, pg_encoding_to_char(d.encoding), d.datlocprovider, d.datcollate, d.datctype,
       coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), d.datcollversion,
       pg_database_collation_actual_version(d.oid), d.datallowconn AND d.datconnlimit <> -2
FROM pg_database d ORDER BY d.oid
"""
EXTENSIONS = """
SELECT e.extname, e.extversion, n.nspname, a.default_version
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
LEFT JOIN pg_available_extensions a ON a.name = e.extname ORDER BY e.extname
"""
COLLATIONS = """
SELECT c.oid::bigint, n.nspname, c.collname, c.collprovider, c.collversion, pg_collation_actual_version(c.oid)
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE c.collprovider <> 'd' AND c.collversion IS NOT NULL AND (c.oid >= 16384 OR c.oid IN (
    SELECT unnest(i.indcollation::oid[]) FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace <> 'pg_catalog'::regnamespace
    UNION SELECT unnest(p.partcollation::oid[]) FROM pg_partitioned_table p))
ORDER BY c.oid
"""
PROVIDER_VERSIONS = """
SELECT p.provider, (SELECT pg_collation_actual_version(c.oid) FROM pg_collation c
                    WHERE c.collprovider = p.provider AND c.collversion IS NOT NULL LIMIT 1)
FROM (VALUES ('c'::"char"), ('i'::"char")) p (provider)
"""
RELATIONS = """
SELECT c.oid::bigint, c.relfilenode::bigint, c.relkind, n.nspname, c.relname, c.reltuples::float8,
       coalesce(pg_stat_get_live_tuples(c.oid), 0), c.relpages::bigint, c.relpersistence = 'p'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY c.oid
"""
RELATION_OIDS = """
SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""
STATE = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint, version()
"""


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """The server, and the moment at which it was asked."""

    version: str  # as version() says it
    read_at: datetime  # server clock
    lsn: Lsn  # WAL insert position, on a standby that of its replay; not later than what was read
    next_xid: int  # 64-bit, not later than what was read
    settings: Mapping[str, str] = field(default_factory=dict)
    libc: str | None = None  # version of that provider's collations; None: it has none
    icu: str | None = None


@dataclass(frozen=True, slots=True)
class RoleEntry:
    """A role, less what the server comes with."""

    name: str
    attributes: tuple[str, ...]  # of ATTRIBUTES, those it has, sorted
    connection_limit: int  # -1: none
    member_of: tuple[str, ...]  # sorted
    is_settled: bool = False  # it was there before pg_backup_stop, and after


@dataclass(frozen=True, slots=True)
class DatabaseEntry:
    """A database."""

    oid: int
    name: str
    encoding: str
    provider: str  # libc, icu, builtin
    collate: str
    ctype: str
    locale: str | None  # of icu and builtin
    recorded: str | None  # version of its collation as the catalog has it; None: it has none
    actual: str | None  # … as the provider has it
    connects: bool


@dataclass(frozen=True, slots=True)
class UnreadEntry:
    """A database of which nothing, or nothing more, is known."""

    database: int  # oid
    why: str


@dataclass(frozen=True, slots=True)
class ExtensionEntry:
    """An installed extension."""

    database: int  # oid
    name: str
    version: str
    schema: str
    available: str | None  # default version of the files on the host; None: there are none
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class CollationEntry:
    """A collation by which something is sorted, with a version."""

    database: int  # oid
    oid: int
    schema: str
    name: str
    provider: str
    recorded: str | None
    actual: str | None


@dataclass(frozen=True, slots=True)
class RelationEntry:
    """A relation of users."""

    database: int  # oid
    oid: int
    filenode: int  # 0: it has no file
    kind: str  # pg_class.relkind
    schema: str
    name: str
    rows: float | None  # estimated when it was last analysed; None: never
    live: int  # counted by the statistics; 0 also where these were lost
    pages: int  # estimated
    is_logged: bool  # False: empty after a restore
    is_settled: bool = False

    @property
    def likely_rows(self) -> int:
        """Rows that both estimates agree on, at least: one of them alone may be long out of date."""
        return self.live if self.rows is None else min(self.live, int(self.rows))

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def read_server(connection: Raw) -> ServerEntry:
    """Return what the server is, and the moment before which nothing that is read later was read."""
    at, lsn, next_xid, version = _row(connection, STATE)
    settings = {_text(name): _text(value) for name, value in _settings(connection)}
    versions = {PROVIDERS[_bytes(name)]: _optional(value) for name, value in _rows(connection, PROVIDER_VERSIONS)}
    return ServerEntry(
        version=_text(version),
        read_at=read_instant(at),
        lsn=read_lsn(lsn),
        next_xid=read_number(next_xid),
        settings=settings,
        libc=versions["libc"],
        icu=versions["icu"],
    )


def read_roles(connection: Raw) -> list[RoleEntry]:
    """Return the roles, less predefined ones."""
    roles = []
    for name, *values in _rows(connection, ROLES):
        *held, limit, member_of = values
        attributes = tuple(word for word, is_held in zip(ATTRIBUTES, held, strict=True) if is_held)
        roles.append(RoleEntry(_text(name), attributes, _integer(limit), tuple(sorted(map(_text, _list(member_of))))))
    return roles


def read_databases(connection: Raw) -> list[DatabaseEntry]:
    """Return every database, template0 too."""
    return [
        DatabaseEntry(
            read_number(oid),
            _text(name),
            _text(encoding),
            PROVIDERS[_bytes(provider)],
            _text(collate),
            _text(ctype),
            _optional(locale),
            _optional(recorded),
            _optional(actual),
            bool(connects),
        )
        for oid, name, encoding, provider, collate, ctype, locale, recorded, actual, connects in _rows(
            connection, DATABASES
        )
    ]


def read_extensions(connection: Raw, database: int) -> list[ExtensionEntry]:
    """Return the extensions of the database that we are connected to; `database` is its oid."""
    return [
        ExtensionEntry(database, _text(name), _text(version), _text(schema), _optional(available))
        for name, version, schema, available in _rows(connection, EXTENSIONS)
    ]


def read_collations(connection: Raw, database: int) -> list[CollationEntry]:
    """Return the collations with a version by which indexes and partitions of users are sorted."""
    return [
        CollationEntry(
            database,
            read_number(oid),
            _text(schema),
            _text(name),
            PROVIDERS[_bytes(provider)],
            _optional(recorded),
            _optional(actual),
        )
        for oid, schema, name, provider, recorded, actual in _rows(connection, COLLATIONS)
    ]


def read_relations(connection: Raw, database: int) -> Iterator[RelationEntry]:
    """Yield the relations of users, one row in memory at a time."""
    with connection.cursor() as cursor:
        for oid, filenode, kind, schema, name, rows, live, pages, is_logged in cursor.stream(RELATIONS.encode()):
            yield RelationEntry(
                database,
                read_number(oid),
                read_number(filenode),
                _text(kind),
                _text(schema),
                _text(name),
                rows if isinstance(rows, float) and rows >= 0 else None,
                read_number(live),
                read_number(pages),
                bool(is_logged),
            )


def read_relation_oids(connection: Raw) -> list[int]:
    """Return the oids of the relations of users."""
    return [read_number(oid) for (oid,) in _rows(connection, RELATION_OIDS)]


def read_next_xid(connection: Raw) -> int:
    """Return the 64-bit id that the next transaction gets, at least."""
    return read_number(_row(connection, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0])


def _settings(connection: Raw) -> list[tuple[object, ...]]:
    query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
    return connection.execute(query, [list(SETTINGS)]).fetchall()


def _rows(connection: Raw, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


def _row(connection: Raw, query: str) -> Sequence[object]:
    (row,) = _rows(connection, query)
    return row


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def _text(value: object) -> str:
    return read_path(_bytes(value))


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _integer(value: object) -> int:
    return value if isinstance(value, int) else int(_text(value))


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()

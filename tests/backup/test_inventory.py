from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgvault.backup.inventory import look_before, take_inventory
from pgvault.monitor.check import inventory_finding
from pgvault.monitor.finding import Level
from pgvault.postgres.inventory import (
    CollationEntry,
    DatabaseEntry,
    ExtensionEntry,
    RelationEntry,
    RoleEntry,
    ServerEntry,
    UnreadEntry,
)
from pgvault.postgres.server import Session
from pgvault.repository.inventory import Entry, read_inventory
from pgvault.repository.repository import Repository
from tests.repository.samples import LABEL, make_manifest
from tests.servers import NEWEST_OR_CI, Server, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


@pytest.fixture(
    scope="module", params=NEWEST_OR_CI or [pytest.param(0, marks=pytest.mark.skip(reason="no PostgreSQL"))]
)
def held(request: pytest.FixtureRequest, templates: Path) -> Iterator[Server]:
    """A server with something of everything, and a role that may do little."""
    factory = ServerFactory(templates)
    try:
        server = factory(request.param, settings={"archive_mode": "on", "archive_command": "true"})
        server.sql("CREATE ROLE reader LOGIN; GRANT pg_read_all_settings TO reader")
        server.sql('CREATE ROLE "app – Käse" CREATEDB CONNECTION LIMIT 7; GRANT pg_monitor TO "app – Käse"')
        server.sql("CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT 1, 'x'")
        server.sql("INSERT INTO orders SELECT n, 'x' FROM generate_series(2, 2000) n; ANALYZE orders")
        server.sql("CREATE UNLOGGED TABLE scratch (id int); CREATE VIEW seen AS SELECT 1 AS one")
        server.sql("CREATE EXTENSION pageinspect")
        server.sql("CREATE DATABASE closed")
        server.sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        yield server
    finally:
        factory.clear()


def taken(repository: Repository, server: Server, *, between: str = "SELECT 1", role: str = "reader") -> list[Entry]:
    """The inventory as a backup takes it; `between` happens between its two looks."""
    with Session(server.dsn_of(role)) as session:
        before = look_before(session)
        server.sql(between)
        stored = take_inventory(repository, session, before, cluster="main", label=LABEL)
    return list(read_inventory(repository, make_manifest(inventory=stored)))


def test_it_holds_what_the_server_holds(repository: Repository, held: Server) -> None:
    """By a role that may read settings and connect, and nothing else."""
    entries = taken(repository, held)

    (server,) = (entry for entry in entries if isinstance(entry, ServerEntry))
    roles = {entry.name: entry for entry in entries if isinstance(entry, RoleEntry)}
    databases = {entry.name: entry for entry in entries if isinstance(entry, DatabaseEntry)}
    ours = databases["postgres"].oid
    relations = {str(entry): entry for entry in entries if isinstance(entry, RelationEntry) and entry.database == ours}
    extensions = {(entry.database, entry.name): entry for entry in entries if isinstance(entry, ExtensionEntry)}
    assert entries[0] is server
    assert server.version.startswith(f"PostgreSQL {held.programs.minor_text}")
    assert set(server.settings) == {"dynamic_library_path", "shared_preload_libraries"}
    assert roles["app – Käse"] == RoleEntry("app – Käse", ("createdb", "inherit"), 7, ("pg_monitor",), is_settled=True)
    assert {"postgres", "reader"} < set(roles)
    assert set(databases) == {"postgres", "template0", "template1", "closed"}
    assert not databases["template0"].connects
    assert relations["public.orders"].rows == relations["public.orders"].live == 2000
    assert relations["public.orders"].pages > 0
    assert [relations[f"public.{name}"].kind for name in ("orders", "orders_pkey", "seen")] == ["r", "i", "v"]
    assert not relations["public.scratch"].is_logged
    assert all(relation.is_settled for relation in relations.values())
    assert extensions[ours, "pageinspect"].available is not None
    assert extensions[ours, "pageinspect"].is_settled
    (unread,) = (entry for entry in entries if isinstance(entry, UnreadEntry))
    assert unread.database == databases["closed"].oid
    assert "permission denied" in unread.why


def test_what_changes_meanwhile_is_not_settled(repository: Repository, held: Server) -> None:
    """Made in between: there, but maybe after the stop. Dropped in between: not there."""
    held.sql("CREATE TABLE goes (id int)")
    between = "DROP TABLE goes; CREATE TABLE comes (id int); CREATE ROLE newcomer; ALTER ROLE reader CREATEDB"

    entries = taken(repository, held, between=between)

    relations = {str(entry): entry.is_settled for entry in entries if isinstance(entry, RelationEntry)}
    roles = {entry.name: entry.is_settled for entry in entries if isinstance(entry, RoleEntry)}
    assert "public.goes" not in relations
    assert not relations["public.comes"]
    assert relations["public.orders"]
    assert not roles["newcomer"]
    assert not roles["reader"]
    assert roles["postgres"]


def test_collations_that_sort_something_are_in_it(repository: Repository, held: Server) -> None:
    """With the version that was recorded and the one that the provider has."""
    if held.programs.major < 17:
        pytest.skip("no collation provider with versions everywhere")
    held.sql("CREATE COLLATION ours (provider = builtin, locale = 'C.UTF-8')")
    held.sql("UPDATE pg_collation SET collversion = '0' WHERE collname = 'ours'")

    (collation,) = (entry for entry in taken(repository, held) if isinstance(entry, CollationEntry))

    assert (collation.schema, collation.name, collation.provider) == ("public", "ours", "builtin")
    assert (collation.recorded, collation.actual) == ("0", "1")


def test_a_locked_catalog_is_noted_and_hinders_nothing(repository: Repository, held: Server) -> None:
    """Who rewrites pg_class has a lock that every query would wait for: that database is unread after two seconds."""
    with psycopg.connect(held.dsn_of("postgres", "template1")) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_extension IN ACCESS EXCLUSIVE MODE")
        entries = taken(repository, held)

    unread = {entry.database: entry.why for entry in entries if isinstance(entry, UnreadEntry)}
    assert "lock timeout" in unread[1]
    assert any(isinstance(entry, RelationEntry) for entry in entries)


def test_a_server_that_says_nothing_leaves_no_inventory(repository: Repository, held: Server) -> None:
    """The backup goes on without one."""
    held.sql("CREATE ROLE alone LOGIN IN ROLE pg_read_all_settings")
    with Session(held.dsn_of("alone")) as session:
        before = look_before(session)
        held.sql("ALTER ROLE alone CONNECTION LIMIT 1")

        assert take_inventory(repository, session, before, cluster="main", label=LABEL) == ()


def test_check_warns_of_databases_that_will_not_be_noted(held: Server) -> None:
    """It is no error: backups do without."""
    with Session(held.dsn_of("reader")) as session:
        finding = inventory_finding(session)
    with Session(held.dsn) as session:
        fine = inventory_finding(session)

    assert finding.level is Level.WARN
    assert finding.detail == "the role may not connect to 'closed'"
    assert fine.level is Level.OK

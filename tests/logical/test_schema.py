from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.drill.loading import prove_loads
from pgvault.errors import DrillFailed, DrillNotRun
from pgvault.instants import SystemClock
from pgvault.logical.definitions import normalised, schema_digest
from pgvault.logical.request import LogicalRequest
from pgvault.logical.schema import Definitions, SchemaTaken, diff_schemas, find_same, schema_backups, take_schema
from pgvault.process import run
from pgvault.progress import NoProgress
from pgvault.repository.catalog import read_catalog
from pgvault.repository.logical import LogicalManifest, LogicalType
from tests.archive import Archive, make_archive
from tests.repository import logicals
from tests.servers import MAJORS, NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

SHOP = r"""
CREATE ROLE app;
CREATE TABLE orders (id int PRIMARY KEY, what text DEFAULT 'x', gone int);
CREATE FUNCTION body() RETURNS text LANGUAGE sql AS $$ SELECT '
-- not a comment
\restrict no
SET this = that;
' $$;
COMMENT ON TABLE orders IS 'old';
CREATE VIEW totals AS SELECT count(*) FROM orders;
"""
CHANGES = (
    "ALTER TABLE orders ALTER what SET DEFAULT 'y'",
    "CREATE DATABASE other",
    "DROP DATABASE other",
)
MORE_CHANGES = (
    "CREATE INDEX orders_what ON orders (what)",
    "ALTER TABLE orders DROP gone",
    "GRANT SELECT ON orders TO app",
    "COMMENT ON TABLE orders IS 'new'",
    "ALTER TABLE orders SET TABLESPACE fast",
    "CREATE OR REPLACE FUNCTION body() RETURNS text LANGUAGE sql AS $$ SELECT '\n-- no comment\n' $$",
    "CREATE OR REPLACE FUNCTION body() RETURNS text LANGUAGE sql AS $$ SELECT '\n-- no Comment\n' $$",
    "ALTER TABLE orders OWNER TO app",
    "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
)


@pytest.fixture(scope="module")
def factory(templates: Path) -> Iterator[ServerFactory]:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    made = ServerFactory(templates)
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture(scope="module")
def shop(factory: ServerFactory) -> Server:
    """A server with one table and what belongs to it, and a tablespace of its own."""
    one = factory(NEWEST)
    place = factory.directory()
    one.sql(f"CREATE TABLESPACE fast LOCATION '{place}'")
    one.sql(SHOP)
    return one


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return make_archive(tmp_path)


def request_for(server: Server) -> LogicalRequest:
    return LogicalRequest("main", server.dsn, None, type=LogicalType.SCHEMA)


def take(server: Server, archive: Archive, *, scratch: Path | None = None) -> SchemaTaken:
    """Take a schema backup; with a scratch place it is loaded first."""

    def prove(definitions: Definitions) -> None:
        prove_loads(definitions, scratch=scratch)
        assert scratch is not None
        assert list(scratch.iterdir()) == []

    return take_schema(
        archive.repository,
        request_for(server),
        prove=None if scratch is None else prove,
        clock=SystemClock(),
        progress=NoProgress(),
    )


def test_only_what_changed_is_stored(shop: Server, archive: Archive, factory: ServerFactory) -> None:
    """A run without a change stores nothing; a change makes a backup, and the diff shows it."""
    first = take(shop, archive, scratch=factory.directory())
    again = take(shop, archive, scratch=factory.directory())

    assert (first.is_new, first.manifest.is_loaded) == (True, True)
    assert (again.is_new, again.manifest) == (False, first.manifest)
    assert len(archive.repository.deciding.store.children("clusters/main/backups")) == 1

    taken = [first.manifest]
    for change in CHANGES:
        shop.sql(change)
        done = take(shop, archive)
        assert done.is_new, change
        taken.append(done.manifest)
    shop.sql("INSERT INTO orders SELECT generate_series(1, 1000)")
    assert not take(shop, archive).is_new, "rows are no definitions"

    assert schema_backups(read_catalog(archive.repository, "main")) == taken
    default = [diff.lines for diff in diff_schemas(archive.repository, taken[0], taken[1])]
    assert len(default) == 1
    assert "-    what text DEFAULT 'x'::text," in default[0]
    assert "+    what text DEFAULT 'y'::text," in default[0]
    added = list(diff_schemas(archive.repository, taken[-3], taken[-2]))
    assert [(each.database, each.change) for each in added] == [("other", "added")]
    assert list(diff_schemas(archive.repository, taken[-1], taken[-3])) == []


@pytest.mark.endurance
def test_every_kind_of_change_is_noticed(shop: Server, archive: Archive) -> None:
    """Each is one more schema backup; one byte inside of a function, too."""
    assert take(shop, archive).is_new
    for change in MORE_CHANGES:
        shop.sql(change)
        assert take(shop, archive).is_new, change
        assert not take(shop, archive).is_new, change


def held(*names: str) -> LogicalManifest:
    """A schema backup of databases, each with definitions that its name stands for: app2 is a later app."""
    databases = tuple(
        replace(logicals.SHOP, oid=16384 + number, name=name[:3], schema_sha256=name.encode().ljust(32))
        for number, name in enumerate(names)
    )
    return replace(logicals.LOGICAL, type=LogicalType.SCHEMA, databases=databases)


@pytest.mark.parametrize(
    ("kept", "now", "whole", "part"),
    [
        ([("app", "crm")], ("app", "crm"), 0, 0),
        ([("app",), ("crm",)], ("app",), None, 0),
        ([("app", "crm")], ("app",), None, 0),
        ([("app",), ("app2",)], ("app",), None, None),
        ([("app", "crm"), ("app2",)], ("crm",), None, 0),
        ([("app",), ("crm",)], ("app", "crm"), None, None),
        ([], ("app",), None, None),
    ],
)
def test_named_databases_are_compared_with_what_was_kept_of_them(
    kept: list[tuple[str, ...]], now: tuple[str, ...], whole: int | None, part: int | None
) -> None:
    """Runs that take turns with one database each keep nothing twice; a change back is a change."""
    backups = [held(*names) for names in kept]

    for is_part, place in ((False, whole), (True, part)):
        found = find_same(backups, held(*now).databases, is_part=is_part)

        assert found is (None if place is None else backups[place])


@pytest.mark.endurance
def test_an_unproven_one_is_taken_again_with_proof(factory: ServerFactory, tmp_path: Path) -> None:
    """What was kept without being loaded is not settled once loading is wanted."""
    server, archive = factory(NEWEST), make_archive(tmp_path)

    unproven = take(server, archive)
    proven = take(server, archive, scratch=factory.directory())

    assert (unproven.manifest.is_loaded, proven.is_new, proven.manifest.is_loaded) == (False, True, True)
    assert not take(server, archive).is_new


def test_a_schema_that_does_not_load_is_not_kept(shop: Server, factory: ServerFactory, tmp_path: Path) -> None:
    """The error says what PostgreSQL said, nothing is listed, and the scratch is gone."""
    archive, scratch = make_archive(tmp_path), factory.directory()

    def prove(definitions: Definitions) -> None:
        broken = tuple((each, sql + b"\nCREATE VIEW v AS SELECT two();\n") for each, sql in definitions.databases)
        prove_loads(replace(definitions, databases=broken), scratch=scratch)

    with pytest.raises(DrillFailed, match=r"database 'postgres' do not load.*function two\(\) does not exist"):
        take_schema(archive.repository, request_for(shop), prove=prove, clock=SystemClock(), progress=NoProgress())

    assert schema_backups(read_catalog(archive.repository, "main")) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.endurance
def test_what_this_host_lacks_is_said(factory: ServerFactory) -> None:
    """An extension that is not here says nothing about the schema."""
    definitions = definitions_of(b"CREATE EXTENSION IF NOT EXISTS parcels WITH SCHEMA public;\n")

    with pytest.raises(DrillNotRun, match="extension 'parcels' is not installed here") as caught:
        prove_loads(definitions, scratch=factory.directory())

    assert "load_schema: false" in str(caught.value.hint)


def definitions_of(sql: bytes) -> Definitions:
    """One database with these definitions."""
    return Definitions(NEWEST, b"CREATE ROLE postgres;\n", ((replace(logicals.SHOP, name="shop"), sql),))


@pytest.mark.endurance
@pytest.mark.parametrize("major", MAJORS)
def test_a_digest_does_not_depend_on_the_run(server: ServerFactory, major: int) -> None:
    """Two dumps are equal, with whatever token and version; the function's body is kept to the byte."""
    one = server(major)
    one.sql(SHOP)
    argv: list[str | Path] = [one.programs.path("pg_dump"), "--schema-only", f"--dbname={one.dsn}"]

    first, second = run(argv, timeout=60).encode(), run(argv, timeout=60).encode()

    assert schema_digest(first) == schema_digest(second)
    other = re.sub(rb"version 1[5-8]\.[0-9]+", b"version 18.99", first)
    assert schema_digest(other) == schema_digest(first)
    assert b"\\restrict no\nSET this = that;\n" in normalised(first)

"""What --clean drops, and where to: nothing that the backup does not bring back, in no other database than is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import Refused, ServerUnfit, UsageError
from pgvault.logical import dropping
from pgvault.logical.restore import LogicalRestored, restore_into
from pgvault.logical.restoreplan import LogicalOrder, plan_logical
from pgvault.logical.target import Target
from pgvault.progress import NoProgress
from pgvault.repository.logical import LogicalManifest, LogicalType
from tests.archive import Archive, make_archive
from tests.logical.dumps import dump
from tests.servers import NEWEST, Server, ServerFactory

TYPE = """
    CREATE TYPE odd;
    CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE TYPE odd (input = odd_in, output = odd_out);
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE TYPE pair AS (a int, b span);
    CREATE DOMAIN few AS int CHECK (value < 9);
    CREATE FUNCTION less(few, pair) RETURNS span LANGUAGE sql AS 'SELECT $2.b';
"""
SHOP = f"""
    {TYPE}
    CREATE TABLE events (at int, kind odd) PARTITION BY RANGE (at);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
    INSERT INTO events SELECT g, 'a' FROM generate_series(0, 9) g;
    CREATE TABLE other (id int);
    INSERT INTO other VALUES (1);
    ALTER TABLE other ENABLE ROW LEVEL SECURITY;
    CREATE ROLE reader;
    CREATE POLICY mine ON other TO reader USING (true);
"""


class Place:
    """A server whose databases shop and crm were backed up, and into which they are restored."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        for name in ("shop", "crm"):
            server.sql(f"CREATE DATABASE {name}")
        server.sql(SHOP, database="shop")
        server.sql("CREATE TABLE people AS SELECT 1 AS id", database="crm")
        server.sql("CREATE EXTENSION hstore", database="crm")
        self.archive: Archive = make_archive(directory)
        self.manifest: LogicalManifest = dump(self.archive.repository, server, directory, ("shop", "crm"))
        label = "20251025T100000Z-0001"
        options = ("--exclude-table-data=other",)
        self.of_class = dump(
            self.archive.repository, server, directory, label=label, class_name="vital", options=options
        )

    def order(self, database: str | None, **more: object) -> LogicalOrder:
        dsn = self.server.dsn if database is None else self.server.dsn_of("postgres", database)
        if database is None:
            dsn = " ".join(word for word in dsn.split() if not word.startswith("dbname="))
        return replace(LogicalOrder(dsn=dsn, has_globals=False), **more)  # type: ignore[arg-type]

    def restore(self, order: LogicalOrder, manifest: LogicalManifest | None = None) -> LogicalRestored:
        return restore_into(self.archive.repository, manifest or self.manifest, order, progress=NoProgress())

    def filled(self, name: str) -> str:
        """A new database with what is in shop."""
        self.server.sql(f"CREATE DATABASE {name} TEMPLATE shop")
        return name


@pytest.fixture(scope="module")
def place(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(servers(NEWEST), tmp_path_factory.mktemp("dropping"))


def test_a_partition_that_is_newer_than_the_backup_is_not_dropped(place: Place) -> None:
    """DROP TABLE takes every partition along, without a word."""
    name = place.filled("newer")
    place.server.sql("CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20)", database=name)
    place.server.sql("INSERT INTO events VALUES (11, 'b')", database=name)

    with pytest.raises(Refused, match=r"would drop table or view public\.events_2"):
        place.restore(place.order(name, databases=("shop",), is_cleaned=True))

    assert place.server.value("SELECT count(*) FROM events", database=name) == 11


@pytest.mark.endurance
def test_a_column_of_a_base_type_is_not_dropped(place: Place) -> None:
    """A base type is dropped with CASCADE, since its functions need it."""
    name = place.filled("typed")
    place.server.sql("CREATE TABLE mine (id int, value odd)", database=name)

    with pytest.raises(Refused, match=r"would drop column public\.mine\.value"):
        place.restore(place.order(name, databases=("shop",), is_cleaned=True))

    assert place.server.value("SELECT count(value) FROM mine", database=name) == 0


def test_what_the_backup_brings_back_is_replaced(place: Place) -> None:
    """Base type, its functions, partitions and all."""
    name = place.filled("replaced")
    place.server.sql("DELETE FROM events", database=name)

    done = place.restore(place.order(name, databases=("shop",), is_cleaned=True))

    assert (done.databases[0].compared_count, done.notes[1:]) == (2, ())
    assert place.server.value("SELECT count(*) FROM events", database=name) == 10


@pytest.mark.endurance
def test_rows_that_a_class_does_not_have_are_not_dropped(place: Place) -> None:
    """Its backup has all definitions: all tables would come back, but for one empty."""
    name = place.filled("classed")

    with pytest.raises(Refused, match=r"'public\.other', and the backup does not hold its rows"):
        place.restore(place.order(name, is_cleaned=True), place.of_class)

    place.restore(place.order(name, is_cleaned=True, tables=("events",)), place.of_class)
    assert place.server.value("SELECT count(*) FROM other", database=name) == 1


@pytest.mark.endurance
def test_a_drop_waits_for_nobody_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others would wait behind it."""
    name = place.filled("busy")
    monkeypatch.setattr(dropping, "LOCK_TIMEOUT", dropping.LOCK_TIMEOUT / 100)

    with psycopg.connect(place.server.dsn_of("postgres", name)) as session:
        session.execute("SELECT FROM other")
        with pytest.raises(Refused, match="is in use"):
            place.restore(place.order(name, databases=("shop",), is_cleaned=True))


def test_the_database_that_was_named_is_the_one(place: Place) -> None:
    """Of a backup of two, the table is in one: never into a database that nobody named."""
    place.server.sql("CREATE DATABASE scratch")

    done = place.restore(place.order("scratch", tables=("people",)))

    assert [(each.name, each.target) for each in done.databases] == [("crm", "scratch")]
    assert place.server.value("SELECT count(*) FROM people", database="scratch") == 1


def test_one_name_for_two_databases_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="'postgres' is named, and 2 of the backup"):
        place.restore(place.order("postgres", is_cleaned=True))


def test_create_does_not_make_another_database_than_was_named(place: Place) -> None:
    """It would clean crm, which is there, where somebody meant a copy of it."""
    with pytest.raises(UsageError, match="'crm_copy' is none of them"):
        place.restore(place.order("crm_copy", databases=("crm",), is_created=True, is_cleaned=True))


@pytest.mark.endurance
def test_a_role_that_a_policy_needs_is_asked_for_before_anything_is_done(place: Place) -> None:
    """Also without owners: pg_restore would fail in the middle, with the old table dropped."""
    name = place.filled("policies")
    place.server.sql("ALTER ROLE reader RENAME TO gone")
    try:
        with pytest.raises(Refused, match="roles that are not there: reader"):
            place.restore(place.order(name, databases=("shop",), is_cleaned=True, has_owners=False))
    finally:
        place.server.sql("ALTER ROLE gone RENAME TO reader")


@pytest.mark.endurance
def test_a_table_without_a_fingerprint_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not compared is said to be so."""
    place.server.sql("CREATE DATABASE uncounted")
    decode = "pgvault.logical.restoreplan.decode_tables"
    monkeypatch.setattr(decode, lambda content, where: ())

    done = place.restore(place.order("uncounted", databases=("crm",)))

    assert any(note.startswith("not compared") and "public.people" in note for note in done.notes)


def test_an_extension_that_can_not_be_made_is_missed_before_anything_is_done(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host where it is not installed."""
    place.server.sql("CREATE DATABASE bare")
    facts = place.order("crm").target.facts()
    monkeypatch.setattr(Target, "facts", lambda _: replace(facts, extensions=frozenset({"plpgsql"})))

    with pytest.raises(ServerUnfit, match='extension "hstore" is not available'):
        place.restore(place.order("bare", databases=("crm",), is_cleaned=True))


def test_definitions_alone_go_into_no_server(place: Place) -> None:
    """A schema backup has no archive of pg_dump."""
    with pytest.raises(UsageError, match="definitions only"):
        plan_logical(
            place.archive.repository, replace(place.manifest, type=LogicalType.SCHEMA), place.order("postgres")
        )

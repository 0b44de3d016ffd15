"""Logical backups of real servers: what is stored is what pg_dump wrote, in the snapshot that was fingerprinted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.errors import AlreadyRunning, OtherCluster, ServerUnfit, UsageError
from pgvault.logical.definitions import schema_digest
from pgvault.logical.select import RankedClass, TablePattern
from pgvault.postgres.fingerprint import fingerprint_table, list_tables, open_session
from pgvault.postgres.server import LOGICAL_LOCK, Session
from pgvault.process import run
from pgvault.repository.logical import GLOBALS, LogicalManifest
from pgvault.repository.systems import System, record_system
from tests.archive import AT
from tests.logical.takes import Source, make_source, write_files
from tests.servers import NEWEST, NEWEST_OR_CI, ServerFactory

ODD = 'sh\'op "1" \\ täglich =x'
TABLES = r"""
CREATE TABLE accounts AS SELECT g AS id, md5(g::text) AS name FROM generate_series(1, 1000) g;
CREATE TABLE empty (x int);
CREATE SCHEMA "odd ""schema"".x";
CREATE TABLE "odd ""schema"".x"."ta.b'le
two" AS SELECT g FROM generate_series(1, 10) g;
CREATE TABLE events (at int, what text) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
INSERT INTO events SELECT g, 'e' FROM generate_series(0, 19) g;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM accounts;
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$
-- SET kept = 1;
SELECT 1 $$;
SELECT lo_from_bytea(0, 'hello'), lo_from_bytea(0, ''), lo_from_bytea(0, decode(repeat('00ff', 200000), 'hex'));
"""
READABLE = """
DO $$ DECLARE o oid; BEGIN
FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
  EXECUTE 'GRANT SELECT ON LARGE OBJECT ' || o || ' TO reader';
END LOOP;
GRANT USAGE ON SCHEMA "odd ""schema"".x" TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public, "odd ""schema"".x" TO reader;
END $$
"""
ODD_TABLE = 'odd "schema".x.ta.b\'le\ntwo'


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(
    scope="module", params=NEWEST_OR_CI or [pytest.param(0, marks=pytest.mark.skip(reason="no PostgreSQL"))]
)
def source(request: pytest.FixtureRequest, servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A server with two databases, one of them with an odd name."""
    server = servers(request.param)
    server.sql(f"CREATE DATABASE {quoted(ODD)}")
    server.sql("CREATE ROLE reader LOGIN")
    for database in ("postgres", conninfo(ODD)):
        server.sql(TABLES, database=database)
    for database in ("postgres", conninfo(ODD)):
        server.sql(READABLE, database=database)
    return make_source(server, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def taken(source: Source) -> LogicalManifest:
    return source.take()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def conninfo(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def test_what_is_stored_is_an_archive_for_pg_restore(source: Source, taken: LogicalManifest, tmp_path: Path) -> None:
    """Read back through the catalog, each database lists and restores as pg_dump says, to the last byte."""
    write_files(source.files(taken), tmp_path)

    assert source.labels()[0] == taken.label
    assert [database.name for database in taken.databases] == ["postgres", ODD]
    for database in taken.databases:
        archive = tmp_path / str(database.oid)
        listed = run([source.server.programs.path("pg_restore"), "--list", archive], timeout=60)
        rows = run([source.server.programs.path("pg_restore"), "--data-only", "--file=-", archive], timeout=60)
        dsn = source.server.dsn_of("postgres", conninfo(database.name))
        dumped = run([source.server.programs.path("pg_dump"), "--data-only", "-d", dsn], timeout=60)
        assert listed == (tmp_path / f"{database.oid}.list").read_text()
        assert statements(rows) == statements(dumped)


def statements(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict")))


def test_every_table_has_rows_and_a_fingerprint_of_that_moment(source: Source, taken: LogicalManifest) -> None:
    """The same that the live server still gives, also for what has odd names; partitions one by one."""
    tables = source.tables(taken, ODD)
    connection = open_session(source.server.dsn, database=ODD, lock_timeout=source.request().lock_wait)
    with connection:
        live = {str(each): fingerprint_table(connection, each) for each in list_tables(connection)}

    assert set(live) == set(tables) - {"large objects"}
    assert {name: (each.rows, each.fingerprint) for name, each in live.items()} == {
        name: (each.rows, each.fingerprint) for name, each in tables.items() if name != "large objects"
    }
    assert tables[ODD_TABLE].rows == 10
    assert tables["large objects"].rows == 3
    assert taken.database(ODD).table_count == 5
    assert taken.database(ODD).row_count == 1000 + 10 + 20


def test_roles_are_kept_with_their_passwords(source: Source, taken: LogicalManifest) -> None:
    """As pg_dumpall writes them."""
    assert b"CREATE ROLE reader" in source.files(taken)[GLOBALS]
    assert taken.has_globals
    assert taken.has_passwords


def test_the_schema_digest_is_that_of_pg_dump(source: Source, taken: LogicalManifest) -> None:
    """So that a schema backup of the same definitions has the same one."""
    for database in taken.databases:
        dsn = source.server.dsn_of("postgres", conninfo(database.name))
        sql = run([source.server.programs.path("pg_dump"), "--schema-only", "-d", dsn], timeout=60)
        assert database.schema_sha256 == schema_digest(sql.encode())


def test_nothing_is_left(source: Source, taken: LogicalManifest) -> None:
    """No session on the server, nothing in the spool's place."""
    assert taken.label
    assert source.sessions() == 0
    assert list(source.spools.iterdir()) == []


def test_one_database_alone(source: Source) -> None:
    """Named exactly, whatever its name holds."""
    manifest = source.take(databases=(ODD,))

    assert [database.name for database in manifest.databases] == [ODD]


@pytest.mark.endurance
def test_an_excluded_database_is_left_out(source: Source) -> None:
    """By pattern."""
    assert [database.name for database in source.take(exclude=("post*",)).databases] == [ODD]


@pytest.mark.parametrize("name", ["nowhere", "Postgres", "template0", "postgres'; --"])
def test_a_database_that_is_not_there(source: Source, name: str) -> None:
    """Is named in the error, with what there is; nothing is begun."""
    before = source.aborted()

    with pytest.raises(UsageError, match="the server has no database") as caught:
        source.take(databases=(name,))

    assert "postgres" in str(caught.value.hint)
    assert source.aborted() == before


def test_a_class_holds_its_rows_and_all_definitions(source: Source, tmp_path: Path) -> None:
    """A partitioned table means its partitions."""
    patterns = tuple(map(TablePattern.parse, ("public.events", "acc*")))

    manifest = source.take(data_class=RankedClass("vital", 1, patterns), databases=("postgres",))

    write_files(source.files(manifest), tmp_path)
    (database,) = manifest.databases
    listed = (tmp_path / f"{database.oid}.list").read_text()
    assert manifest.class_name == "vital"
    assert {each.table for each in source.tables(manifest, "postgres").values()} == {
        "events_1",
        "events_2",
        "accounts",
        "",
    }
    assert "TABLE public empty" in listed
    assert "TABLE DATA public events_1" in listed
    assert "TABLE DATA public empty" not in listed


def test_a_class_in_a_database_of_another_encoding(source: Source) -> None:
    """Names reach pg_dump in the bytes that it compares with, whatever is set for the role: else it dumps all rows."""
    source.server.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        source.server.sql(
            'CREATE TABLE accounts AS SELECT 1 AS a; CREATE TABLE "\u00e9t\u00e9" AS SELECT 1 AS a', database="latin"
        )
        source.server.sql("ALTER ROLE postgres IN DATABASE latin SET client_encoding = 'UTF8'")
        vital = RankedClass("vital", 1, (TablePattern.parse("accounts"),))

        files = source.files(source.take(data_class=vital, databases=("latin",)))
    finally:
        source.server.sql("DROP DATABASE latin")

    (listed,) = [content.decode("latin1") for name, content in files.items() if name.endswith(b".list")]
    assert "TABLE public \u00e9t\u00e9" in listed
    assert listed.count("TABLE DATA") == 1


def test_a_class_that_fits_nothing(source: Source) -> None:
    """Is a mistake in the configuration, not an empty backup."""
    before = source.labels()

    with pytest.raises(UsageError, match="no table fits class 'vital'"):
        source.take(data_class=RankedClass("vital", 1, (TablePattern.parse("app.none"),)), databases=("postgres",))

    assert source.labels() == before


def test_a_role_that_may_connect_and_read_is_enough(source: Source) -> None:
    """As a provider gives it: no superuser, no replication; passwords stay out, and that is said."""
    manifest = source.take(dsn=source.server.dsn_of("reader"), databases=("postgres",))

    files = source.files(manifest)
    assert not manifest.has_passwords
    assert b"CREATE ROLE reader" in files[GLOBALS]
    assert source.tables(manifest, "postgres")["public.accounts"].rows == 1000


def test_a_database_that_we_may_not_connect_to(source: Source) -> None:
    """Is an error that names it, unless it is excluded."""
    source.server.sql("CREATE DATABASE private")
    source.server.sql("REVOKE CONNECT ON DATABASE private FROM PUBLIC")
    reader = source.server.dsn_of("reader")
    try:
        with pytest.raises(ServerUnfit, match="may not connect to database 'private'"):
            source.take(dsn=reader)
        assert len(source.take(dsn=reader, exclude=("private", "odd*", "sh*")).databases) == 1
    finally:
        source.server.sql("DROP DATABASE private")


def test_two_at_once_are_one_too_many(source: Source) -> None:
    """The second says who is at it, and leaves no trace."""
    before = source.aborted()
    with Session(source.server.dsn) as other:
        other.try_backup_lock(LOGICAL_LOCK)

        with pytest.raises(AlreadyRunning, match="another logical backup of cluster 'main' runs: server process"):
            source.take()

    assert source.aborted() == before


def test_a_server_whose_wal_is_not_archived_under_this_name(source: Source, tmp_path: Path) -> None:
    """Where physical backups have recorded the system, another one is refused."""
    other = make_source(source.server, tmp_path)
    record_system(other.archive.repository, "main", System(4711, NEWEST), follows=None, now=AT)

    with pytest.raises(OtherCluster, match="is not one of cluster 'main'"):
        other.take()


def test_a_small_spool_is_enough(source: Source) -> None:
    """With much less room than a table needs, pg_dump waits for us; the bytes are the same."""
    source.server.sql(
        "CREATE TABLE wide AS SELECT g, md5(g::text) || md5((-g)::text) AS t FROM generate_series(1, 40000) g"
    )
    try:
        narrow = source.take(spool_limit=1 << 20, databases=("postgres",))
        plenty = source.take(databases=("postgres",))
    finally:
        source.server.sql("DROP TABLE wide")

    assert rows_of(source, narrow) == rows_of(source, plenty)


def rows_of(source: Source, manifest: LogicalManifest) -> dict[bytes, bytes]:
    return {
        name: content
        for name, content in source.files(manifest).items()
        if name.endswith(b".dat") and b"toc" not in name
    }

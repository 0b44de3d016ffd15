from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.config import CheckConfig, Objectives
from pgvault.drill.logical import LogicalDrillRequest, run_logical_drill
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.instants import SystemClock
from pgvault.pipeline.header import Kind
from pgvault.progress import NoProgress
from pgvault.repository import layout
from pgvault.repository.drilled import read_drilled
from pgvault.repository.logical import GLOBALS
from pgvault.repository.objects import read_json
from pgvault.repository.repository import Repository
from tests.archive import Archive, make_archive
from tests.drill.dumps import Dump, Files, forget_table, take_dump
from tests.servers import NEWEST, NEWEST_OR_CI, Server, ServerFactory

pytestmark = pytest.mark.cluster

SHOP = """
CREATE ROLE "Odd ""one"" owner" LOGIN PASSWORD 'x' NOSUPERUSER;
CREATE ROLE app; GRANT app TO "Odd ""one"" owner";
CREATE ROLE gone
"""
TABLES = """
CREATE EXTENSION btree_gist;
CREATE TABLE orders (id int PRIMARY KEY, what text NOT NULL, total int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO orders SELECT i, 'order ' || i FROM generate_series(1, 500) i;
CREATE TABLE lines (id int PRIMARY KEY, "order" int REFERENCES orders, note bytea);
INSERT INTO lines SELECT i, i % 500 + 1, decode(md5(i::text), 'hex') FROM generate_series(1, 1000) i;
CREATE TABLE customers (id int PRIMARY KEY, name text);
INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 50) i;
CREATE TABLE days (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO days SELECT '2026-01-01'::date + i, i FROM generate_series(0, 99) i;
CREATE MATERIALIZED VIEW totals AS SELECT sum(total) FROM orders;
CREATE INDEX ON lines USING gist (id);
CREATE PUBLICATION all_of_it FOR ALL TABLES;
CREATE SUBSCRIPTION other CONNECTION 'host=/nonexistent dbname=x' PUBLICATION p WITH (connect = false);
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
SELECT lo_from_bytea(0, 'large'), lo_create(0);
ALTER TABLE customers OWNER TO "Odd ""one"" owner";
"""
# Before 17 they can not be kept from firing, and one that refuses breaks a restore: that is a finding there.
REFUSING = "CREATE EVENT TRIGGER refusing ON ddl_command_start EXECUTE FUNCTION refuse();"
LABEL = "20260115T120000Z-10c1"


@pytest.fixture(scope="module", params=NEWEST_OR_CI)
def shop(templates: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with three databases, a tablespace, and much that must not happen in a scratch."""
    factory = ServerFactory(templates)
    try:
        one = factory(request.param)
        space = one.data.parent / "tablespace of production"
        space.mkdir()
        one.sql(f"CREATE TABLESPACE fast LOCATION '{space}'")
        for statement in SHOP.split(";\n"):
            one.sql(statement)
        one.sql('CREATE DATABASE "shop – Käse" TABLESPACE fast')
        one.sql(TABLES + REFUSING * (request.param >= 17), database="'shop – Käse'")
        one.sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
        one.sql("CREATE TABLE w TABLESPACE fast AS SELECT 'ü' AS word", database="latin")
        one.sql("ALTER ROLE postgres SET default_transaction_read_only = on")  # from here on, and in the scratch
        yield one
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def dump(shop: Server, tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return take_dump(shop, tmp_path_factory.mktemp("dump"))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return make_archive(tmp_path)


@pytest.fixture
def scratch(server: ServerFactory) -> Path:
    return server.directory()


def drill(repository: Repository, scratch: Path, **how: Any) -> DrillReport:
    """Drill the newest backup, and see that nothing of it is left."""
    request = LogicalDrillRequest(
        cluster="main",
        label=how.pop("label", None),
        checks=how.pop("checks", ()),
        objectives=how.pop("objectives", Objectives()),
        failure=how.pop("failure", None),
        scratch=scratch,
        jobs=2,
    )
    report = run_logical_drill(repository, request, clock=SystemClock(), progress=NoProgress())
    assert list(scratch.iterdir()) == []
    stored = read_json(repository, f"{layout.drills('main')}/{report.id}", Kind.DRILL)
    assert stored == report.to_json()
    return report


def test_a_whole_backup_is_green(dump: Dump, shop: Server, archive: Archive, scratch: Path) -> None:
    """Every database is restored, every fingerprint equal, every phase timed; nothing of production is touched."""
    manifest = dump.store(archive.repository)
    space = next(shop.data.parent.glob("tablespace*"))
    before = sorted(path.name for path in space.rglob("*"))
    checks = (
        CheckConfig(name="orphans", database="shop – Käse", query='SELECT count(*) FROM lines WHERE "order" IS NULL'),
    )
    failure = FailureMoment(datetime.now(UTC) + timedelta(minutes=5), is_server_clock=True)

    report = drill(archive.repository, scratch, checks=checks, failure=failure)

    assert report.passed, report.reason
    assert (report.target, report.backup) == (f"logical {manifest.label}", manifest.label)
    results = {check.name: check.detail for check in report.checks}
    assert results["fingerprints:shop – Käse"] == "4 tables with 1650 rows compared"
    assert results["fingerprints:latin"] == "1 tables with 1 rows compared"
    assert {"tables", "connects:postgres", "connects:latin", "fingerprints:postgres"} <= results.keys()
    names = [check.name for check in report.checks]
    assert names[-1] == "orphans"
    assert {"pg_amcheck", "foreign_keys:shop – Käse"} < set(names)
    assert list(report.phases) == ["plan", "prepare", "start", "restore", "open", "check"]
    assert report.rto_seconds == max(check.ended_after or 0 for check in report.checks if check.is_blocking)
    assert report.rpo is not None
    assert 300 <= report.rpo.seconds < 900
    assert report.reached is not None
    assert set(report.reached["databases"]) == {"postgres", "shop – Käse", "latin"}
    assert any(line.startswith("materialized views") for line in report.not_tested)
    (mark,) = read_drilled(archive.repository, "main")[manifest.label]
    assert (mark.drill_id, mark.outcome, mark.lsn, mark.as_of) == (report.id, "passed", None, report.as_of)
    assert report.notes == []
    assert sorted(path.name for path in space.rglob("*")) == before


def test_what_was_tampered_with_is_red(shop: Server, archive: Archive, scratch: Path, tmp_path: Path) -> None:
    """A missing table, a missing row, a changed byte, and a table nobody expected: each is told by its name."""
    name = "shop – Käse"
    dump = take_dump(shop, tmp_path / "dump", options=("--exclude-table=public.w",))
    orders, lines = dump.data_file(name, "public lines"), dump.data_file(name, "public orders")
    days = dump.data_file(name, "public days_2026")

    def tamper(files: Files) -> None:
        files[orders] = files[orders].replace(b"7\t8\t", b"7\t9\t", 1)
        files[lines] = files[lines].replace(b"order 17\n", b"order 1 \n", 1)
        files[days] = re.sub(rb"2026-02-01\t31\n", b"", files[days])

    forget_table(dump.tampered(tamper), name, "customers").store(archive.repository)

    report = drill(archive.repository, scratch)

    assert report.could_run
    assert not report.passed
    red = {check.name: check.sample for check in report.checks if not check.passed}
    assert red["fingerprints:latin"] == ("public.w is missing (1 row expected)",)
    assert red[f"fingerprints:{name}"] == (
        "public.customers was not expected (50 rows)",
        "public.days_2026 has 99 rows, not 100",
        "public.lines has other content in its 1000 rows",
        "public.orders has other content in its 500 rows",
    )


@pytest.mark.endurance
def test_a_corrupt_pack_is_red(dump: Dump, archive: Archive, scratch: Path) -> None:
    """One byte of stored data changed: the drill failed, it did not "not run"."""
    manifest = dump.store(archive.repository)
    path = archive.root / manifest.packs[-3].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)

    report = drill(archive.repository, scratch)

    assert (report.could_run, report.passed) == (True, False)
    assert manifest.packs[-3].path in report.reason


@pytest.mark.endurance
def test_an_extension_that_is_not_here_is_no_finding(dump: Dump, archive: Archive, scratch: Path) -> None:
    """The host lacks it: the drill could not run, and says which."""
    (database,) = [each for each in dump.databases if each.name.startswith("shop")]
    toc = database.directory + b"/toc.dat"
    dump.tampered(lambda files: files.update({toc: files[toc].replace(b"btree_gist", b"btree_g1st")})).store(
        archive.repository
    )

    report = drill(archive.repository, scratch)

    assert not report.could_run
    assert "extension 'btree_g1st' is not installed here" in report.reason


def test_without_programs_it_could_not_run(dump: Dump, archive: Archive, scratch: Path) -> None:
    """A backup of a major that is newer than everything here."""
    replace(dump, version_num=190001).store(archive.repository)

    report = drill(archive.repository, scratch)

    assert not report.could_run
    assert "no programs of PostgreSQL 19 or newer" in report.reason


@pytest.mark.endurance
def test_no_function_reaches_production(server: ServerFactory, archive: Archive, scratch: Path, tmp_path: Path) -> None:
    """A materialized view is computed anew, by functions that may ask or change another server: here they can not."""
    one = server(NEWEST)
    target = one.dsn.replace("'", "")
    one.sql("CREATE EXTENSION dblink; CREATE TABLE calls (i int); CREATE TABLE t AS SELECT 1 AS i")
    call = f"public.dblink_exec('{target}', 'INSERT INTO public.calls VALUES (1)')"
    one.sql(f"CREATE FUNCTION reach() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN {call}; END $$")
    one.sql("CREATE MATERIALIZED VIEW reaching AS SELECT public.reach()")
    take_dump(one, tmp_path / "dump").store(archive.repository)

    report = drill(archive.repository, scratch)

    assert one.value("SELECT count(*) FROM calls") == 1
    assert (report.could_run, report.passed) == (False, False)
    assert "a drill asks no other server" in report.reason


@pytest.mark.endurance
def test_a_backup_without_any_table_is_never_green(dump: Dump, archive: Archive, scratch: Path) -> None:
    """Nothing about it could turn red, so nothing is proven."""
    (empty,) = [each for each in dump.databases if each.name == "postgres"]
    files = {path: content for path, content in dump.files.items() if path.startswith(empty.directory)}
    replace(dump, files=files | {GLOBALS: b""}, databases=(empty,)).store(archive.repository)

    report = drill(archive.repository, scratch)

    assert (report.could_run, report.passed) == (True, False)
    assert "the backup holds no table" in report.reason


def test_no_backup_is_a_failure(archive: Archive, scratch: Path) -> None:
    """Whoever drills expects one to be there."""
    report = drill(archive.repository, scratch)

    assert (report.could_run, report.passed) == (True, False)
    assert "has no logical backup" in report.reason

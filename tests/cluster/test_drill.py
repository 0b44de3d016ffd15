from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pgvault.config import CheckConfig
from pgvault.demo import shop
from pgvault.drill.isolation import Isolation, IsolationWish
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import TimeTarget
from tests.archive import make_archive
from tests.cluster.drills import Stage, digest, load_shop, make_stage, make_told_stage, write_orders
from tests.servers import NEWEST, ServerFactory, older_in_ci
from tests.wal.servers import archiving

pytestmark = pytest.mark.cluster

UNWRITTEN = frozenset({"pg_wal", "pg_stat", "pg_stat_tmp", "postmaster.pid", "pg_internal.init", "pg_control"})
COUNT_ORDERS = CheckConfig(name="orders", query="SELECT count(*) FROM orders", threshold=1e9)
HOSTILE = """
shared_preload_libraries = 'no_such_library'
archive_mode = 'always'
archive_command = 'touch {canary}'
recovery_end_command = 'touch {canary}'
restore_command = 'touch {canary}; false'
recovery_target_time = '2020-01-01 00:00:00+00'
recovery_target_name = 'left over'
listen_addresses = '*'
port = '5999'
unix_socket_directories = '{place}'
external_pid_file = '{canary}'
logging_collector = 'on'
log_directory = '{place}'
ssl = 'on'
ssl_cert_file = '/nowhere/server.crt'
primary_conninfo = 'host=192.0.2.1'
statement_timeout = '1ms'
default_transaction_read_only = 'on'
huge_pages = 'a value that this server does not know'
"""


def measured(report: DrillReport, name: str) -> float | None:
    """What a check measured."""
    return next(check.measured for check in report.checks if check.name == name)


def target(at: datetime) -> RestoreRequest:
    return RestoreRequest(TimeTarget(at, str(at), None))


@older_in_ci
def test_a_good_backup_passes(
    server: ServerFactory, major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every check within its threshold; production, its archive and what our environment says stay out of it."""
    stage = make_told_stage(server, major, tmp_path)
    stage.server.sql("CHECKPOINT")
    before, archived = digest(stage.server.data, without=UNWRITTEN), stage.names()
    for name, value in {"PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGOPTIONS": "-c statement_timeout=1"}.items():
        monkeypatch.setenv(name, value)

    report = stage.drill(checks=(*shop.CHECKS, COUNT_ORDERS))

    assert report.passed, report.reason
    assert measured(report, "orders") == 200
    assert list(report.phases) == ["plan", "fetch", "replay", "open", "check", "pages"]
    names = [check.name for check in report.checks]
    assert names[:3] == ["connects:template1", "connects:postgres", "page_checksums"]
    assert {"pg_amcheck", "foreign_keys:postgres", "sequences:postgres"} < set(names)
    last = report.checks[-1]
    assert (last.name, last.ended_after) == ("pg_checksums", None), "no part of RTO"
    assert report.rto_seconds == max(check.ended_after or 0 for check in report.checks if check.is_blocking)
    assert (digest(stage.server.data, without=UNWRITTEN), stage.names()) == (before, archived)


@pytest.mark.endurance
@older_in_ci
def test_a_hard_cluster_passes(server: ServerFactory, major: int, tmp_path: Path) -> None:
    """Another superuser, a tablespace, an open prepared transaction, and settings that would hurt or hinder."""
    stage = make_stage(server, major, tmp_path)
    one, place, canary = stage.server, server.directory(), server.directory() / "canary"
    one.restart({"max_prepared_transactions": "7"})
    one.sql(f"CREATE TABLESPACE fast LOCATION '{place}'")
    one.sql("CREATE DATABASE elsewhere TABLESPACE fast")
    one.sql("CREATE TABLE there (a int PRIMARY KEY); INSERT INTO there VALUES (1)", database="elsewhere")
    one.sql("CREATE TABLE here TABLESPACE fast AS SELECT generate_series(1, 1000) AS a; CREATE INDEX ON here (a)")
    one.sql("CREATE DATABASE half_dropped")
    one.sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_dropped'")
    one.sql("BEGIN; INSERT INTO here VALUES (-1); PREPARE TRANSACTION 'open'")
    one.sql("CREATE ROLE helper SUPERUSER LOGIN")
    with psycopg.connect(one.dsn_of("helper"), autocommit=True) as connection:
        connection.execute('ALTER ROLE postgres RENAME TO "Big Boss"')
        connection.execute("ALTER DATABASE elsewhere SET session_preload_libraries = 'no_such_library'")
        connection.execute("ALTER ROLE \"Big Boss\" SET statement_timeout = '1ms'")
    with (one.data / "postgresql.auto.conf").open("a") as file:
        file.write(HOSTILE.format(canary=canary, place=place))
    stage.backup(user="helper")
    with psycopg.connect(one.dsn_of("helper"), autocommit=True) as connection:
        connection.execute("INSERT INTO here VALUES (1001)")
    stage.archive_all(user="helper")
    one.kill()
    before, archived = [digest(path) for path in (one.data, place)], stage.names()
    here = CheckConfig(name="here", query="SELECT max(a) FROM here", threshold=1e9, database="postgres")
    there = CheckConfig(name="there", query="SELECT count(*) FROM there", threshold=1e9)

    report = stage.drill(checks=(here, there), database="elsewhere")

    assert report.passed, report.reason
    assert (measured(report, "here"), measured(report, "there")) == (1001, 1)
    assert "connects:half_dropped" not in {check.name for check in report.checks}
    assert ([digest(path) for path in (one.data, place)], stage.names()) == (before, archived)
    assert not canary.exists()


@pytest.fixture(scope="module")
def told(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, dict[str, datetime]]]:
    """A shop with a backup, two lots of orders after it, idleness after that, and when all this was."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        stage = make_stage(factory, NEWEST, tmp_path_factory.mktemp("told"))
        stage.backup()
        moments = {}
        for name in ("first", "second"):
            write_orders(stage.server.dsn)
            moments[name] = clock(stage)
        stage.archive_all()
        yield stage, moments
    finally:
        factory.clear()


def clock(stage: Stage) -> datetime:
    """The server's clock, apart from what was before and comes after."""
    time.sleep(0.01)
    at = stage.server.value("SELECT clock_timestamp()")
    time.sleep(0.01)
    assert isinstance(at, datetime)
    return at.astimezone(UTC)


def test_a_moment_in_the_past(told: tuple[Stage, dict[str, datetime]]) -> None:
    """--to: exactly what was committed then is there; a past target has no RPO."""
    stage, moments = told

    report = stage.drill(
        restore=target(moments["first"]),
        checks=(*shop.CHECKS, COUNT_ORDERS),
        failure=FailureMoment(datetime.now(UTC), is_server_clock=True),
    )

    assert report.passed, report.reason
    assert measured(report, "orders") == 200
    assert report.rpo is None
    assert report.reached is not None
    assert datetime.fromisoformat(report.reached["last_commit_at"]) <= moments["first"]
    assert datetime.fromisoformat(report.reached["next_commit_at"]) > moments["first"]


def test_a_moment_that_nothing_proves_is_red(told: tuple[Stage, dict[str, datetime]]) -> None:
    """A drill does not go for less than it was asked for."""
    stage, moments = told

    report = stage.drill(restore=target(moments["second"] + timedelta(days=1)))

    assert not report.passed
    assert report.could_run
    assert "lies beyond what the archived WAL proves" in report.reason


@pytest.mark.endurance
def test_an_idle_server(server: ServerFactory, tmp_path: Path) -> None:
    """Backed up and drilled at once, with nothing after it: idleness bounds the RPO and is a target."""
    stage = make_stage(server, NEWEST, tmp_path)
    stage.backup()
    failure = FailureMoment(clock(stage), is_server_clock=True)

    latest = stage.drill(failure=failure)

    assert latest.passed, latest.reason
    assert latest.rpo is not None
    assert latest.rpo.source == "an idle watermark"
    assert latest.rpo.seconds < 60
    at_proven = stage.drill(restore=target(latest.rpo.proven_until))
    assert at_proven.passed, at_proven.reason


@pytest.mark.endurance
def test_large_segments(server: ServerFactory, tmp_path: Path) -> None:
    """A server with segments of 64 MiB does not start on the limits that it takes by itself."""
    archive = make_archive(tmp_path)
    stage = Stage(archiving(server, NEWEST, archive, wal_segsize_mib=64), archive, server.directory())
    load_shop(stage.server.dsn)
    stage.backup()
    write_orders(stage.server.dsn)
    stage.archive_all()

    report = stage.drill()

    assert report.passed, report.reason


@pytest.mark.endurance
def test_a_cluster_without_an_encoding(server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL_ASCII, which initdb takes where no locale is set: psycopg returns bytes for text there."""
    monkeypatch.setenv("PGCLIENTENCODING", "UTF8")  # for the test's own questions
    archive = make_archive(tmp_path)
    source = archiving(server, NEWEST, archive, initdb=("--encoding=SQL_ASCII", "--locale=C"))
    stage = Stage(source, archive, server.directory())
    stage.server.sql("CREATE TABLE orders (name text UNIQUE CHECK (name <> '')); INSERT INTO orders VALUES ('row')")
    stage.backup()
    stage.archive_all()
    monkeypatch.delenv("PGCLIENTENCODING")

    report = stage.drill(checks=(COUNT_ORDERS,))

    assert report.passed, report.reason
    assert measured(report, "orders") == 1


@pytest.mark.endurance
def test_rpo_is_never_less_than_what_is_lost(server: ServerFactory, tmp_path: Path) -> None:
    """Power cut: the last archived commit is proven, the first that was not archived lies beyond, RPO covers it."""
    stage = make_told_stage(server, NEWEST, tmp_path)
    stage.server.sql("CREATE TABLE marks (a int)")
    kept = commit(stage, 1)
    stage.archive_all()
    lost = commit(stage, 2)
    stage.server.kill()
    time.sleep(0.2)
    failure = FailureMoment(datetime.now(UTC), is_server_clock=False)

    report = stage.drill(
        checks=(CheckConfig(name="marks", query="SELECT max(a) FROM marks", threshold=9),), failure=failure
    )

    assert report.passed, report.reason
    assert measured(report, "marks") == 1
    assert report.rpo is not None
    assert kept <= report.rpo.proven_until < lost
    assert report.rpo.seconds >= (failure.at - lost).total_seconds()
    assert report.rpo.seconds <= (failure.at - kept).total_seconds()


def commit(stage: Stage, number: int) -> datetime:
    """Commit a row; return a moment just before its commit."""
    before = clock(stage)
    stage.server.sql(f"INSERT INTO marks VALUES ({number})")
    return before


@pytest.mark.endurance
def test_a_tablespace_made_after_the_backup(server: ServerFactory, tmp_path: Path) -> None:
    """Without a sandbox replaying it would write into production on this very host: the drill refuses."""
    stage = make_stage(server, NEWEST, tmp_path)
    stage.backup()
    place = server.directory()
    stage.server.sql(f"CREATE TABLESPACE fast LOCATION '{place}'")
    stage.server.sql("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS a")
    stage.server.sql("CHECKPOINT")
    stage.archive_all()
    stage.server.sql("DROP TABLE t")
    stage.server.sql("CREATE TABLE u TABLESPACE fast AS SELECT 1 AS a")
    stage.archive_all()
    stage.server.stop()
    before = digest(place)

    report = stage.drill(isolation=IsolationWish(Isolation.PROCESS))

    assert not report.could_run
    assert f"creates a tablespace at '{place}'" in report.reason
    assert digest(place) == before

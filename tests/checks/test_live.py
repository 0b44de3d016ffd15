"""`pgvault checks` on a live server: what it runs, keeps, says, and never does."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from pgvault.checks.live import make_run, run_live, with_password
from pgvault.checks.result import Verdict
from pgvault.checks.session import APPLICATION_NAME
from pgvault.config import load_config
from pgvault.errors import CheckFailed, ConfigInvalid, ObjectMissing, ServerUnfit, ServerUnreachable, UsageError
from pgvault.instants import SystemClock
from pgvault.pipeline.header import Kind
from pgvault.process import start
from pgvault.progress import NoProgress
from pgvault.verify.records import list_records
from tests.archive import Archive, make_archive, program
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.streams import standby_of
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

pytestmark = pytest.mark.cluster

GOOD = {"name": "good", "query": "SELECT count(*) FROM live.t WHERE a < 0"}
BAD = {"name": "bad", "query": "SELECT a, secret FROM live.t", "severity": "high"}
TOLD = {"name": "told", "query": "SELECT count(*) FROM live.t", "severity": "low"}


@pytest.fixture(scope="module")
def live(checked: Server) -> Server:
    """A server with one table of three rows, and a role that may read it."""
    checked.sql("DROP SCHEMA IF EXISTS live CASCADE")
    checked.sql("CREATE SCHEMA live")
    checked.sql("CREATE TABLE live.t AS SELECT a, 'hush ' || a AS secret FROM generate_series(1, 3) a")
    checked.sql("ALTER TABLE live.t ADD PRIMARY KEY (a)")
    checked.sql("DROP ROLE IF EXISTS checker")
    checked.sql("CREATE ROLE checker LOGIN IN ROLE pg_read_all_data")
    return checked


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty repository and its configuration."""
    return make_archive(tmp_path)


def configure(archive: Archive, *checks: dict[str, Any], **cluster: Any) -> Path:
    """Write the configuration of one cluster with these checks."""
    document = yaml.safe_load(archive.config.read_text())
    document["clusters"]["main"] = {"dsn": "", "checks": list(checks), **cluster}
    archive.config.write_text(yaml.safe_dump(document))
    return archive.config


def test_all_passed_is_0_and_is_kept(archive: Archive, live: Server) -> None:
    """What was printed can be listed and shown again, and it names no data beside keys."""
    config = configure(archive, GOOD, dsn=live.dsn)

    document = pgvault_json("--config", config, "checks", "run", "--live")

    assert (document["passed"], document["failed"], document["replica"]) == (True, [], False)
    assert [result["tables"] for result in document["results"]] == [["live.t"]]
    assert pgvault_json("--config", config, "checks", "show", document["id"]) == document
    assert pgvault_json("--config", config, "checks", "list", "--results")["runs"] == [document]
    (record,) = (each for each in list_records(archive.repository, "main") if each.kind is Kind.CHECKS)
    assert record.path == f"clusters/main/checks/{document['id']}"


def test_a_failed_check_is_53_and_says_which(archive: Archive, live: Server) -> None:
    """Its rows are told by their keys; severities that stop nothing are warnings."""
    config = configure(archive, GOOD, BAD, TOLD, dsn=live.dsn)

    finished = pgvault("--config", config, "checks", "run", "--live")

    assert finished.status == CheckFailed.exit_code
    assert finished.errors == "error: check 'bad': returned 3 rows\n"
    assert "bad: a=1\n" in finished.output
    assert "hush" not in finished.output
    (run,) = pgvault_json("--config", config, "checks", "list", "--results")["runs"]
    assert (run["passed"], run["failed"], run["warnings"]) == (False, ["bad"], ["check 'told': returned 3"])


def test_checks_can_be_chosen(archive: Archive, live: Server) -> None:
    """By name; a name that is none is a mistake of whoever types it."""
    config = configure(archive, GOOD, BAD, TOLD, dsn=live.dsn)

    document = pgvault_json("--config", config, "checks", "run", "--live", "--check", "told", "--check", "good")

    assert [result["name"] for result in document["results"]] == ["good", "told"]
    assert document["passed"]
    assert pgvault("--config", config, "checks", "run", "--live", "--check", "no").status == UsageError.exit_code
    assert pgvault("--config", config, "checks", "run").status == UsageError.exit_code


def test_nothing_proven_is_no_pass(archive: Archive, live: Server) -> None:
    """Without any check, or when the only ones are told and fail, nothing is green."""
    assert pgvault("--config", configure(archive, dsn=live.dsn), "checks", "run", "--live").status == 10
    config = configure(archive, TOLD, dsn=live.dsn)

    document = pgvault_json("--config", config, "checks", "run", "--live", status=ServerUnfit.exit_code)

    assert not document["passed"]


def test_checks_run_where_checks_dsn_says_by_a_role_of_their_own(archive: Archive, live: Server) -> None:
    """One session that reads only and is named; a check of another database goes there."""
    who = "SELECT current_user, current_setting('application_name'), current_setting('transaction_read_only')"
    role = {"name": "role", "query": f"{who} FROM live.t LIMIT 1", "show": "all", "severity": "low"}
    other = {
        **role,
        "name": "other",
        "database": "template1",
        "query": "SELECT current_database(), 1 FROM pg_class LIMIT 1",
    }
    config = configure(archive, role, other, dsn="host=/nowhere", checks_dsn=live.dsn_of("checker"))

    document = pgvault_json("--config", config, "checks", "run", "--live", status=ServerUnfit.exit_code)

    found = {result["name"]: result["sample"] for result in document["results"]}
    assert found["role"] == [f"current_user=checker, current_setting={APPLICATION_NAME}, current_setting=on"]
    assert found["other"] == ["current_database=template1, ?column?=1"]


def test_nothing_is_written(archive: Archive, live: Server) -> None:
    """Whatever a query tries, and as a superuser."""
    tries = ("DELETE FROM live.t", "COMMIT; DELETE FROM live.t", "SELECT setval('live.s', 9)", "DROP TABLE live.t")
    live.sql("CREATE SEQUENCE IF NOT EXISTS live.s")
    checks = [{"name": f"c{number}", "query": query} for number, query in enumerate(tries)]

    finished = pgvault("--config", configure(archive, *checks, dsn=live.dsn), "checks", "run", "--live")

    assert finished.status == CheckFailed.exit_code
    assert live.sql("SELECT count(*), (SELECT last_value FROM live.s) FROM live.t") == [(3, 1)]


@pytest.mark.endurance
def test_a_lock_holds_a_check_up_and_nobody_else(archive: Archive, live: Server) -> None:
    """After 5 s it is not proven, 21; the check behind it is run."""
    live.sql("CREATE TABLE IF NOT EXISTS live.locked AS SELECT 1 AS a")
    held = {"name": "held", "query": "SELECT count(*) FROM live.locked WHERE a < 0"}
    config = configure(archive, held, GOOD, dsn=live.dsn)
    with psycopg.connect(live.dsn) as other:
        other.execute("LOCK TABLE live.locked")
        document = pgvault_json("--config", config, "checks", "run", "--live", status=ServerUnfit.exit_code)

    assert (document["passed"], document["failed"], document["unproven"]) == (False, [], ["held"])
    assert [result["verdict"] for result in document["results"]] == ["unproven", "passed"]


@pytest.mark.endurance
def test_a_query_ends_with_whoever_asked(archive: Archive, live: Server) -> None:
    """Killed, pgvault leaves no query behind that goes on for its whole timeout."""
    config = configure(archive, {"name": "long", "query": "SELECT pg_sleep(600)"}, dsn=live.dsn)
    child = start([*program(), "--config", str(config), "checks", "run", "--live"], env=None, log=config.parent / "log")
    running = f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}'"
    asking = f"{running} AND state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    wait_until(lambda: live.sql(asking) or child.poll() is not None, seconds=120)
    assert child.poll() is None, (config.parent / "log").read_text()

    child.signal(signal.SIGKILL)

    child.wait(30)
    wait_until(lambda: not live.sql(running), seconds=60)


def test_a_server_that_is_not_there_is_no_finding(archive: Archive, tmp_path: Path) -> None:
    """20, and nothing is kept: no data were looked at."""
    config = configure(archive, GOOD, dsn=f"host={tmp_path}")

    assert pgvault("--config", config, "checks", "run", "--live").status == ServerUnreachable.exit_code
    assert pgvault_json("--config", config, "checks", "list", "--results")["runs"] == []


def test_a_repository_that_is_not_there_keeps_no_check_from_running(archive: Archive, live: Server) -> None:
    """What was found is told; that it is not stored is an error only where nothing worse is."""
    config = configure(archive, GOOD, BAD, dsn=live.dsn)
    archive.root.rename(archive.root.with_name("away"))

    failed = pgvault("--config", config, "checks", "run", "--live")
    passed = pgvault_json("--config", config, "checks", "run", "--live", "--check", "good", status=30)

    assert failed.status == CheckFailed.exit_code
    assert passed["passed"]
    assert "these results are not stored" in passed["notes"][-1]


def test_list_shows_what_is_configured(archive: Archive) -> None:
    """Also without any server or repository."""
    config = configure(archive, {**GOOD, "schedule": "@daily", "action": "page_oncall"}, BAD)
    archive.root.rename(archive.root.with_name("away"))

    listed = pgvault_json("--config", config, "checks", "list")["checks"]

    assert [(check["name"], check.get("schedule")) for check in listed] == [("good", "@daily"), ("bad", None)]
    assert "page_oncall" in pgvault("--config", config, "checks", "list").output


def test_a_run_that_is_not_there_is_named(archive: Archive) -> None:
    """With the way to those that are."""
    config = configure(archive, GOOD)

    finished = pgvault("--config", config, "checks", "show", "20260101T000000Z-0000")

    assert finished.status == ObjectMissing.exit_code
    assert "checks list --results" in finished.errors


def test_a_password_is_not_for_the_eyes() -> None:
    """It is added to the connection alone; a dsn that means nothing is not quoted."""
    assert "password=s3cret" in with_password("host=db", "s3cret")
    with pytest.raises(ConfigInvalid) as caught:
        with_password("host", "s3cret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.endurance
def test_a_replica_tells_how_far_it_is_behind(archive: Archive, templates: Path) -> None:
    """Checks run there, too, and now() is not the moment that its data are of."""
    factory = ServerFactory(templates)
    try:
        primary = factory(NEWEST)
        replica = standby_of(factory, primary)
        primary.sql("CREATE TABLE t AS SELECT 1 AS a")
        lsn = primary.value("SELECT pg_current_wal_lsn()::text")
        wait_until(lambda: bool(replica.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")))
        check = {"name": "good", "query": "SELECT count(*) FROM t WHERE a < 0"}
        config = configure(archive, check, dsn=primary.dsn, checks_dsn=replica.dsn)

        document = pgvault_json("--config", config, "checks", "run", "--live")

        assert (document["passed"], document["replica"]) == (True, True)
        assert document["replayed_seconds"] > 0
        assert document["notes"][0].startswith("asked a replica: its last replayed commit is ")
    finally:
        factory.clear()


@pytest.mark.endurance
def test_a_server_that_dies_meanwhile_proves_nothing(archive: Archive, templates: Path) -> None:
    """What it interrupted is not proven, nor what comes behind that; the run ends with 20, and is kept."""
    factory = ServerFactory(templates)
    try:
        server = factory(NEWEST)
        server.sql("CREATE TABLE t AS SELECT 1 AS a")
        good = {"name": "good", "query": "SELECT count(*) FROM t WHERE a < 0"}
        config = configure(archive, good, {**good, "name": "second"}, {**good, "name": "third"}, dsn=server.dsn)
        (_, cluster) = load_config(config).cluster("main")
        run = make_run("20260101T000000Z-0000", "main", server.dsn, clock=SystemClock())

        run_live(run, server.dsn, cluster.checks, progress=Killing(server, before="second"))

        assert [result.verdict for result in run.results] == [Verdict.PASSED, Verdict.UNPROVEN, Verdict.UNPROVEN]
        with pytest.raises(ServerUnreachable):
            run.require_passed()
    finally:
        factory.clear()


@dataclass
class Killing(NoProgress):
    """Kills a server before one of the checks, where others would show how far a run is."""

    server: Server
    before: str

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        if name == self.before:
            self.server.kill()

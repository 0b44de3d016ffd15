from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from pgvault.cli.app import app
from pgvault.errors import PlainSecret, ServerUnfit, ServerUnreachable, UsageError, VerifyFailed
from pgvault.logical.compare import CompareOrder, Comparison, Relation, Verdict, compare_servers
from pgvault.logical.compare import Server as Side
from pgvault.logical.tables import Sessions
from pgvault.postgres.fingerprint import open_session
from pgvault.process import run
from pgvault.progress import NoProgress
from tests.cluster.streams import standby_of
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

TABLES = (
    "CREATE TABLE changed AS SELECT i, 'needle' || i AS t FROM generate_series(1, 5000) i",
    "CREATE TABLE lost (i int)",
    "CREATE TABLE quiet AS SELECT i FROM generate_series(1, 1000) i",
    "CREATE UNLOGGED TABLE passing AS SELECT 1 AS i",
    "CREATE TABLE busy (i int, filler text)",
    "INSERT INTO busy VALUES (0, repeat('x', 100))",
)


@dataclass(frozen=True, slots=True)
class Couple:
    """A primary and its replica."""

    primary: Server
    replica: Server
    factory: ServerFactory

    def follow(self) -> None:
        """Return when the replica has what the primary has, on disk."""
        self.primary.sql("CHECKPOINT")
        lsn = self.primary.value("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: bool(self.replica.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")))
        self.replica.sql("CHECKPOINT")

    def file_of(self, table: str) -> Path:
        return self.replica.data / str(self.primary.value(f"SELECT pg_relation_filepath('{table}')"))

    def edit(self, change: Callable[[], object]) -> None:
        """Do something to the replica's files while it is down."""
        self.follow()
        self.replica.stop()
        change()
        self.replica.start()

    def compare(self, **order: object) -> Comparison:
        return compare(self.primary, self.replica, **order)


def compare(first: Server, second: Server, **order: object) -> Comparison:
    wanted = CompareOrder((), **order)  # type: ignore[arg-type]  # its own fields
    return compare_servers(Side("a", first.dsn), Side("b", second.dsn), wanted, progress=NoProgress())


@pytest.fixture(scope="module")
def couple(templates: Path) -> Iterator[Couple]:
    """A primary, whose pages are not written whole into the WAL: that would mend what is broken by hand."""
    factory = ServerFactory(templates)
    primary = factory(NEWEST, settings={"full_page_writes": "off"})
    for statement in TABLES:
        primary.sql(statement)
    primary.sql("SELECT lo_from_bytea(1, 'abc')")
    yield Couple(primary, standby_of(factory, primary, ignore_checksum_failure="on"), factory)
    factory.clear()


@pytest.fixture
def writers(couple: Couple) -> Iterator[None]:
    """Several sessions that replace the one row of a table as fast as they can, and add to another."""
    is_over = threading.Event()

    def write() -> None:
        with psycopg.connect(couple.primary.dsn, autocommit=True) as session:
            while not is_over.is_set():
                session.execute("UPDATE busy SET i = i + 1")
                session.execute("INSERT INTO quiet VALUES (0)")

    threads = [threading.Thread(target=write) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        is_over.set()
        for each in threads:
            each.join()


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_a_healthy_replica_is_equal_while_it_is_written_to(couple: Couple, writers: None) -> None:
    """Also a table of one row that no reading finds the same; what is unlogged is passed over and counted."""
    for _ in range(3):
        found = couple.compare()

        assert found.deviations == []
        assert (found.relation, found.table_count, found.unlogged_count) == (Relation.REPLICA, 4, 1)
        assert found.databases == ["postgres"]
        found.require_equal()


def test_rows_changed_by_hand_are_found(couple: Couple) -> None:
    """One byte of a row, a row that never came, a large object: each on the replica only, and nothing else is said."""
    couple.follow()
    empty = couple.file_of("lost").read_bytes()
    couple.primary.sql("INSERT INTO lost SELECT generate_series(1, 3)")

    def damage() -> None:
        couple.file_of("lost").write_bytes(empty)
        replace(couple.file_of("changed"), b"needle4711", b"noodle4711")
        replace(couple.file_of("pg_largeobject"), b"abc", b"abd")

    def mend() -> None:
        replace(couple.file_of("changed"), b"noodle4711", b"needle4711")
        replace(couple.file_of("pg_largeobject"), b"abd", b"abc")

    couple.edit(damage)
    try:
        found = couple.compare()
        from_behind = compare(couple.replica, couple.primary)
    finally:
        couple.edit(mend)
        couple.primary.sql("DROP TABLE lost; CREATE TABLE lost (i int)")

    assert sorted((each.table, each.why) for each in found.deviations) == [
        ("large objects", "they have other content on the replica"),
        ("public.changed", "at least 1 row changed on the replica, ctid (25,86)"),
        ("public.lost", "at least 3 rows missing on the replica, ctid (0,1), (0,2), (0,3)"),
    ]
    assert {each.verdict for each in found.deviations} == {Verdict.DIFFERENT}
    assert from_behind.deviations == found.deviations
    with pytest.raises(VerifyFailed, match="the servers differ: 3 tables"):
        found.require_equal()
    assert couple.compare().deviations == []


def test_a_replica_that_stands_still_is_not_compared(couple: Couple) -> None:
    """It has not what it should have, and nobody knows what it will have: neither equal nor different."""
    couple.follow()
    couple.replica.sql("SELECT pg_wal_replay_pause()")
    couple.primary.sql("INSERT INTO quiet VALUES (-1)")
    try:
        with pytest.raises(ServerUnfit, match=r"the replica has replayed to .* and not to .* within"):
            couple.compare(patience=timedelta(milliseconds=300))
    finally:
        couple.replica.sql("SELECT pg_wal_replay_resume()")


def test_a_locked_table_is_undecided(couple: Couple) -> None:
    """It is told, and never taken for equal."""
    with psycopg.connect(couple.primary.dsn) as locking:
        locking.execute("LOCK TABLE quiet")

        found = couple.compare(lock_timeout=timedelta(milliseconds=100))

    assert [(each.table, each.verdict) for each in found.deviations] == [("public.quiet", Verdict.UNDECIDED)]
    with pytest.raises(ServerUnfit, match="lock timeout"):
        found.require_equal()


def test_a_server_that_does_not_answer_is_told_in_our_words(couple: Couple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is not a table that takes too long, or the session is gone."""

    def asleep(session: psycopg.Connection[tuple[object, ...]]) -> None:
        session.execute("SET statement_timeout = '10ms'")
        session.execute("SELECT pg_sleep(10)")

    def gone(session: psycopg.Connection[tuple[object, ...]]) -> None:
        session.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    for look, kind, told in (
        (asleep, ServerUnfit, "can not be compared: canceling statement due to statement timeout"),
        (gone, ServerUnreachable, "a session with PostgreSQL was lost: terminating connection"),
    ):
        monkeypatch.setattr("pgvault.logical.compare.list_tables", look)
        with pytest.raises(kind, match=told):
            couple.compare()


def test_two_standbys_are_refused(couple: Couple) -> None:
    """Neither says what the other should have."""
    other = standby_of(couple.factory, couple.primary)
    try:
        with pytest.raises(ServerUnfit, match="both servers are standbys"):
            compare(couple.replica, other)
    finally:
        other.stop()


def test_a_server_is_not_compared_with_itself(couple: Couple) -> None:
    """Two addresses may lead to one: that it is equal says nothing."""
    by_address = Side("b", couple.primary.dsn + " application_name=other")

    with pytest.raises(UsageError, match="'a' and 'b' lead to one and the same server"):
        compare_servers(Side("a", couple.primary.dsn), by_address, CompareOrder(()), progress=NoProgress())


def test_what_a_provider_withholds_is_asked_for_where_it_decides(couple: Couple) -> None:
    """A replica that were compared like a copy would seem to differ whenever it is behind."""
    couple.primary.sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE someone LOGIN")
    couple.follow()
    sides = [Side("a", couple.primary.dsn_of("someone")), Side("b", couple.replica.dsn_of("someone"))]

    with pytest.raises(ServerUnfit, match="may not ask whether it is a replica of the other"):
        compare_servers(sides[0], sides[1], CompareOrder(()), progress=NoProgress())


def test_what_waits_ends_with_what_it_is_for(couple: Couple) -> None:
    """Ctrl-C, or a failure elsewhere: no query goes on in production, and nobody waits for one."""
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    ends: list[object] = []

    def sleep(session: psycopg.Connection[tuple[object, ...]]) -> None:
        try:
            session.execute("SELECT pg_sleep(60)")
        except psycopg.Error as error:
            ends.append(type(error))

    def interrupted() -> None:
        with Sessions(lambda: open_session(couple.primary.dsn, lock_timeout=timedelta(seconds=1)), 1) as sessions:
            threading.Thread(target=sessions.do, args=(sleep,)).start()
            wait_until(lambda: couple.primary.value(asleep) == 1)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert ends == [psycopg.errors.QueryCanceled]
    assert time.monotonic() - began < 10


def test_a_query_ends_when_nobody_waits_for_it(couple: Couple) -> None:
    """Were we killed, the server would read a large table to its end, and hold vacuum back."""
    with open_session(couple.primary.dsn, lock_timeout=timedelta(seconds=1)) as session:
        ((interval,),) = session.execute("SHOW client_connection_check_interval").fetchall()

    assert interval == "10s"


def test_a_copy_is_compared_by_what_its_tables_hold(templates: Path) -> None:
    """Through the command: equal is 0; a row, a table or a database that is not the same 37; nothing at all 2."""
    factory = ServerFactory(templates)
    runner = CliRunner()
    try:
        one, two = factory(NEWEST), factory(NEWEST)

        def ask(*words: str) -> tuple[object, object, dict[str, object]]:
            given = [one.dsn.replace("dbname=postgres", ""), two.dsn.replace("dbname=postgres", "")]
            result = runner.invoke(app, ["checks", "compare", *given, "--json", *words])
            document = json.loads(result.stdout) if result.stdout else {}
            return type(result.exception), document.get("equal"), document

        assert ask()[:2] == (UsageError, False)

        for each in (one, two):
            each.sql("CREATE DATABASE app")
            each.sql("CREATE TABLE t AS SELECT i FROM generate_series(1, 9) i", database="app")
        two.sql("UPDATE t SET i = i", database="app")
        kind, is_equal, document = ask()
        assert (kind, is_equal, document["databases"], document["rows"]) == (type(None), True, ["app", "postgres"], 9)

        two.sql("UPDATE t SET i = 10 WHERE i = 9", database="app")
        one.sql("CREATE TABLE only_here ()", database="app")
        kind, is_equal, document = ask("--database", "app")
        assert (kind, is_equal, document["databases"]) == (VerifyFailed, False, ["app"])
        assert document["deviations"] == [
            {"database": "app", "table": name, "verdict": "different", "why": why}
            for name, why in (
                ("public.only_here", "is missing (0 rows expected)"),
                ("public.t", "has other content in its 9 rows"),
            )
        ]

        one.sql("CREATE DATABASE more")
        assert "it is not in host=" in str(ask("--database", "more")[2]["deviations"])
        assert ask("--database", "nowhere")[0] is UsageError
        assert ask("--database", "postgres")[0] is UsageError
    finally:
        factory.clear()


def test_a_password_does_not_belong_into_the_arguments() -> None:
    """Everybody on the machine can read them."""
    result = CliRunner().invoke(app, ["checks", "compare", "host=a password=geheim", "host=b"])

    assert isinstance(result.exception, PlainSecret)
    assert "geheim" not in result.output + str(result.exception)


# What pgbench does by itself, in the first half of the accounts only: the other half can be damaged for good.
LOAD = r"""
\set aid random(1, 50000 * :scale)
\set bid random(1, :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""


@pytest.mark.endurance
@pytest.mark.parametrize("scale", [1, 10])
def test_pgbench_makes_no_false_alarm_and_hides_nothing(server: ServerFactory, tmp_path: Path, scale: int) -> None:
    """At full speed nothing is said of a healthy replica, each time; then one changed row is found."""
    primary = server(NEWEST, settings={"full_page_writes": "off", "autovacuum": "on"})
    pgbench = primary.programs.path("pgbench")
    run([pgbench, "-i", "-q", "-s", str(scale), primary.dsn], timeout=120)
    couple = Couple(primary, standby_of(server, primary, ignore_checksum_failure="on"), server)
    (tmp_path / "load.sql").write_text(LOAD)

    def load(seconds: int) -> threading.Thread:
        argv: list[str | Path] = [pgbench, "-n", "-c", "8", "-T", str(seconds), "-D", f"scale={scale}"]
        argv += ["-f", tmp_path / "load.sql", primary.dsn]
        thread = threading.Thread(target=lambda: run(argv, timeout=seconds + 60))
        thread.start()
        return thread

    loading = load(45)
    count = 0
    while loading.is_alive():
        assert couple.compare().deviations == []
        count += 1
    assert count > 1

    ((page,),) = primary.sql(f"SELECT (ctid::text::point)[0]::int FROM pgbench_accounts WHERE aid = {99_000 * scale}")
    path, start = couple.file_of("pgbench_accounts"), 8192 * int(str(page))
    couple.edit(lambda: damage_after(path, start, b" " * 60, b"     x"))
    loading = load(20)
    found = couple.compare()
    loading.join()

    assert [each.table for each in found.of(Verdict.DIFFERENT)] == ["public.pgbench_accounts"]
    assert f"at least 1 row changed on the replica, ctid ({page}," in found.deviations[0].why


def damage_after(path: Path, start: int, old: bytes, new: bytes) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(old, start)
    content[at : at + len(new)] = new
    path.write_bytes(content)

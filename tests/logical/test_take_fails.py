"""Whatever goes wrong in the middle of a dump: nothing is listed, nothing runs on, no room stays taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import DiskFull, PgvaultError, ProgramFailed, ServerUnfit, ServerUnreachable, StoreUnreachable
from pgvault.logical.spool import open_spool
from pgvault.process import start
from tests.logical.takes import Source, dumpers, make_source
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

ROWS = "CREATE TABLE wide AS SELECT g, md5(g::text) || md5((-g)::text) AS t FROM generate_series(1, 100000) g"
NARROW = 1 << 20  # bytes of spool: pg_dump stands still until something is stored
ROOT = Path(__file__).resolve().parent.parent.parent
TAKER = """
import sys, time
from pathlib import Path
from pgvault.cli.signals import leaving_in_order
from pgvault.cli.opening import open_cluster, make_source
from pgvault.instants import SystemClock
from pgvault.logical.request import LogicalRequest
from pgvault.logical.take import take_logical
from tests.logical.takes import ENVIRONMENT, OnFirstPack
place = Path(sys.argv[2])
def wait():
    (place / "stored").touch()
    while not (place / "go").exists():
        time.sleep(0.02)
opened = open_cluster(make_source(Path(sys.argv[1])), "main")
request = LogicalRequest("main", sys.argv[3], None, spool=place / "spools", spool_limit=1 << 20,
    environment=ENVIRONMENT)
with leaving_in_order(1):
    take_logical(opened.repository, request, clock=SystemClock(), progress=OnFirstPack(wait))
"""


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def shared(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Source:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    server = servers(NEWEST)
    server.sql(ROWS)
    return make_source(server, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def source(shared: Source, tmp_path: Path) -> Source:
    """The shared server, and a repository of the test's own."""
    return make_source(shared.server, tmp_path)


def assert_nothing_is_left(source: Source) -> None:
    """Of a backup that failed: listed, running, connected, or in the spool."""
    assert source.labels() == []
    assert source.aborted() == 1
    assert dumpers(source.spools) == []
    assert list(source.spools.iterdir()) == []
    wait_until(lambda: source.sessions() == 0)


def kill_pg_dump(source: Source) -> Callable[[], None]:
    def kill() -> None:
        os.kill(dumpers(source.spools)[0], signal.SIGKILL)

    return kill


def test_a_killed_pg_dump(source: Source) -> None:
    """Is a failed backup, said in its words."""
    with pytest.raises(ProgramFailed, match="pg_dump was killed by SIGKILL"):
        source.take_when(kill_pg_dump(source), spool_limit=NARROW)

    assert_nothing_is_left(source)


def test_a_killed_worker_of_pg_dump(source: Source) -> None:
    """Does not pass for the end of its table."""

    def kill() -> None:
        for pid in dumpers(source.spools)[1:]:
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(ProgramFailed, match="pg_dump failed with status 1"):
        source.take_when(kill, spool_limit=NARROW)

    assert_nothing_is_left(source)


@pytest.mark.parametrize("name", ["pgvault", "pgvault pg_dump"])
def test_a_session_that_is_ended(source: Source, name: str) -> None:
    """By an administrator or a network: the one with the snapshot, or those of pg_dump."""
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE application_name = '{name}' AND xact_start IS NOT NULL"
    )

    with pytest.raises((ServerUnreachable, ProgramFailed)):
        source.take_when(lambda: source.server.sql(query), spool_limit=NARROW)

    assert_nothing_is_left(source)


@pytest.mark.endurance
def test_a_server_that_stops(server: ServerFactory, tmp_path: Path) -> None:
    """In the middle: the backup says that it is the server."""
    source = make_source(server(NEWEST), tmp_path)
    source.server.sql(ROWS)

    with pytest.raises(ServerUnreachable):
        source.take_when(source.server.kill, spool_limit=NARROW)

    assert source.labels() == []
    assert dumpers(source.spools) == []
    assert list(source.spools.iterdir()) == []


def test_a_store_that_fails(source: Source) -> None:
    """While pg_dump stands still because of it: nobody waits for ever."""

    def fail() -> None:
        raise StoreUnreachable("the store was told to fail")

    with pytest.raises(StoreUnreachable, match="told to fail"):
        source.take_when(fail, spool_limit=NARROW)

    assert_nothing_is_left(source)


def test_a_table_that_is_to_be_dropped(source: Source) -> None:
    """Stays until we are done: the statement waits, and the backup has the table."""
    refused: list[bool] = []

    def drop() -> None:
        with psycopg.connect(source.server.dsn, options="-c lock_timeout=100ms") as other:
            try:
                other.execute("DROP TABLE wide")
            except psycopg.errors.LockNotAvailable:
                refused.append(True)

    manifest = source.take_when(drop, spool_limit=NARROW)

    assert refused
    assert source.tables(manifest, "postgres")["public.wide"].rows == 100000


def test_a_table_that_stays_locked(source: Source) -> None:
    """Is waited for no longer than lock_wait, before pg_dump has begun."""
    with psycopg.connect(source.server.dsn) as other:
        other.execute("LOCK TABLE wide IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(ServerUnfit, match="tables can not be locked for reading"):
            source.take(lock_wait=timedelta(milliseconds=100))

    assert_nothing_is_left(source)


def test_a_full_disk(source: Source, tmp_path: Path) -> None:
    """Is what the error says, with its own exit code."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], check=False, stderr=-3).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(DiskFull, match="no room in the spool"):
            source.take(spool=place)
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)

    assert_nothing_is_left(source)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.endurance),
        pytest.param(signal.SIGINT, marks=pytest.mark.endurance),
    ],
)
def test_we_are_ended_ourselves(source: Source, tmp_path: Path, number: signal.Signals) -> None:
    """By kill -9 no pg_dump survives, though it stood still, and no session; the next run clears the spool."""
    words: list[str | Path] = [sys.executable, "-c", TAKER, source.archive.config, tmp_path, source.server.dsn]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    taker = start(words, env=environment, log=tmp_path / "log", cwd=ROOT)
    try:
        wait_until((tmp_path / "stored").exists)
        assert dumpers(source.spools)

        taker.signal(number)
        if number is not signal.SIGKILL:
            (tmp_path / "go").touch()
        taker.wait(20)

        wait_until(lambda: dumpers(source.spools) == [])
        wait_until(lambda: source.sessions() == 0)
        assert source.labels() == []
        assert len(list(source.spools.iterdir())) == (1 if number is signal.SIGKILL else 0)
        with open_spool(source.spools):
            pass  # as the next run does
        assert list(source.spools.iterdir()) == []
    finally:
        taker.signal(signal.SIGKILL)


def test_the_errors_have_their_own_exit_codes() -> None:
    """So that a scheduler can tell a full disk from a lost server."""
    kinds: tuple[type[PgvaultError], ...] = (DiskFull, ServerUnreachable, ServerUnfit, ProgramFailed)

    assert [kind.exit_code for kind in kinds] == [39, 20, 21, 19]

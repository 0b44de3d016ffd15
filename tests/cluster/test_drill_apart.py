"""Production on the host of a drill stays as it is, whatever the backup and the WAL behind it hold."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgvault.config import CheckConfig
from pgvault.drill.isolation import Isolation, IsolationWish
from pgvault.drill.scratch import PREFIX, clear_leftovers
from pgvault.postgres.owner import may_unshare
from pgvault.process import attempt
from tests.archive import ROOT
from tests.cluster.drills import Stage, digest, make_stage, write_orders
from tests.cluster.test_drill import UNWRITTEN, measured
from tests.sandboxes import processes_in, require_sandbox
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="any other user drills as himself")
SANDBOX = IsolationWish(Isolation.SANDBOX)
PROCESS = IsolationWish(Isolation.PROCESS)

# Runs a program as the server's user; what it prints is the result.
REACH = """
CREATE FUNCTION reach(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', '(cat >/dev/null; ' || command || ') >reached 2>&1; true');
    RETURN pg_read_file('reached');
END $$
"""


@dataclass(frozen=True, slots=True)
class Production:
    """A server on this host and all that a drill of it could harm."""

    stage: Stage
    places: tuple[Path, ...]  # of its tablespaces
    publisher: socket.socket  # what its subscription would connect to

    def digests(self) -> list[str]:
        """Of its data, its tablespaces and its archive's names."""
        data = digest(self.stage.server.data, without=UNWRITTEN)
        return [data, *(digest(place) for place in self.places), *self.stage.names()]


@pytest.fixture(scope="module")
def production(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """A shop with a tablespace and a subscription, backed up; behind the backup tablespaces are made and dropped."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        with socket.socket() as publisher:
            publisher.bind(("127.0.0.1", 0))
            publisher.listen()
            publisher.setblocking(False)
            yield make_production(factory, tmp_path_factory.mktemp("production"), publisher)
    finally:
        factory.clear()


def make_production(factory: ServerFactory, directory: Path, publisher: socket.socket) -> Production:
    """Write the story."""
    stage = make_stage(factory, NEWEST, directory)
    one, old, late, again = (
        stage.server,
        factory.directory(),
        factory.directory() / "la te",
        factory.directory() / "again",
    )
    late.mkdir()
    again.mkdir()
    one.restart({"max_logical_replication_workers": "0"})  # or production itself would connect
    one.sql(REACH)
    one.sql(f"CREATE TABLESPACE old LOCATION '{old}'")
    one.sql("CREATE TABLE was TABLESPACE old AS SELECT generate_series(1, 1000) AS a")
    address = f"host=127.0.0.1 port={publisher.getsockname()[1]} dbname=postgres"
    options = "connect = false, slot_name = 'told'"
    one.sql(f"CREATE SUBSCRIPTION told CONNECTION '{address}' PUBLICATION news WITH ({options})")
    one.sql("ALTER SUBSCRIPTION told ENABLE")
    stage.backup()
    write_orders(one.dsn)
    one.sql(f"CREATE TABLESPACE late LOCATION '{late}'")
    one.sql("CREATE TABLE made TABLESPACE late AS SELECT generate_series(1, 500) AS a")
    stage.archive_all()
    one.sql(f"CREATE TABLESPACE gone LOCATION '{again}'")
    one.sql("CREATE TABLE t TABLESPACE gone AS SELECT 1 AS a")
    one.sql("DROP TABLE t")
    one.sql("DROP TABLESPACE gone")
    stage.archive_all()
    one.sql(f"CREATE TABLESPACE again LOCATION '{again}'")
    one.sql("CREATE TABLE anew TABLESPACE again AS SELECT generate_series(1, 50) AS a")
    stage.archive_all()
    one.sql("CHECKPOINT")
    return Production(stage, (old, late, again), publisher)


def counting(table: str) -> CheckConfig:
    return CheckConfig(name=table, query=f"SELECT count(*) FROM {table}", threshold=1e9)


def out_of_reach(what: str, command: str, *, says: str) -> CheckConfig:
    """A check that finds a row unless a program, run by the restored server, ends in these words."""
    command = command.replace("'", "''")
    query = f"SELECT said FROM reach('{command}') AS said WHERE said !~ '{says}'"
    return CheckConfig(name=what, query=query, allow_empty=True)


def test_a_drill_in_the_sandbox_harms_nothing(production: Production) -> None:
    """Tablespaces, also those that replayed WAL makes and drops, a subscription, sockets, files: all are as before."""
    require_sandbox()
    stage, (_, late, again) = production.stage, production.places
    psql = stage.server.programs.path("psql")
    free = "env -u PGSSLMINPROTOCOLVERSION -u PGSSLMAXPROTOCOLVERSION"
    connect = f"{free} {psql} -U postgres -c '' -h {stage.server.instance.socket_dir}"
    workers = "SELECT 1 FROM pg_stat_activity WHERE backend_type ~ 'logical'"
    checks = (
        *(counting(table) for table in ("was", "made", "anew", "orders")),
        out_of_reach("data", f"ls {stage.server.data}", says="No such file"),
        out_of_reach("repository", f"ls {stage.archive.root}", says="No such file"),
        out_of_reach("key", f"cat {stage.archive.key}", says="No such file"),
        out_of_reach("socket", connect, says="No such file"),
        out_of_reach("writing", "touch /usr/x", says="Read-only file system"),
        CheckConfig(name="workers", query=workers, allow_empty=True),
    )
    before = production.digests()

    report = stage.drill(checks=checks, isolation=SANDBOX)

    assert report.passed, report.reason
    assert [measured(report, table) for table in ("was", "made", "anew", "orders")] == [1000, 500, 50, 200]
    assert report.isolation == "sandbox: bubblewrap, with a file system, processes, memory and a network of its own"
    for place in (late, again):
        assert f"WAL makes a tablespace at '{place}': replayed inside of the scratch" in report.notes
    assert report.checks[-1].name == "pg_checksums"
    assert production.digests() == before
    with pytest.raises(BlockingIOError):
        production.publisher.accept()


def test_beside_production_it_is_refused(production: Production) -> None:
    """Without a sandbox a replayed CREATE TABLESPACE would write into production: could not run, with what helps."""
    before = production.digests()

    report = production.stage.drill(isolation=PROCESS)

    assert not report.could_run
    assert f"creates a tablespace at '{production.places[1]}'" in report.reason
    assert report.isolation is not None
    assert report.isolation.endswith("; weaker than a sandbox")
    assert production.digests() == before
    with pytest.raises(BlockingIOError):
        production.publisher.accept()


@as_root
def test_root_s_rights_are_not_those_of_what_was_restored(plain: Stage, server: ServerFactory, tmp_path: Path) -> None:
    """Beside production, a superuser's function is run by a user who owns nothing: no file of root's is changed."""
    place = server.directory()
    place.chmod(0o711)
    open_to_all = server.directory()
    open_to_all.chmod(0o755)
    (open_to_all / "file").write_text("as it was")
    checks = (
        out_of_reach("user", "id", says="^uid=10001 gid=10001 groups=10001"),
        out_of_reach("writing", f"echo x >{open_to_all / 'file'}", says="denied"),
        out_of_reach("making", f"touch {open_to_all / 'more'}", says="denied"),
        out_of_reach("data", f"cat {plain.server.data / 'PG_VERSION'}", says="denied"),
        out_of_reach("key", f"cat {plain.archive.key}", says="denied"),
        out_of_reach(
            "namespace", "unshare -Ur sh -c 'mount -t tmpfs x /etc && touch /etc/x'; ls /etc/x", says="No such"
        ),
        out_of_reach("capabilities", "grep CapEff /proc/self/status", says="CapEff:[[:space:]]+0+[[:space:]]"),
    )

    report = plain.drill(checks=checks, isolation=PROCESS, scratch=place)

    assert report.passed, [check.detail for check in report.checks if check.failed] + [report.reason]
    assert report.isolation == "process: private directory, no TCP, own user; weaker than a sandbox"
    assert (open_to_all / "file").read_text() == "as it was"
    assert list(place.iterdir()) == []


@as_root
def test_root_drills_with_its_own_rights_only_when_told_to(
    plain: Stage, server: ServerFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No bubblewrap, and a scratch that no other user may enter: could not run, with what helps."""
    for name in ("sh", "setpriv", "unshare"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path))
    place = server.directory()  # 0700, root's

    refused = plain.drill(isolation=IsolationWish(), scratch=place)
    told = plain.drill(isolation=PROCESS, scratch=place)

    assert not refused.could_run
    assert "would run with root's own rights: bubblewrap (bwrap) is not installed" in refused.reason
    assert told.passed or not may_unshare(), told.reason
    assert told.isolation is not None
    assert ", since a user of its own can not run PostgreSQL here: " in told.isolation


@pytest.mark.parametrize(
    ("isolation", "phase"), [(Isolation.SANDBOX, "fetch"), (Isolation.SANDBOX, "open"), (Isolation.PROCESS, "check")]
)
def test_a_killed_drill_is_cleared_away_by_the_next(
    plain: Stage, server: ServerFactory, isolation: Isolation, phase: str
) -> None:
    """Its server and its directory; what carries no marker of ours, or somebody's else, stays."""
    if isolation is Isolation.SANDBOX:
        require_sandbox()
    scratch = server.directory()
    strangers = [scratch / f"{PREFIX}01234567", scratch / "else"]
    for stranger in strangers:
        stranger.mkdir()
        (stranger / "file").touch()
    words = [sys.executable, "-m", "tests.cluster.dying_at", str(plain.archive.root), str(scratch), isolation, phase]
    ended = attempt(words, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.status == -signal.SIGKILL, ended
    (left,) = set(scratch.iterdir()) - set(strangers)
    if isolation is Isolation.SANDBOX:
        wait_until(lambda: processes_in(left) == [])
    else:
        assert processes_in(left) != []

    clear_leftovers(scratch)

    assert processes_in(left) == []
    assert sorted(scratch.iterdir()) == sorted(strangers)
    assert all((stranger / "file").exists() for stranger in strangers)


@pytest.fixture(scope="module")
def plain(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A shop that was backed up."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        stage = make_stage(factory, NEWEST, tmp_path_factory.mktemp("plain"))
        stage.server.sql(REACH)
        stage.backup()
        stage.archive_all()
        yield stage
    finally:
        factory.clear()

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgvault.drill.isolation import Isolation, IsolationWish, isolate
from pgvault.drill.sandbox import find_sandbox
from pgvault.drill.scratch import make_scratch, remove_scratch
from pgvault.errors import DrillNotRun
from pgvault.postgres.instance import SERVER_ENVIRONMENT, ServerState, ShutdownMode
from pgvault.postgres.programs import find_programs
from pgvault.process import attempt, run, start
from tests.archive import ROOT
from tests.sandboxes import Inside, make_inside, processes_in, require_sandbox
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

# The scratch's own environment keeps libpq from connecting anywhere; here it may try.
FREE = ("env", "-u", "PGSSLMINPROTOCOLVERSION", "-u", "PGSSLMAXPROTOCOLVERSION", "PGCONNECT_TIMEOUT=5")


@pytest.fixture(scope="module")
def production(templates: Path) -> Iterator[Server]:
    """A server that runs beside the sandbox, of the same user."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        yield factory(NEWEST)
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def inside(templates: Path) -> Iterator[Inside]:
    """A server in a sandbox, running."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    made: Inside | None = None
    try:
        made = make_inside(factory(NEWEST, running=False), factory.directory())
        made.instance.start({"fsync": "off"})
        made.instance.wait_ready(60)
        yield made
    finally:
        if made is not None:
            made.instance.kill()
            remove_scratch(made.scratch)
        factory.clear()


def test_only_what_a_server_needs_is_there(inside: Inside, production: Server, tmp_path: Path) -> None:
    """Of this host: programs and libraries. Keys, configuration and data are not there to be read."""
    key = tmp_path / "key"
    key.write_text("secret")
    root = set(inside.look("ls", "-A", "/").split())

    ours = {path.parts[1] for path in (inside.scratch.root, inside.instance.programs.bin)}
    assert root <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var", *ours}
    assert not root & {"run", "proc", "sys", "home"}
    assert set(inside.look("ls", "-A", "/etc").split()) <= {
        "alternatives",
        "group",
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "passwd",
    }
    outside = (key, production.data, production.instance.socket_dir, ROOT / "pyproject.toml")
    for path in (*outside, Path("/etc/shadow"), Path("/var/run")):
        assert "No such file" in inside.look("ls", path), path


def test_no_server_outside_can_be_reached(inside: Inside, production: Server) -> None:
    """Not by its unix socket, not by an abstract one, not by TCP: each is reached from out here."""
    psql = [str(inside.instance.programs.path("psql")), "-XAt", "-U", "postgres", "-c", "SELECT 'reached'"]
    place = production.instance.socket_dir
    assert run([*psql, "-h", str(place)], timeout=60, env=SERVER_ENVIRONMENT).strip() == "reached"

    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as abstract:
        tcp.bind(("127.0.0.1", 0))
        abstract.bind(f"\0pgvault-{os.getpid()}/.s.PGSQL.5432")
        for listener in (tcp, abstract):
            listener.listen()
            listener.setblocking(False)
        hosts = [
            ["-h", str(place)],
            ["-h", f"@pgvault-{os.getpid()}"],
            ["-h", "127.0.0.1", "-p", str(tcp.getsockname()[1])],
        ]
        said = [inside.look(*FREE, *psql, *host) for host in hosts]
        for listener in (tcp, abstract):
            with pytest.raises(BlockingIOError):
                listener.accept()

    assert "No such file" in said[0]
    assert all("reached" not in each and "failed" in each for each in said), said
    assert inside.look(*FREE, *psql, "-h", inside.scratch.sockets).strip() == "reached"


def test_nothing_outside_is_written(inside: Inside, tmp_path: Path) -> None:
    """What code in the restored database writes stays in the scratch, and what we believe there is read-only."""
    root = inside.scratch.root
    kept = [root / "marker", root / "conf" / "pg_hba.conf", root / "log", root / "walclient.sh", Path("/etc/passwd")]
    before = [path.read_bytes() for path in kept]
    elsewhere = [Path(path) for path in ("/x", "/usr/x", "/etc/x", "/proc/sys/kernel/core_pattern")]
    for path in (*kept, tmp_path / "x", *elsewhere):
        said = inside.look("sh", "-c", f"echo x >>{path}")
        assert any(why in said for why in ("Read-only file system", "nonexistent", "No such file")), said
        with psycopg.connect(inside.instance.dsn) as connection, pytest.raises(psycopg.Error):
            connection.execute(f"COPY (SELECT 1) TO '{path}'")
    inside.look("mv", root / "marker", root / "moved")

    after = [path.read_bytes() for path in kept]
    assert [*after[:2], *after[3:]] == [*before[:2], *before[3:]]
    assert after[2].startswith(before[2]), "only the server itself logs"
    assert not (tmp_path / "x").exists()


def test_who_is_inside_may_nothing(inside: Inside) -> None:
    """No capability, none to be gained, and no namespace in which there would be some."""
    rights = inside.look("setpriv", "-dd")

    assert "uid: 1000" in rights
    assert "no_new_privs: 1" in rights
    assert "Effective capabilities: [none]" in rights
    if disables_namespaces():
        assert "hello" not in inside.look("unshare", "--user", "echo", "hello")


def disables_namespaces() -> bool:
    """Whether this bubblewrap is 0.8 or newer."""
    return "--disable-userns" in attempt(["bwrap", "--help"], timeout=60).output


@pytest.mark.endurance
def test_a_server_in_it_is_stopped_as_any_other(inside: Inside) -> None:
    """Fast: cleanly, by its own checkpoint. Killed: all at once. Started at once again after either."""
    instance, root = inside.instance, inside.scratch.root
    words = [instance.programs.path("pg_controldata"), inside.scratch.data]

    instance.stop(ShutdownMode.FAST)

    assert (instance.state(), processes_in(root)) == (ServerState.STOPPED, [])
    command = inside.launcher.command(words, env=SERVER_ENVIRONMENT, data=inside.scratch.data)
    assert "cluster state:               shut down\n" in run(command.argv, timeout=60, env=command.env)
    instance.start({"fsync": "off"})
    instance.wait_ready(60)

    instance.kill()

    assert (instance.state(), processes_in(root)) == (ServerState.STOPPED, [])
    assert "cluster state:               in production\n" in run(command.argv, timeout=60, env=command.env)
    instance.start({"fsync": "off"})
    instance.wait_ready(60)


@pytest.mark.endurance
def test_it_is_stopped_while_it_starts(inside: Inside) -> None:
    """A signal waits for the postmaster to be there."""
    inside.instance.stop(ShutdownMode.FAST)
    inside.instance.start({"fsync": "off"})
    inside.instance.stop(ShutdownMode.IMMEDIATE)

    assert inside.instance.state() is ServerState.STOPPED
    inside.instance.start({"fsync": "off"})
    inside.instance.wait_ready(60)


STARTED = """
import sys, time
from pathlib import Path
from dataclasses import replace
from pgvault.drill.scratch import make_instance, Scratch
from pgvault.drill.sandbox import find_sandbox
from pgvault.postgres.programs import find_programs

root, major = Path(sys.argv[1]), int(sys.argv[2])
programs = find_programs(major)
scratch = Scratch("x", root, -1, find_sandbox(root, programs))
instance = make_instance(scratch, programs)
instance.start({"fsync": "off"})
instance.wait_ready(60)
print(instance.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.endurance
def test_it_ends_with_us(server: ServerFactory) -> None:
    """Killed like nothing may be prepared for: no process of the server is left, without anybody's doing."""
    made = make_inside(server(NEWEST, running=False), server.directory())
    log = made.scratch.root.parent / "drill.log"
    drill = start(
        [sys.executable, "-c", STARTED, made.scratch.root, str(NEWEST)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        log=log,
    )
    wait_until(lambda: log.read_text().strip().isdigit())
    assert len(processes_in(made.scratch.root)) > 3

    drill.signal(signal.SIGKILL)
    drill.wait(60)

    wait_until(lambda: processes_in(made.scratch.root) == [])
    remove_scratch(made.scratch)


def test_a_path_of_this_host_is_the_scratch_s_inside(inside: Inside, tmp_path: Path) -> None:
    """What is written there is written into the scratch; nothing is there outside."""
    place, directory = tmp_path / "ts" / "deep", inside.scratch.tablespaces / "one"
    directory.mkdir()
    inside.launcher.bind(place, directory)
    command = inside.launcher.command(["/bin/sh", "-c", f"echo x >{place}/f"], env=SERVER_ENVIRONMENT)

    run(command.argv, timeout=60, env=command.env)

    assert (directory / "f").read_text() == "x\n"
    assert not place.exists()


@pytest.mark.parametrize("path", ["/", "/usr/no/such"])
def test_where_nothing_can_be_bound_the_drill_could_not_run(server: ServerFactory, path: str) -> None:
    """It is told before the server is started again."""
    require_sandbox()
    scratch = make_scratch(server.directory())
    try:
        with pytest.raises(DrillNotRun):
            find_sandbox(scratch.root, find_programs(NEWEST)).bind(Path(path), scratch.tablespaces)
    finally:
        remove_scratch(scratch)


def test_without_bubblewrap(server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is refused; else the report says that isolation is weaker, and why."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    find_programs(NEWEST)
    for name in ("sh", "setpriv"):  # what root's drill beside production takes
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path))
    place = server.directory()
    place.chmod(0o711)
    scratch = make_scratch(place)
    try:
        with pytest.raises(DrillNotRun) as caught:
            isolate(IsolationWish(Isolation.SANDBOX), scratch.root, NEWEST)
        best = isolate(IsolationWish(), scratch.root, NEWEST)
        chosen = isolate(IsolationWish(Isolation.PROCESS), scratch.root, NEWEST)
        pod = isolate(IsolationWish(is_in_pod=True), scratch.root, NEWEST)
    finally:
        remove_scratch(scratch)

    assert caught.value.hint == "Install bubblewrap."
    assert best.kind is Isolation.PROCESS
    assert best.told.startswith("process: private directory, no TCP, ")
    assert best.told.endswith("; weaker than a sandbox: bubblewrap (bwrap) is not installed")
    assert chosen.told.endswith("; weaker than a sandbox")
    assert pod.told.startswith("pod: nothing but what this pod was given can be reached; in it process: ")


def test_a_bubblewrap_that_does_not_work(
    server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are in the report: most often user namespaces are denied."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    find_programs(NEWEST)
    fake = tmp_path / "bwrap"
    said = "bwrap: setting up uid map: Permission denied"
    fake.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    place = server.directory()
    place.chmod(0o711)
    scratch = make_scratch(place)
    try:
        best = isolate(IsolationWish(), scratch.root, NEWEST)
    finally:
        remove_scratch(scratch)

    assert best.told.endswith(f"weaker than a sandbox: bubblewrap does not work here: {said}")


def test_where_it_works_it_is_chosen(server: ServerFactory) -> None:
    """Without being asked for."""
    require_sandbox()
    scratch = make_scratch(server.directory())
    try:
        best = isolate(IsolationWish(), scratch.root, NEWEST)
    finally:
        remove_scratch(scratch)

    assert best.kind is Isolation.SANDBOX
    assert best.told == "sandbox: bubblewrap, with a file system, processes, memory and a network of its own"
    assert not best.launcher.shares_processes
    assert replace(scratch, launcher=best.launcher).launcher.can_bind

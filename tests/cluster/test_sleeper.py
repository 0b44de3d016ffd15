"""Two backups at once, and one that stands still for longer than its lease while another takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgvault.errors import AlreadyRunning, ServerUnreachable
from pgvault.postgres.server import Session
from pgvault.repository.catalog import read_catalog
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from tests.archive import ROOT, make_archive
from tests.cluster.places import Place
from tests.repository.holders import elsewhere
from tests.repository.samples import LABEL

OTHER = "20260115T103000Z-0002"


@contextmanager
def sleeper(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A backup that has come to where it halts, and is stopped there."""
    argv = [sys.executable, "-m", "tests.cluster.sleeper", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip()
            child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
            yield child
        finally:
            child.kill()


def wake(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Let it go on; return how it ended and what it said."""
    child.send_signal(signal.SIGCONT)
    _, said = child.communicate("go on\n", timeout=60)
    return child.returncode, said


def test_sleeper_fails_and_nothing_of_it_is_listed(tmp_path: Path) -> None:
    """It is told who has its lease, and exits as one that is second does; its label is aborted for ever."""
    archive = make_archive(tmp_path)
    claim = Claim("main", OTHER)
    with (
        sleeper("by_hand", archive.root, LABEL) as child,
        acquire(archive.repository, "backup-main", claim, command="backup") as lease,
    ):
        status, said = wake(child)
        lease.require_held()

    assert status == AlreadyRunning.exit_code, said
    assert f"error: lease 'backup-main' was taken over meanwhile, by backup on host '{os.uname().nodename}'" in said
    assert f"pid {os.getpid()}, backup {OTHER}" in said
    catalog = read_catalog(archive.repository, "main")
    assert (catalog.backups, catalog.aborted) == ((), (LABEL,))


@pytest.mark.cluster
def test_a_second_backup_from_another_host_is_told_who_holds_it(newest: Place) -> None:
    """It can not see the process, so it waits for its next heartbeat; the first goes on as if nothing had been."""
    listed, aborted = newest.labels(), newest.catalog().aborted
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(AlreadyRunning) as caught:
            newest.back_up(terms=elsewhere("db2", ttl_seconds=2))
        refused.append(str(caught.value))

    manifest = newest.back_up_when("copying", second, terms=elsewhere("db1", ttl_seconds=2))

    assert f"'backup-main' is held by backup on host 'db1', pid 7, backup {manifest.label}" in refused[0]
    assert newest.labels() == [*listed, manifest.label]
    assert newest.catalog().aborted == aborted


@pytest.mark.cluster
def test_a_backup_that_is_gone_but_for_its_session_is_taken_over(newest: Place) -> None:
    """Its host was cut off: no heartbeats, and its session still holds the lock of the server."""
    terms = elsewhere("dead", ttl_seconds=0.2)
    acquire(newest.archive.repository, "backup-main", Claim("main", LABEL), command="backup", terms=terms)
    with Session(newest.server.dsn) as dead:
        assert dead.try_backup_lock() is None

        manifest = newest.back_up()

        with pytest.raises(ServerUnreachable):
            dead.ping()
    assert manifest.label in newest.labels()
    assert LABEL in newest.catalog().aborted


@pytest.mark.endurance
@pytest.mark.cluster
def test_sleeping_backup_of_a_server_is_taken_over(newest: Place) -> None:
    """Its session ends, the second backup is whole, and the first can not commit."""
    listed, aborted = newest.labels(), newest.catalog().aborted
    with sleeper("backup", newest.archive.root, newest.server.dsn) as child:
        second = newest.back_up()
        status, said = wake(child)

    assert status in (AlreadyRunning.exit_code, ServerUnreachable.exit_code), said
    assert newest.labels() == [*listed, second.label]
    assert len(newest.catalog().aborted) == len(aborted) + 1
    assert newest.verify().problems == []
    assert newest.back_up().label in newest.labels()

"""A real recovery takes most of its WAL from the spool, and ends where it must whoever is killed meanwhile."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pgvault.cli.restore import program
from pgvault.recovery.target import LatestTarget
from pgvault.restore.apply import Fetching
from pgvault.restore.place import marks_directory
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import rows, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("major", [NEWEST])]

RESTORED_LOG = re.compile(r'restored log file "[0-9A-F]{24}" from archive')
TAKEN = re.compile(r"(\d+) of (\d+) segments were taken from the spool")


def write_segments(vault: Vault, count: int) -> None:
    """One row in each of so many segments, all archived."""
    with_switch = "; ".join(["INSERT INTO rows VALUES ({})", "SELECT pg_switch_wal()"])
    for number in range(1, count + 1):
        vault.server.sql(with_switch.format(number))
        if number % 20 == 0:
            vault.archive_all()  # it waits, and not for too much at once
    vault.archive_all()


def restored(vault: Vault) -> Path:
    """A directory restored as the command line does it, not yet started."""
    fetching = Fetching(program(), {"config": str(vault.archive.config)})
    return vault.restore(LatestTarget(), fetching=fetching).directory


def ahead(marks: Path) -> list[int]:
    """The processes that look ahead for a restore."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"pgvault.cli.lookahead" in (line := path.read_bytes()) and os.fsencode(marks) in line:
                found.append(int(path.parent.name))
    return found


def test_a_recovery_takes_its_wal_from_the_spool(server: ServerFactory, major: int, tmp_path: Path) -> None:
    """All but the first segments; every row is there, and behind the last one nobody and nothing is left."""
    vault = make_vault(server, major, tmp_path)
    vault.backup()
    write_segments(vault, 12)
    vault.server.stop()
    data = restored(vault)
    marks = marks_directory(data)

    opened = vault.start(data)

    assert rows(opened) == list(range(1, 13))
    wait_until(lambda: not ahead(marks), seconds=10)
    [(taken, asked)] = TAKEN.findall((marks / "ahead.log").read_text())
    assert int(taken) == int(asked) >= 10
    assert not list(marks.glob("ahead-*"))


@pytest.mark.endurance
def test_two_hundred_segments_arrive_whoever_is_killed(server: ServerFactory, major: int, tmp_path: Path) -> None:
    """Each second whoever looks ahead is killed: the recovery gets slower, and not a row is lost."""
    vault = make_vault(server, major, tmp_path)
    vault.backup()
    write_segments(vault, 200)
    vault.server.stop()
    data = restored(vault)
    marks = marks_directory(data)

    opened = vault.factory.adopt(vault.server.programs, data, running=False)
    opened.instance.start({})
    kills = 0
    while "selected new timeline" not in opened.instance.log_text():
        for process in ahead(marks):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                kills += 1
        time.sleep(1)
        assert opened.instance.log_text().count("FATAL") == 0
    opened.instance.wait_ready(60)

    assert rows(opened) == list(range(1, 201))
    assert len(RESTORED_LOG.findall(opened.instance.log_text())) >= 200
    assert kills > 3

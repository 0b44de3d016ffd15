"""A program on a leash: it ends with whoever started it, stops and goes on as a group, and says how it ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pgvault.errors import ProgramFailed
from pgvault.process import Leashed, Process, leashed, start
from tests.wal.servers import wait_until

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
# A leader and a child that writes dots, as pg_dump and its worker.
WRITER = 'while :; do printf . ; sleep 0.01; done & echo "$!" >&2; wait'
STARTER = """
import sys, time
from pathlib import Path
from pgvault.process import leashed
ran = leashed(["/bin/sh", "-c", sys.argv[2]], env={}, log=Path(sys.argv[1]) / "log", output=Path(sys.argv[1]) / "out")
(Path(sys.argv[1]) / "pid").write_text(str(ran.pid))
if sys.argv[3] == "stopped":
    ran.stop()
time.sleep(600)
"""


def lead(directory: Path, script: str) -> Leashed:
    return leashed(["/bin/sh", "-c", script], env=ENV, log=directory / "log", output=directory / "out")


def is_there(pid: int) -> bool:
    """Whether a process lives; what waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_still(pid: int) -> bool:
    """Whether a process is stopped: T, or D where a shell waits for the vfork that was stopped before its exec."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TD"


def worker(directory: Path) -> int:
    """The process id that the writer's leader told."""
    wait_until(lambda: (directory / "log").read_text().endswith("\n"))
    return int((directory / "log").read_text())


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -15), ("kill -9 $$", -9)]
)
def test_it_ends_as_its_program(tmp_path: Path, script: str, status: int) -> None:
    """By status or by signal."""
    with lead(tmp_path, script) as ran:
        wait_until(lambda: ran.poll() is not None)

        assert ran.poll() == status


def test_a_failure_is_told_in_its_words(tmp_path: Path) -> None:
    """With the last lines of stderr."""
    with lead(tmp_path, "echo well >&2; exit 3") as ran:
        ran.finish(10)
        with pytest.raises(ProgramFailed, match="sh failed with status 3: well"):
            ran.check()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """Says so like any other failure."""
    with leashed(["/nowhere/pg_dump"], env=ENV, log=tmp_path / "log") as ran:
        ran.finish(10)
        with pytest.raises(ProgramFailed, match="status 127: /nowhere/pg_dump: No such file"):
            ran.check()


def test_one_that_runs_too_long_is_ended(tmp_path: Path) -> None:
    """And says so; nothing of it is left."""
    with lead(tmp_path, "sleep 600") as ran, pytest.raises(ProgramFailed, match="sh did not finish within"):
        ran.finish(0.1)
    assert not is_there(ran.pid)


def test_the_group_stands_still_and_goes_on(tmp_path: Path) -> None:
    """All of it: pg_dump's workers are what writes."""
    with lead(tmp_path, WRITER) as ran:
        pid = worker(tmp_path)
        ran.stop()
        wait_until(lambda: is_still(pid) and is_still(ran.pid))
        written = (tmp_path / "out").stat().st_size
        time.sleep(0.1)
        assert (tmp_path / "out").stat().st_size == written

        ran.go_on()

        wait_until(lambda: (tmp_path / "out").stat().st_size > written)
    assert not is_there(pid)
    assert not is_there(ran.pid)


@pytest.mark.parametrize("how", [pytest.param("running", marks=pytest.mark.endurance), "stopped"])
@pytest.mark.parametrize("victim", ["starter", "leash", "program"])
def test_nothing_survives_a_kill(tmp_path: Path, how: str, victim: str) -> None:
    """SIGKILL to us, to the leash, to the program: no process of the group is left, stopped or not."""
    root = Path(__file__).parent.parent
    one = start([sys.executable, "-c", STARTER, tmp_path, WRITER, how], env=ENV, log=tmp_path / "log", cwd=root)
    try:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        leader = int((tmp_path / "pid").read_text())
        leash = int(Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[1])
        if how == "stopped":
            # A sleep that had ended may wait for its parent, which stands still.
            wait_until(lambda: all(map(is_still, filter(is_there, group_of(leader)))))
        group = group_of(leader)

        os.kill({"starter": one.pid, "leash": leash, "program": leader}[victim], signal.SIGKILL)

        if (victim, how) == ("leash", "running"):
            # A shell's child has no pipe to its leader, as pg_dump's workers have: it is the leader that has to go.
            wait_until(lambda: not is_there(leader))
            os.killpg(leader, signal.SIGKILL)
        wait_until(lambda: not any(map(is_there, [*group, leash])))
    finally:
        end(one)


def group_of(leader: int) -> list[int]:
    """Process ids of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            found.append(int(path.parent.name))
    return found


def end(process: Process) -> None:
    process.signal(signal.SIGKILL)
    process.wait(10)


def test_a_finished_program_leaves_no_worker(tmp_path: Path) -> None:
    """A leader that crashes does not leave its children writing."""
    with lead(tmp_path, 'sleep 600 & echo "$!" >&2; exit 1') as ran:
        pid = worker(tmp_path)
        wait_until(lambda: ran.poll() is not None)

        assert not is_there(pid)

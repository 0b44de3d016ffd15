from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pgvault.errors import ProgramFailed, ProgramMissing
from pgvault.process import CAN_NOT_RUN, attempt, run, start


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not, within a second."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_output_comes_back() -> None:
    """What a program prints on stdout is returned; what it prints on stderr is not."""
    assert run(["sh", "-c", "cat; echo aside >&2"], timeout=10, input="häßlich\n") == "häßlich\n"


def test_bytes_that_are_no_text_survive() -> None:
    """A path of a tablespace may hold any byte, and must go back to the system unchanged."""
    assert os.fsencode(run(["printf", r"\377/x"], timeout=10)) == b"\xff/x"


def test_failure_quotes_stderr() -> None:
    """The message names the program, its status and its last words."""
    script = "for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; exit 3"

    with pytest.raises(ProgramFailed, match=r"^sh failed with status 3: line 2; .*; line 7$"):
        run(["sh", "-c", script], timeout=10)


def test_a_killed_program_says_by_what() -> None:
    """A signal is named, not given as a number."""
    with pytest.raises(ProgramFailed, match=r"^sh was killed by SIGKILL$"):
        run(["sh", "-c", "kill -9 $$"], timeout=10)


def test_a_wrapped_program_fails_under_its_own_name() -> None:
    """Who looks for what failed must not find `setpriv`."""
    with pytest.raises(ProgramFailed, match=r"^false failed with status 1$"):
        run(["setpriv", "--", "false"], timeout=10)


@pytest.mark.parametrize("program", ["/nonexistent/postgres", "no-such-program", "/etc/passwd"])
def test_a_program_that_can_not_be_run_is_missing(program: str) -> None:
    """Absent and not executable are the same error."""
    with pytest.raises(ProgramMissing, match=program):
        run([program], timeout=10)


def test_a_missing_directory_is_not_a_missing_program(tmp_path: Path) -> None:
    """A wrong `cwd` is told apart."""
    with pytest.raises(ProgramFailed, match="can not run in"):
        run(["true"], timeout=10, cwd=tmp_path / "absent")


def test_timeout_ends_the_whole_family(tmp_path: Path) -> None:
    """A grandchild that holds our pipe neither survives nor keeps us waiting."""
    started = time.monotonic()

    with pytest.raises(ProgramFailed, match=r"^sh did not finish within 0.5 s: begun$"):
        run(["sh", "-c", "echo begun >&2; sleep 60 & echo $! > pid; wait"], timeout=0.5, cwd=tmp_path)

    assert time.monotonic() - started < 10
    assert gone(int((tmp_path / "pid").read_text()))


def test_environment_is_whole_or_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `env` a program sees nothing else."""
    monkeypatch.setenv("PGVAULT_TEST", "inherited")

    assert run(["/bin/sh", "-c", "echo $PGVAULT_TEST"], timeout=10) == "inherited\n"
    assert run(["/bin/sh", "-c", "echo $PGVAULT_TEST"], timeout=10, env={"OTHER": "x"}) == "\n"


def test_a_status_can_be_an_answer() -> None:
    """`attempt` returns what `run` would raise."""
    finished = attempt(["sh", "-c", "echo out; echo err >&2; exit 4"], timeout=10)

    assert (finished.status, finished.output, finished.errors) == (4, "out\n", "err\n")


def test_a_started_program_runs_beside_us(tmp_path: Path) -> None:
    """It has a session of its own, logs to its file, and is ended by its process id."""
    child = start(["sh", "-c", "echo up; exec sleep 60"], env={"PATH": "/usr/bin:/bin"}, log=tmp_path / "log")

    while not (tmp_path / "log").read_text():
        time.sleep(0.01)
    assert child.poll() is None
    assert os.getsid(child.pid) == child.pid
    child.signal(signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM
    assert (tmp_path / "log").read_text() == "up\n"
    child.signal(signal.SIGTERM)  # gone: nobody is hit


def test_waiting_for_a_started_program_has_an_end(tmp_path: Path) -> None:
    """`wait` gives up in time and leaves the program alone."""
    child = start(["sleep", "60"], env={"PATH": "/usr/bin:/bin"}, log=tmp_path / "log")

    with pytest.raises(ProgramFailed, match=r"did not end within 0\.1 s"):
        child.wait(0.1)

    assert child.poll() is None
    child.signal(signal.SIGKILL)
    child.wait(10)


def test_a_started_program_may_outlive_its_object(tmp_path: Path) -> None:
    """Dropping the object is no leak to warn of: filterwarnings would make it an error."""
    child = start(["sleep", "60"], env={"PATH": "/usr/bin:/bin"}, log=tmp_path / "log")
    pid = child.pid

    del child

    os.kill(pid, signal.SIGKILL)
    assert gone(pid)


@pytest.mark.parametrize("status", CAN_NOT_RUN)
def test_what_can_not_be_run_is_missing(status: int) -> None:
    """By a shell's word, or an engine's: the program said nothing about its work."""
    with pytest.raises(ProgramMissing, match=f"sh can not be run, status {status}: no such image"):
        run(["sh", "-c", f"echo no such image >&2; exit {status}"], timeout=60)


def test_a_container_is_named_by_what_runs_in_it(tmp_path: Path) -> None:
    """Not by the engine, which did not fail."""
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\nexit 2\n")
    engine.chmod(0o755)

    with pytest.raises(ProgramFailed, match=r"^pg_amcheck failed with status 2"):
        run([engine, "run", "--entrypoint=/usr/bin/pg_amcheck", "image", "--all"], timeout=60)

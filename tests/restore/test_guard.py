from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.errors import UsageError
from pgvault.process import Finished, attempt
from pgvault.restore.guard import restore_command

SHELLS = [shell for shell in ("/bin/sh", "/bin/bash") if Path(shell).exists()]
SPOILT_NAMES = [
    "a b",
    "it's",
    'say "hi"',
    "100%",
    "%f %p %%",
    "$HOME `id`",
    "back\\slash",
    "new\nline",
    "-rf",
    "~",
    "ü;&|",
]


def substitute(command: str, *, file: str, path: str) -> str:
    """What PostgreSQL does to restore_command before it calls the shell; from 16 on it refuses unknown escapes."""
    replacements = {"%%": "%", "%f": file, "%p": path}
    return re.sub("%.?", lambda match: replacements[match[0]], command, flags=re.DOTALL)


def call(command: str, *, shell: str = "/bin/sh", prefix: Sequence[str] = (), cwd: Path | None = None) -> Finished:
    """Run restore_command as the startup process does, for one segment."""
    text = substitute(command, file="000000010000000000000003", path="pg_wal/RECOVERYXLOG")
    return attempt([*prefix, shell, "-c", text], timeout=20, env={"PATH": "/usr/bin:/bin"}, cwd=cwd)


def program(path: Path, body: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


STATUSES = [0, 1, 2, 3, 20, 30, 76, 77, 78, 125, 126, 127, 128, 129, 137, 143, 200, 255]


@pytest.mark.parametrize("shell", SHELLS)
def test_only_success_and_confirmed_absence_pass(shell: str, tmp_path: Path) -> None:
    """0 stays 0, 77 becomes 1, and every other status 255."""
    statuses = {
        status: call(restore_command([str(program(tmp_path / "fetch", f"exit {status}"))]), shell=shell).status
        for status in STATUSES
    }

    assert statuses == {status: {0: 0, 77: 1}.get(status, 255) for status in STATUSES}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_follower_waits_whatever_happens(shell: str, tmp_path: Path) -> None:
    """For a standby 0 stays 0 and every other status is 1: 255 would take it down."""
    statuses = {
        status: call(
            restore_command([str(program(tmp_path / "fetch", f"exit {status}"))], follows=True), shell=shell
        ).status
        for status in [*STATUSES]
    }

    assert statuses == {status: 0 if status == 0 else 1 for status in STATUSES}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "HUP", "QUIT", "ABRT"])
def test_a_killed_fetch_is_no_absence(name: str, shell: str, tmp_path: Path) -> None:
    """A fetch that dies of a signal stops the server."""
    fetch = program(tmp_path / "fetch", f"ulimit -c 0; kill -{name} $$; sleep 5")

    assert call(restore_command([str(fetch)]), shell=shell).status == 255


@pytest.mark.parametrize("shell", SHELLS)
def test_a_broken_installation_is_no_absence(shell: str, tmp_path: Path) -> None:
    """A missing program, one without rights, a directory, a missing interpreter, a broken Python: 255."""
    unrunnable = tmp_path / "unrunnable"
    unrunnable.write_text("text")
    no_interpreter = program(tmp_path / "no_interpreter", "")
    no_interpreter.write_text("#!/nowhere/python\n")
    broken = tmp_path / "broken.py"
    broken.write_text("import nowhere_to_be_found")
    python = shutil.which("python3") or "/usr/bin/python3"
    fetches = [
        ["/nowhere/pgvault", "wal", "fetch"],
        [str(unrunnable)],
        [str(tmp_path)],
        [str(no_interpreter)],
        [python, str(broken)],
        [python, "/nowhere/script.py"],
        [python, "--no-such-option"],
    ]

    statuses = [call(restore_command(fetch), shell=shell).status for fetch in fetches]

    assert statuses == [255] * len(fetches)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs another user's process limit")
def test_a_shell_that_can_not_fork_is_no_absence() -> None:
    """A dash ends with 2 there, which without the trap would open the server for writing."""
    prefix = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", "--nproc=1"]
    unguarded = "/bin/true; rc=$?; [ $rc -eq 0 ] && exit 0; [ $rc -eq 77 ] && exit 1; exit 255"

    assert call(unguarded, prefix=prefix).status == 2
    assert call(restore_command(["/bin/true"]), prefix=prefix).status == 255


def test_name_and_path_arrive_behind_the_arguments(tmp_path: Path) -> None:
    """`fetch ARGUMENTS… NAME PATH`, in the directory in which the server runs it."""
    fetch = program(tmp_path / "fetch", 'printf "%s\\n" "$PWD" "$@"')

    finished = call(restore_command([str(fetch), "wal", "fetch", "--plan", "/x/plan"]), cwd=tmp_path)

    assert finished.output.splitlines() == [
        str(tmp_path),
        "wal",
        "fetch",
        "--plan",
        "/x/plan",
        "000000010000000000000003",
        "pg_wal/RECOVERYXLOG",
    ]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("spoilt", SPOILT_NAMES)
def test_any_path_is_a_path(spoilt: str, shell: str, tmp_path: Path) -> None:
    """Spaces, quotes, percent signs and the like in a program's path or an argument mean themselves."""
    fetch = program(tmp_path / spoilt / "fetch", 'printf "%s" "$1"')

    finished = call(restore_command([str(fetch), spoilt]), shell=shell)

    assert finished == Finished(0, spoilt, "")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_any_argument_survives_postgresql_and_the_shell(argument: str) -> None:
    """What is passed in is what the program gets, after PostgreSQL's % and the shell's quotes."""
    finished = call(restore_command(["/usr/bin/printf", "%s\n", argument]))

    assert finished.output == f"{argument}\n000000010000000000000003\npg_wal/RECOVERYXLOG\n"


@pytest.mark.parametrize("fetch", [[], ["pgvault", "wal"], ["/bin/true", "a\0b"]])
def test_what_can_not_be_a_command_is_refused(fetch: list[str]) -> None:
    """No program, one that PATH would decide about, a NUL byte."""
    with pytest.raises(UsageError):
        restore_command(fetch)

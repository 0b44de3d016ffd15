"""Scratch servers in a sandbox, to look around in from inside."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from pgvault.drill.sandbox import SandboxLauncher, find_sandbox
from pgvault.drill.scratch import Scratch, make_instance, make_scratch
from pgvault.errors import DrillNotRun
from pgvault.postgres.instance import Instance
from pgvault.postgres.programs import Programs
from tests.servers import Server

LOOK_AROUND = """
CREATE FUNCTION pg_temp.look(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', '(cat >/dev/null; ' || command || ') >looked 2>&1; true');
    RETURN pg_read_file('looked');
END $$
"""


def require_sandbox() -> None:
    """Skip, naming what is missing, where bubblewrap is not there; fail where it is and does not work."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: no sandbox was tried")


@dataclass(slots=True)
class Inside:
    """A server in a sandbox."""

    scratch: Scratch
    instance: Instance
    launcher: SandboxLauncher

    def look(self, *words: str | Path) -> str:
        """What a program prints that a function in the restored database runs: nothing is kept from its superuser."""
        command = " ".join(shlex.quote(str(word)) for word in words)
        with psycopg.connect(self.instance.dsn, autocommit=True) as connection:
            connection.execute(LOOK_AROUND)
            row = connection.execute("SELECT pg_temp.look(%s)", [command]).fetchone()
        assert row is not None
        return str(row[0])


def make_inside(source: Server, place: Path) -> Inside:
    """Copy a stopped server's data directory into a sandbox, not started."""
    require_sandbox()
    made = make_scratch(place)
    launcher = must_find_sandbox(made.root, source.programs)
    scratch = replace(made, launcher=launcher)
    shutil.copytree(source.data, scratch.data, symlinks=True)
    scratch.give_all()
    return Inside(scratch, make_instance(scratch, source.programs), launcher)


def must_find_sandbox(root: Path, programs: Programs) -> SandboxLauncher:
    """Where bubblewrap is installed tests want it to work, or nobody would know that they do not run."""
    try:
        return find_sandbox(root, programs)
    except DrillNotRun as error:
        raise AssertionError(f"bubblewrap is installed: {error}") from error


def processes_in(root: Path) -> list[int]:
    """Processes that work in the data directory below `root`, seen from any namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").samefile(root / "data"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found

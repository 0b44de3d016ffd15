"""Scratch servers in a sandbox, to look around in from inside."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psycopg
import pytest

from pgvault.drill.sandbox import SEPARATE, SandboxLauncher, find_sandbox
from pgvault.drill.scratch import Scratch, make_instance, make_scratch
from pgvault.postgres.instance import Instance
from pgvault.process import attempt
from tests.servers import Server

LOOK_AROUND = """
CREATE FUNCTION pg_temp.look(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', '(cat >/dev/null; ' || command || ') >looked 2>&1; true');
    RETURN pg_read_file('looked');
END $$
"""


@cache
def missing() -> str | None:
    """Say why there are no sandboxes here; None: there are. .ci/run looks for these words."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed: no sandbox was tried"
    probe = attempt(["bwrap", *SEPARATE, "--ro-bind", "/", "/", "true"], timeout=60)
    return f"bubblewrap does not work: {probe.errors.strip()}" if probe.status != 0 else None


def require_sandbox() -> None:
    """Skip, naming what is missing."""
    if (lack := missing()) is not None:
        pytest.skip(lack)


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
    launcher = find_sandbox(made.root, source.programs)
    scratch = replace(made, launcher=launcher)
    shutil.copytree(source.data, scratch.data, symlinks=True)
    scratch.give_all()
    return Inside(scratch, make_instance(scratch, source.programs), launcher)


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

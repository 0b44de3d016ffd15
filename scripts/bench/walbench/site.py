"""A server, its repository and its load, for all questions alike."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from pgvault.cli.invoking import quick_program
from pgvault.postgres.instance import Instance, ShutdownMode, init_cluster
from pgvault.postgres.programs import find_programs

Facts = dict[str, Any]

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SET_CHILD_SUBREAPER = 36  # of prctl(2)
QUIET = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "fsync": "off",
    "max_wal_size": "100GB",
    "shared_buffers": "256MB",
    "synchronous_commit": "off",
}
TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


class Site:
    """A cluster below a directory, and a repository of pgvault's beside it."""

    def __init__(self, directory: Path, major: int) -> None:
        self.directory = directory
        self.programs = find_programs(major)
        self.data = directory / "data"
        init_cluster(self.programs, self.data, options=("--no-sync",))
        self.server = self.instance(self.data)
        self.config = directory / "pgvault.yaml"

    def instance(self, data: Path) -> Instance:
        """A server on `data`, not started."""
        sockets = self.directory / f"s{len(list(self.directory.glob('s[0-9]*')))}"
        sockets.mkdir(mode=0o700)
        return Instance(self.programs, data, sockets, sockets / "log")

    def start(self, **settings: str) -> None:
        """Start the cluster's server."""
        self.server.start({**QUIET, **settings})
        self.server.wait_ready(300)

    def stop(self, mode: ShutdownMode = ShutdownMode.FAST) -> None:
        self.server.stop(mode, timeout=600)

    def new_repository(self, name: str, **cluster: object) -> None:
        """Initialise a repository and write the configuration that names it."""
        lines = "".join(f", {key}: {value}" for key, value in cluster.items())
        self.config.write_text(
            f"repository:\n  key: file:{self.directory}/{name}.key\n"
            f"  copies:\n    primary: {{url: 'file://{self.directory}/{name}'}}\n"
            f'clusters:\n  main: {{dsn: "{self.server.dsn}", jobs: 2{lines}}}\n'
        )
        quiet([*self.pgvault("init"), "--generate-key", self.directory / f"{name}.key"])

    def pgvault(self, *words: str) -> list[str | Path]:
        """Return the words of a pgvault command, as it is installed."""
        script = Path(sys.executable).with_name("pgvault")
        program: list[str | Path] = [script] if script.exists() else [sys.executable, "-m", "pgvault"]
        return ["/usr/bin/env", f"PYTHONPATH={ROOT}", *program, "--config", self.config, *words]

    def push_command(self) -> str:
        """What archive_command would be, as `check --print-settings` has it."""
        return f"{shlex.join([*quick_program('pushprogram.py'), '--config', str(self.config), 'wal', 'push'])} %p"

    def sql(self, text: str) -> Any:
        """Run a statement; return the one value that it returns, if any."""
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def archive_by(self, command: str) -> None:
        """Change archive_command while the server runs; its archiver looks around at once."""
        self.sql(f"ALTER SYSTEM SET archive_command = '{command.replace(chr(39), chr(39) * 2)}'")
        self.sql("SELECT pg_reload_conf()")

    def fill(self, scale: int) -> None:
        """Make pgbench's tables."""
        quiet([self.programs.path("pgbench"), "-i", "-q", "-s", str(scale), self.server.dsn])

    def load(self, seconds: int, *options: str) -> float:
        """Let pgbench write; return its transactions a second."""
        words: list[str | Path] = [self.programs.path("pgbench"), "-n", "-c", "4", "-j", "2", "-T", str(seconds)]
        found = TPS.search(text_of([*words, *options, self.server.dsn]))
        return float(found[1]) if found else 0.0

    def write_segments(self, number: int) -> None:
        """Let pgbench write until so many segments have been finished: page images, mostly, as after a checkpoint."""
        begin = self.segment_number()
        while self.segment_number() - begin < number:
            self.sql("CHECKPOINT")
            self.load(5, "-N", "-M", "prepared")
        self.sql("SELECT pg_switch_wal()")

    def segment_number(self) -> int:
        return int(self.sql("SELECT (pg_current_wal_lsn() - '0/0')::bigint / (16 << 20)"))

    def waiting(self) -> list[Path]:
        """What the server has marked for its archiver."""
        return sorted((self.data / "pg_wal" / "archive_status").glob("*.ready"))


def adopt_orphans() -> None:
    """Become the parent of what our descendants leave behind, so that its processor time can be counted."""
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def cpu_seconds() -> float:
    """Processor time of all our descendants that have ended, those that nobody waited for included.

    Waits for the latter; so no other child may run.
    """
    deadline = time.monotonic() + 100
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wait_for(claim: Callable[[], object], *, seconds: float, what: str) -> None:
    """Wait until `claim` holds; end the program when it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: waited {seconds:g} s in vain")
        time.sleep(0.02)


def quiet(words: Sequence[str | Path]) -> None:
    """Run a program that only matters if it fails."""
    text_of(words)


def text_of(words: Sequence[str | Path]) -> str:
    """Run a program and return what it prints."""
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode:
        raise SystemExit(f"{words[0]} failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def mib_below(directory: Path) -> float:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 2**20


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out columns: the first to the left, the others to the right."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in pairs)
        for pairs in ([*enumerate(zip(line, widths, strict=True))] for line in lines)
    )


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)

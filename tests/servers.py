"""Throw-away PostgreSQL servers for tests: real programs, a copied cluster, a socket under /tmp, gone afterwards.

initdb takes a second, so it is run once per kind of cluster for all workers, and the result copied. Copies share their
system identifier, as a cluster and its restored copy do; a test that needs a stranger asks for `fresh=True`.
fsync is off (no test pulls the plug on the machine), full_page_writes stays on (restores depend on it).
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from pgvault.postgres.instance import Instance, ShutdownMode, init_cluster
from pgvault.postgres.programs import Programs, find_programs, installed_majors

MAJORS = installed_majors()  # 15 from Debian, 17 and 18 from the wheels, or whatever is here
NEWEST = MAJORS[-1] if MAJORS else 0  # for tests to which the major is all one

# For claims about our own doing that were first made on every major: scripts/test tries the newest, .ci/run all.
NEWEST_OR_CI = [pytest.param(each, marks=() if each == NEWEST else pytest.mark.endurance) for each in MAJORS]
older_in_ci = pytest.mark.parametrize("major", NEWEST_OR_CI)

START_TIMEOUT_SECONDS = 60
QUICK = {"fsync": "off", "shared_buffers": "16MB", "autovacuum": "off", "max_wal_size": "1GB"}


@dataclass(slots=True)
class Server:
    """A running server and what tests do with it."""

    instance: Instance
    settings: dict[str, str]

    @property
    def programs(self) -> Programs:
        return self.instance.programs

    @property
    def data(self) -> Path:
        return self.instance.data

    @property
    def dsn(self) -> str:
        return self.instance.dsn

    def dsn_of(self, role: str, database: str = "postgres") -> str:
        """The connection string of another role or database."""
        return self.dsn.replace("user=postgres", f"user={role}").replace("dbname=postgres", f"dbname={database}")

    def sql(self, text: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement, or several without results, as the superuser; each commits by itself."""
        with psycopg.connect(self.dsn_of("postgres", database), autocommit=True) as connection:
            cursor = connection.execute(text.encode(connection.info.encoding))
            return cursor.fetchall() if cursor.description else []

    def value(self, text: str, *, database: str = "postgres") -> object:
        """The one value that a query returns."""
        ((value,),) = self.sql(text, database=database)
        return value

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start it again; new settings stay for later starts."""
        self.settings |= settings or {}
        self.instance.start(self.settings)
        self.instance.wait_ready(START_TIMEOUT_SECONDS, accept_standby=True)

    def restart(self, settings: Mapping[str, str] | None = None) -> None:
        """Stop it cleanly and start it again."""
        self.stop()
        self.start(settings)

    def stop(self) -> None:
        self.instance.stop(ShutdownMode.FAST)

    def kill(self) -> None:
        """Like a power cut; it stays down."""
        self.instance.kill()


class ServerFactory:
    """Makes servers for one test and clears them away."""

    def __init__(self, templates: Path) -> None:
        self._templates = templates
        self._servers: list[Server] = []
        self._directories: list[Path] = []

    def __call__(
        self,
        major: int,
        *,
        settings: Mapping[str, str] | None = None,
        wal_segsize_mib: int = 16,
        initdb: Sequence[str] = (),
        fresh: bool = False,
        running: bool = True,
    ) -> Server:
        """A new cluster of that major, running unless told otherwise; `settings` as `-c` has them."""
        programs = find_programs(major)
        directory = self.directory()
        if fresh:
            init_cluster(programs, directory / "data", wal_segsize_mib=wal_segsize_mib, options=("--no-sync", *initdb))
        else:
            template = self._template(programs, wal_segsize_mib, initdb)
            shutil.copytree(template, directory / "data", symlinks=True)
        return self.adopt(programs, directory / "data", settings=settings, running=running)

    def adopt(
        self, programs: Programs, data: Path, *, settings: Mapping[str, str] | None = None, running: bool = True
    ) -> Server:
        """A server on a data directory that exists, such as a restored one."""
        sockets = self.directory()
        instance = Instance(programs, data, sockets, sockets / "log")
        server = Server(instance, QUICK | dict(settings or {}))
        self._servers.append(server)
        if running:
            server.start()
        return server

    def directory(self) -> Path:
        """A private directory with a short path, removed after the test."""
        path = Path(tempfile.mkdtemp(prefix="pgv-", dir="/tmp"))
        self._directories.append(path)
        return path

    def clear(self) -> None:
        """End all servers and remove all directories."""
        for server in self._servers:
            server.kill()
        for directory in self._directories:
            shutil.rmtree(directory)

    def _template(self, programs: Programs, wal_segsize_mib: int, initdb: Sequence[str]) -> Path:
        path = self._templates / "-".join([str(programs.major), str(wal_segsize_mib), *(o.strip("-") for o in initdb)])
        with (self._templates / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it, too
            if not path.exists():
                begun = path.with_name(f"{path.name}.begun")
                shutil.rmtree(begun, ignore_errors=True)
                init_cluster(programs, begun, wal_segsize_mib=wal_segsize_mib, options=("--no-sync", *initdb))
                begun.rename(path)
        return path

"""A small shop on a throw-away PostgreSQL, archived and backed up by pgvault itself: what faults are planted into."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.demo import shop
from pgvault.errors import ArchiveNotWorking
from pgvault.instants import Clock
from pgvault.postgres.instance import Instance, init_cluster
from pgvault.postgres.programs import Programs
from pgvault.postgres.server import Session
from pgvault.progress import NoProgress
from pgvault.repository.repository import Repository

CLUSTER = "main"
START_SECONDS = 60.0
ARCHIVE_WAIT = timedelta(seconds=120)
COUNTS = {"customers": 100, "orders": 100}
SETTINGS = {
    "archive_mode": "on",
    "shared_buffers": "16MB",
    "fsync": "off",
    "autovacuum": "off",
    "max_wal_senders": "2",
}


@dataclass(frozen=True, slots=True)
class SelfTestHost:
    """What the command line gives: where it runs, and how repositories are made and opened."""

    directory: Path  # private and empty; its path is short
    config: Path  # of the configuration that was written for it
    make_repository: Callable[[str], Repository]  # given the dsn: writes the configuration, initialises, opens
    open_repository: Callable[[Path], Repository]  # a copy of it, by its directory, with the same key
    open_wrongly: Callable[[Path], Repository]  # with another key
    clock: Clock

    @property
    def root(self) -> Path:
        """Where the repository lies."""
        return self.directory / "repository"


@dataclass(slots=True)
class Ground:
    """A running shop and its repository."""

    host: SelfTestHost
    instance: Instance
    repository: Repository
    copies: int = 0

    def sql(self, *statements: str) -> None:
        """Run statements in the shop, each by itself."""
        with psycopg.connect(self.instance.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str) -> str:
        """Return one value."""
        with psycopg.connect(self.instance.dsn, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])

    def sell(self) -> None:
        """Take orders: one commit."""
        shop.sell(self.instance.dsn, **COUNTS)

    def back_up(self) -> None:
        """Take a full backup."""
        request = BackupRequest(CLUSTER, None, 2, ARCHIVE_WAIT)
        with Session(self.instance.dsn) as session:
            take_backup(self.repository, session, request, clock=self.host.clock, progress=NoProgress())

    def archive(self) -> None:
        """Finish the segment that is being written, and wait until it is archived. Raises ArchiveNotWorking."""
        name = self.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        self.sql("SELECT pg_create_restore_point('self-test')", "SELECT pg_switch_wal()")
        deadline = self.host.clock.monotonic() + ARCHIVE_WAIT.total_seconds()
        while not any(self.host.root.glob(f"clusters/{CLUSTER}/wal/*/*/{name}")):
            if self.host.clock.monotonic() > deadline:
                raise ArchiveNotWorking(f"WAL segment {name!r} of the throw-away cluster was not archived")
            time.sleep(0.05)

    def copy(self) -> Path:
        """Copy the repository, to be damaged."""
        self.copies += 1
        root = self.host.directory / f"copy-{self.copies}"
        shutil.copytree(self.host.root, root)
        return root

    def segments(self, root: Path) -> list[Path]:
        """The archived segments in a copy, in order."""
        return sorted(path for path in root.glob(f"clusters/{CLUSTER}/wal/*/*/*") if len(path.name) == 24)

    def flip(self, table: str) -> str:
        """Change one byte of the first page of a table or index, the server being down; return the file's name."""
        self.sql("CHECKPOINT")
        name = self.value(f"SELECT pg_relation_filepath('{table}')")
        self.instance.stop()
        flip_byte(self.instance.data / name, 4000)
        start(self.instance, self.host.config)
        return name


@contextmanager
def prepared(host: SelfTestHost, programs: Programs) -> Iterator[Ground]:
    """A shop that is backed up, with orders behind the backup that are archived; its server ends with the context."""
    data = host.directory / "production"
    sockets = host.directory / "s"
    sockets.mkdir(mode=0o700)
    init_cluster(programs, data, wal_segsize_mib=1)
    instance = Instance(programs, data, sockets, host.directory / "log")
    repository = host.make_repository(instance.dsn)
    try:
        start(instance, host.config)
        ground = Ground(host, instance, repository)
        shop.fill(instance.dsn, **COUNTS)
        ground.back_up()
        for _ in range(3):
            ground.sell()
            ground.archive()
        yield ground
    finally:
        instance.kill()


def flip_byte(path: Path, offset: int) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def start(instance: Instance, config: Path) -> None:
    """Start the shop's server, which archives by `wal push`."""
    push = f'"{sys.executable}" -m pgvault --config "{config}" wal push "%p"'
    instance.start({**SETTINGS, "archive_command": push})
    instance.wait_ready(START_SECONDS)

"""A primary that archives, and a streaming standby of it that is backed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event

import psycopg

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.instants import SystemClock
from pgvault.postgres.server import Session
from pgvault.process import run
from pgvault.progress import NoProgress, Progress
from pgvault.repository.catalog import read_catalog
from pgvault.repository.manifest import Manifest
from tests.archive import Archive, make_archive
from tests.cluster.vaults import Vault
from tests.servers import Server, ServerFactory
from tests.wal.servers import archiving, wait_until

WAIT = timedelta(seconds=60)


@dataclass(slots=True)
class Pair:
    """Both servers, and their archive."""

    factory: ServerFactory
    primary: Server
    standby: Server
    archive: Archive
    vault: Vault  # the primary with its archive, to restore from

    def request(self, *, with_primary: bool = True, wait: timedelta = WAIT) -> BackupRequest:
        """What to back up; with `primary_dsn` or without."""
        way = (lambda: Session(self.primary.dsn)) if with_primary else None
        return BackupRequest("main", None, 2, wait, connect_primary=way)

    def backup(self, request: BackupRequest | None = None, *, progress: Progress | None = None) -> Manifest:
        """Take a backup from the standby."""
        with Session(self.standby.dsn) as session:
            return take_backup(
                self.archive.repository,
                session,
                request or self.request(),
                clock=SystemClock(),
                progress=progress or NoProgress(),
            )

    def labels(self) -> list[str]:
        """The committed backups."""
        return [backup.label for backup in read_catalog(self.archive.repository, "main").backups]

    def wait_replayed(self) -> None:
        """Wait until the standby has replayed what the primary has written."""
        lsn = self.primary.value("SELECT pg_current_wal_insert_lsn()")
        wait_until(lambda: self.standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"), seconds=120)


def make_pair(
    factory: ServerFactory, major: int, directory: Path, *, settings: Mapping[str, str] | None = None
) -> Pair:
    """A primary that archives into a repository below `directory`, and its standby."""
    directory.mkdir(exist_ok=True)
    archive = make_archive(directory)
    primary = archiving(factory, major, archive, wal_segsize_mib=1)
    standby = add_standby(factory, primary, settings=settings)
    pair = Pair(factory, primary, standby, archive, Vault(factory, primary, archive, directory))
    pair.wait_replayed()
    return pair


def add_standby(factory: ServerFactory, primary: Server, *, settings: Mapping[str, str] | None = None) -> Server:
    """A standby that streams from `primary`."""
    data = factory.directory() / "data"
    run(
        [primary.programs.path("pg_basebackup"), "-d", primary.dsn, "-D", data, "-R", "-X", "stream", "-c", "fast"],
        timeout=120,
    )
    standby = factory.adopt(primary.programs, data, settings={"hot_standby": "on", **(settings or {})}, running=False)
    standby.instance.environment = {}
    standby.start()
    return standby


@contextmanager
def loaded_pair(templates: Path, major: int, directory: Path) -> Iterator[Pair]:
    """A pair with tables `rows`, `accounts` and `history`, for all tests of a module; each leaves it as it was."""
    factory = ServerFactory(templates)
    try:
        pair = make_pair(factory, major, directory)
        pair.primary.sql("CREATE TABLE rows (number int)")
        pair.primary.sql("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL DEFAULT 0)")
        pair.primary.sql("INSERT INTO accounts (id) SELECT generate_series(1, 2000)")
        pair.primary.sql("CREATE TABLE history (delta int)")
        pair.primary.sql("CHECKPOINT")  # what was made is not replayed by every restore
        pair.wait_replayed()
        yield pair
    finally:
        factory.clear()


@contextmanager
def written_to(primary: Server) -> Iterator[None]:
    """Transactions, one after the other: what `history` holds is what `accounts` have."""
    is_over = Event()

    def write() -> None:
        change = (
            "WITH changed AS (UPDATE accounts SET balance = balance + %(number)s WHERE id = %(number)s %% 2000 + 1)"
            " INSERT INTO history VALUES (%(number)s)"
        )
        with psycopg.connect(primary.dsn, autocommit=True) as connection:
            for number in count(1):
                connection.execute(change, {"number": number})
                if is_over.wait(0.005):  # a segment now and then: each is archived and fetched by a program of its own
                    return

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield
        finally:
            is_over.set()
        writing.result()


def sums(dsn: str) -> Sequence[object]:
    """What `written_to` keeps in balance, and how much it did."""
    with Session(dsn) as session:
        return session.row(
            "SELECT (SELECT sum(balance) FROM public.accounts), (SELECT sum(delta) FROM public.history),"
            " (SELECT count(*) FROM public.history)"
        )


@contextmanager
def paused(standby: Server) -> Iterator[None]:
    """Replay stands still."""
    standby.sql("SELECT pg_wal_replay_pause()")
    wait_until(lambda: standby.value("SELECT pg_get_wal_replay_pause_state()") == "paused")
    try:
        yield
    finally:
        if standby.value("SELECT pg_is_in_recovery()"):
            standby.sql("SELECT pg_wal_replay_resume()")


def impatient(request: BackupRequest) -> BackupRequest:
    """The same, with little patience."""
    return replace(request, archive_wait=timedelta(seconds=2))

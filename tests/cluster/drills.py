"""A shop that was backed up and archived, and drills of it; damage is done to copies of its repository."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.config import Objectives
from pgvault.demo import shop
from pgvault.drill.isolation import BEST, IsolationWish
from pgvault.drill.report import DrillReport
from pgvault.drill.run import DrillRequest, run_drill
from pgvault.drill.scratch import PREFIX
from pgvault.instants import SystemClock
from pgvault.postgres.server import Session
from pgvault.progress import NoProgress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import open_repository
from pgvault.stores.file import FileStore
from tests.archive import KEY, Archive, make_archive
from tests.servers import Server, ServerFactory
from tests.wal.servers import archiving, system_of, wait_archived

COUNTS = {"customers": 100, "orders": 100}
EXACT = Objectives()


def load_shop(dsn: str) -> None:
    """Make the shop's tables and fill them, small."""
    shop.fill(dsn, **COUNTS)


def write_orders(dsn: str) -> None:
    """Go on selling: one commit."""
    shop.sell(dsn, **COUNTS)


def digest(root: Path, *, without: frozenset[str] = frozenset()) -> str:
    """A hash over names, kinds and contents below `root`; `without` names directories and files left out."""
    found = hashlib.sha256()
    for folder, directories, files in os.walk(root):
        directories[:] = sorted(name for name in directories if name not in without)
        for name in sorted(name for name in files if name not in without):
            path = Path(folder) / name
            found.update(f"{path.relative_to(root)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
        found.update("\0".join(directories).encode())
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, its archive, and where drills are made."""

    server: Server
    archive: Archive
    scratch: Path  # its path is short
    isolation: IsolationWish = BEST

    @property
    def request(self) -> DrillRequest:
        """A drill to the end of the WAL with the shop's checks."""
        return DrillRequest(
            cluster="main",
            restore=RestoreRequest(LatestTarget()),
            checks=shop.CHECKS,
            objectives=EXACT,
            failure=None,
            scratch=self.scratch,
            timeout=timedelta(seconds=60),
            jobs=2,
            isolation=self.isolation,
        )

    def drill(self, **changes: Any) -> DrillReport:
        """Drill; nothing is left behind, whatever comes of it."""
        request = replace(self.request, **changes)
        report = run_drill(self.archive.repository, request, clock=SystemClock(), progress=NoProgress())
        assert list(request.scratch.iterdir() if request.scratch and request.scratch.is_dir() else ()) == []
        assert scratch_processes(self.scratch) == []
        return report

    def backup(self, *, user: str = "postgres") -> Manifest:
        """Take a full backup."""
        request = BackupRequest("main", None, 2, timedelta(seconds=60))
        with Session(self.server.dsn_of(user)) as session:
            return take_backup(self.archive.repository, session, request, clock=SystemClock(), progress=NoProgress())

    def archive_all(self, *, user: str = "postgres") -> str:
        """Finish the segment that is being written, and wait for it; return its name."""
        with psycopg.connect(self.server.dsn_of(user), autocommit=True) as connection:
            connection.execute("SELECT pg_create_restore_point('end of segment')")
            row = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()
            connection.execute("SELECT pg_switch_wal()")
        assert row is not None
        wait_archived(self.archive, system_of(self.server.data), row[0])
        return str(row[0])

    def copied(self, directory: Path) -> Stage:
        """The same with a repository of its own, to be damaged."""
        root = directory / "repository"
        shutil.copytree(self.archive.root, root)
        repository = open_repository([Copy("primary", FileStore(root))], Credential("raw", KEY))
        return replace(self, archive=replace(self.archive, root=root, repository=repository))

    def names(self) -> list[str]:
        """The WAL files that are archived."""
        return self.archive.names(system_of(self.server.data))


def make_stage(factory: ServerFactory, major: int, directory: Path) -> Stage:
    """A running server with a shop, archiving; nothing is backed up yet."""
    archive = make_archive(directory)
    server = archiving(factory, major, archive)
    load_shop(server.dsn)
    return Stage(server, archive, factory.directory())


def make_told_stage(factory: ServerFactory, major: int, directory: Path) -> Stage:
    """The same, backed up, with orders after the backup that are archived too."""
    stage = make_stage(factory, major, directory)
    stage.backup()
    write_orders(stage.server.dsn)
    stage.archive_all()
    return stage


def scratch_processes(place: Path) -> list[int]:
    """Processes that work in a scratch directory below `place`, or were started with one in their words."""
    return [pid for pid, words, cwd in processes() if f"{place}/{PREFIX}" in f"{words} {cwd}"]


def processes() -> Iterator[tuple[int, str, str]]:
    """Every other process: its id, what it was started as, and where it works."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                yield int(entry.name), words, str((entry / "cwd").readlink())
            except OSError:
                continue

"""A cluster that is backed up and archived, and its restores: the product as its users have it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.instants import SystemClock
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import Session
from pgvault.process import Finished, attempt
from pgvault.progress import NoProgress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import Target, TargetOptions
from pgvault.repository.manifest import Manifest
from pgvault.restore.apply import Fetching
from pgvault.restore.files import Effort
from pgvault.restore.run import Ending, Restored, RestoreOrder, restore
from tests.archive import Archive, copy_archive, make_archive, program
from tests.servers import Server, ServerFactory
from tests.wal.servers import archiving, archiving_settings, rows, system_of, wait_archived

QUICK_EFFORT = Effort(2, NoProgress(), is_durable=False)
SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Vault:
    """A server, its archive, and a directory for restores."""

    factory: ServerFactory
    server: Server
    archive: Archive
    directory: Path
    restores: int = field(default=0)

    def backup(self) -> Manifest:
        """Take a full backup."""
        request = BackupRequest("main", None, 2, timedelta(seconds=60))
        with Session(self.server.dsn) as session:
            return take_backup(self.archive.repository, session, request, clock=SystemClock(), progress=NoProgress())

    def insert(self, number: int) -> datetime:
        """Commit one row; return a moment of the server's clock at which it was there and nothing after it."""
        self.server.sql(f"INSERT INTO rows VALUES ({number})")
        return self.clock()

    def clock(self) -> datetime:
        """The server's clock, with a little distance to what was before and comes after."""
        time.sleep(0.01)
        at = self.server.value("SELECT clock_timestamp()")
        time.sleep(0.01)
        assert isinstance(at, datetime)
        return at.astimezone(UTC)

    def position(self) -> Lsn:
        """Where the next record will be."""
        return Lsn.parse(str(self.server.value("SELECT pg_current_wal_insert_lsn()")))

    def archive_all(self) -> None:
        """Finish the segment that is being written, and wait for it."""
        self.server.sql("SELECT pg_create_restore_point('end of segment')")
        name = str(self.server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
        self.server.sql("SELECT pg_switch_wal()")
        wait_archived(self.archive, system_of(self.server.data), name)

    def order(self, target: Target, options: TargetOptions | None = None, **changes: Any) -> RestoreOrder:
        """What is asked of pgvault; a new directory unless `changes` say another."""
        self.restores += 1
        order = RestoreOrder(
            cluster="main",
            request=RestoreRequest(target, options or TargetOptions()),
            fetching=Fetching(tuple(program()), {"config": str(self.archive.config)}),
            directory=self.directory / f"restored-{self.restores}",
        )
        return replace(order, **changes)

    def restore(self, target: Target, options: TargetOptions | None = None, **changes: Any) -> Restored:
        """Restore without much ado."""
        return self.carry_out(self.order(target, options, **changes))

    def carry_out(self, order: RestoreOrder) -> Restored:
        return restore(self.archive.repository, order, effort=QUICK_EFFORT, clock=SystemClock())

    def finished(self, target: Target, options: TargetOptions | None = None, **changes: Any) -> Restored:
        """Restore and recover."""
        return self.restore(target, options, ending=Ending.FINISHED, **changes)

    def start(self, data: Path, settings: Mapping[str, str] | None = None) -> Server:
        """Start a server on a restored directory and wait until it is a primary."""
        server = self.factory.adopt(self.server.programs, data, settings=settings)
        server.instance.wait_ready(60)
        return server

    def rows(self, restored: Restored) -> list[int]:
        """The rows that a restored directory holds, looked at by a server that is stopped again."""
        server = self.start(restored.directory)
        found = rows(server)
        server.stop()
        return found

    def verify(self, data: Path) -> Finished:
        """What PostgreSQL's own pg_verifybackup says."""
        return attempt([self.server.programs.path("pg_verifybackup"), data], timeout=120)

    def copied(self, factory: ServerFactory, directory: Path, *, running: bool = True) -> Vault:
        """The same once more, for a test that changes it; this one's server is stopped."""
        archive = copy_archive(self.archive, directory)
        data = factory.directory() / "data"
        shutil.copytree(self.server.data, data, symlinks=True)
        server = factory.adopt(self.server.programs, data, settings=archiving_settings(archive), running=False)
        server.instance.environment = {}
        if running:
            server.start()
        return Vault(factory, server, archive, directory)

    def lose_repository(self) -> None:
        """Take the repository away, key and configuration included."""
        for path in (self.archive.root, self.archive.config, self.archive.key):
            shutil.move(path, path.with_name(f"{path.name}.gone"))


def make_vault(factory: ServerFactory, major: int, directory: Path, *, wal_segsize_mib: int = 1) -> Vault:
    """A running, archiving server with an empty table `rows`; segments are small, so that tests have many."""
    archive = make_archive(directory)
    server = archiving(factory, major, archive, wal_segsize_mib=wal_segsize_mib)
    server.sql("CREATE TABLE rows (number int)")
    return Vault(factory, server, archive, directory)

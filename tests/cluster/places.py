"""A server that archives into a repository of its own, and backups of it taken by the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.instants import SystemClock
from pgvault.postgres.server import Session
from pgvault.progress import NoProgress, Progress
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.leases import USUAL_TERMS, Terms
from pgvault.repository.manifest import Manifest
from pgvault.verify.report import VerifyReport
from pgvault.verify.verify import Verifier
from tests.archive import Archive, archive_command, make_archive
from tests.servers import NEWEST_OR_CI, Server, ServerFactory
from tests.wal.servers import wait_until

older_places_in_ci = pytest.mark.parametrize("place", NEWEST_OR_CI, indirect=True)  # see tests/servers.py


@dataclass(slots=True)
class OnPhase(NoProgress):
    """Does something when the backup comes to a phase: `copying`, with everything started and nothing listed."""

    actions: dict[str, Callable[[], object]] = field(default_factory=dict)

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        self.actions.get(name, lambda: None)()


@dataclass(frozen=True, slots=True)
class Place:
    """A server and where it archives."""

    server: Server
    archive: Archive

    def back_up(
        self,
        *,
        dsn: str | None = None,
        data: Path | None = None,
        progress: Progress | None = None,
        wait_seconds: float = 30,
        jobs: int = 2,
        terms: Terms = USUAL_TERMS,
    ) -> Manifest:
        """Take a backup, in this process."""
        request = BackupRequest("main", data, jobs, timedelta(seconds=wait_seconds), terms=terms)
        with Session(dsn or self.server.dsn) as session:
            return take_backup(
                self.archive.repository, session, request, clock=SystemClock(), progress=progress or NoProgress()
            )

    def back_up_when(
        self, phase: str, action: Callable[[], object], *, wait_seconds: float = 30, terms: Terms = USUAL_TERMS
    ) -> Manifest:
        """Take a backup and do something when it comes to `phase`."""
        return self.back_up(progress=OnPhase({phase: action}), wait_seconds=wait_seconds, terms=terms)

    def catalog(self) -> Catalog:
        return read_catalog(self.archive.repository, "main")

    def labels(self) -> list[str]:
        """Every backup that is listed."""
        return [manifest.label for manifest in self.catalog().backups]

    def files(self, manifest: Manifest) -> dict[bytes, FileRecord]:
        """What a backup holds, by path."""
        return {record.path: record for record in read_records(self.archive.repository, manifest)}

    def verify(self) -> VerifyReport:
        return Verifier(self.archive.repository, "main", jobs=2, progress=NoProgress()).run()

    def backup_sessions(self) -> int:
        """Sessions of pgvault that the server knows of."""
        return int(str(self.server.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvault'")))


def make_place(server: ServerFactory, directory: Path, major: int, **settings: str) -> Place:
    """Start a server that archives below `directory`. Its archive_command can be changed by ALTER SYSTEM."""
    archive = make_archive(directory)
    one = server(major, settings={"archive_mode": "on", **settings})
    place = Place(one, archive)
    set_archive_command(place, archive_command(archive))
    return place


def set_archive_command(place: Place, command: str) -> None:
    """Change it in the running server, and wait until the next segment is archived by it.

    The postmaster reads it and signals the archiver before it starts another backend, and the archiver obeys a signal
    before each segment: a new connection that shows the setting is the proof.
    """
    place.server.sql(f"ALTER SYSTEM SET archive_command = '{command.replace(chr(39), chr(39) * 2)}'")
    place.server.sql("SELECT pg_reload_conf()")
    asked = "SELECT setting, source FROM pg_settings WHERE name = 'archive_command'"

    def is_read() -> bool:
        ((setting, source),) = place.server.sql(asked)
        # A server that does not archive shows no command; one given when it was started stays.
        return setting in (command, "(disabled)") or source == "command line"

    wait_until(is_read)

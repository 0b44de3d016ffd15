"""Logical backups as the library takes them, of throw-away servers, and what is looked at afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from pgvault.instants import SystemClock
from pgvault.logical.request import LogicalRequest
from pgvault.logical.take import take_logical
from pgvault.progress import NoProgress
from pgvault.repository.catalog import read_catalog
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.packs import OpenedPack
from pgvault.repository.tables import TableRecord, decode_tables
from tests.archive import Archive, make_archive
from tests.servers import Server

ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


class OnFirstPack(NoProgress):
    """Does something when the first pack is stored, in the thread that stored it: pg_dump is in the middle then."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._lock = Lock()
        self._is_done = False

    def advance(self, done_bytes: int) -> None:
        with self._lock:
            if self._is_done:
                return
            self._is_done = True
        self._action()


@dataclass(frozen=True, slots=True)
class Source:
    """A server, a repository, and a place for spools."""

    server: Server
    archive: Archive
    spools: Path

    def request(self, **changes: Any) -> LogicalRequest:
        request = LogicalRequest("main", self.server.dsn, None, spool=self.spools, environment=ENVIRONMENT)
        return dataclasses.replace(request, **changes)

    def take(self, **changes: Any) -> LogicalManifest:
        """Take a backup, in this process."""
        return self.take_when(lambda: None, **changes)

    def take_when(self, action: Callable[[], object], **changes: Any) -> LogicalManifest:
        """Take a backup and do something when the first pack is stored."""
        request = self.request(**changes)
        progress = OnFirstPack(action)
        return take_logical(self.archive.repository, request, clock=SystemClock(), progress=progress)

    def labels(self) -> list[str]:
        """Every logical backup that is listed."""
        return [manifest.label for manifest in read_catalog(self.archive.repository, "main").logical]

    def aborted(self) -> int:
        return len(read_catalog(self.archive.repository, "main").aborted)

    def files(self, manifest: LogicalManifest) -> dict[bytes, bytes]:
        """Every file of a backup with its bytes, as they are stored."""
        records = read_records(self.archive.repository, manifest)
        packs: dict[int, OpenedPack] = {}
        return {record.path: self._content(manifest, record, packs) for record in records}

    def tables(self, manifest: LogicalManifest, name: str) -> dict[str, TableRecord]:
        """What a database's tables held, by name."""
        path = manifest.database(name).tables_path
        return {each.name: each for each in decode_tables(self.files(manifest)[path], where="tables")}

    def sessions(self) -> int:
        """Sessions that the server has besides the one that asks, of pgvault and of pg_dump."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return int(str(self.server.value(query)))

    def _content(self, manifest: LogicalManifest, record: FileRecord, packs: dict[int, OpenedPack]) -> bytes:
        content = b""
        for extent in record.extents:
            if extent.pack is None:
                content += bytes(extent.length)
                continue
            if extent.pack not in packs:
                packs[extent.pack] = OpenedPack(self.archive.repository, manifest.packs[extent.pack])
            content += b"".join(map(bytes, packs[extent.pack].read(extent)))
        return content


def dumpers(spools: Path) -> list[int]:
    """Process ids of programs that dump into a spool of that place, leaders first; none is a zombie."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            state = path.with_name("stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if words[0].endswith(b"/pg_dump") and str(spools).encode() in b" ".join(words) and state != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def make_source(server: Server, directory: Path) -> Source:
    """A repository and a place for spools below `directory`."""
    (directory / "spools").mkdir(parents=True)
    return Source(server, make_archive(directory), directory / "spools")


def write_files(files: Mapping[bytes, bytes], directory: Path) -> None:
    """Lay a backup's files out as pg_restore wants them."""
    for name, content in files.items():
        path = directory / name.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

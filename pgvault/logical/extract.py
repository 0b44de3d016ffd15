"""Write a logical backup, or a part of it, into a directory that PostgreSQL's own programs read.

    globals.sql       psql -f globals.sql
    16384/            pg_restore --create --dbname=postgres 16384
    16384.list        what is in it, and 16384.tables: how many rows, and their fingerprints
    16384.use-list    where a part was chosen: pg_restore --use-list=16384.use-list 16384

With a part chosen only the files that it needs are there.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from pgvault.errors import UsageError
from pgvault.logical.content import Files, Written, find_record, read_whole, records_of, write_files
from pgvault.logical.feeding import plan_archive, read_large_objects
from pgvault.logical.select import Chosen, RankedClass, Selection, TablePattern, choose, list_file, require_matches
from pgvault.postgres.toc import read_toc
from pgvault.repository.filelist import FileRecord
from pgvault.repository.leaseentry import Claim
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.restore.files import Effort


@dataclass(frozen=True, slots=True)
class FilesOrder:
    """What to write, and where."""

    directory: Path  # absent or empty
    databases: tuple[str, ...] = ()  # empty: all
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    of_class: RankedClass | None = None
    has_globals: bool = True

    @property
    def selection(self) -> Selection:
        """What of each database is asked for."""
        return Selection(self.schemas, tuple(map(TablePattern.parse, self.tables)), self.of_class)


@dataclass(frozen=True, slots=True)
class FilesPlan:
    """What will be written."""

    directory: Path
    files: Files
    commands: tuple[str, ...]  # that restore it
    notes: tuple[str, ...]


def plan_files(repository: Repository, manifest: LogicalManifest, order: FilesOrder) -> FilesPlan:
    """Choose the files. Raises UsageError when there is nothing of what was asked for, ObjectCorrupt."""
    planner = _Planner(repository, manifest, order, records_of(repository, manifest))
    if manifest.type is LogicalType.SCHEMA and not order.selection.is_whole:
        raise UsageError(f"backup {manifest.label!r} is a schema one: it is written whole")
    if manifest.has_globals and order.has_globals:
        planner.chosen.append(find_record(planner.records, GLOBALS, manifest))
        planner.commands.append(f"psql -f {planner.quoted(os.fsdecode(GLOBALS))} postgres")
    for database in [manifest.database(name) for name in order.databases] or manifest.databases:
        beside = (database.list_path, database.tables_path, database.sql_path)
        planner.chosen += [planner.records[path] for path in beside if path in planner.records]
        planner.add(database)
    require_matches(order.selection, planner.matched)
    files = Files(planner.chosen, planner.extra)
    return FilesPlan(order.directory, files, tuple(planner.commands), tuple(planner.notes))


@dataclass(slots=True)
class _Planner:
    """Chooses files, database by database."""

    repository: Repository
    manifest: LogicalManifest
    order: FilesOrder
    records: dict[bytes, FileRecord]
    chosen: list[FileRecord] = field(default_factory=list)
    extra: dict[str, bytes] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    matched: set[str] = field(default_factory=set)

    def add(self, database: LogicalDatabase) -> None:
        """Choose the archive of one database, or what is needed of it."""
        name = os.fsdecode(database.directory)
        if self.manifest.type is LogicalType.SCHEMA:
            self.commands.append(f"psql -f {self.quoted(f'{name}.sql')} DATABASE")
        elif self.order.selection.is_whole and self.manifest.class_name is None:
            prefix = database.directory + b"/"
            self.chosen += [record for path, record in self.records.items() if path.startswith(prefix)]
            self.commands.append(f"pg_restore --create --dbname=postgres {self.quoted(name)}")
        else:
            self._add_part(database, name)

    def quoted(self, name: str) -> str:
        """A path in the directory, for a shell."""
        return shlex.quote(str(self.order.directory / name))

    def _add_part(self, database: LogicalDatabase, name: str) -> None:
        chosen = self._choose(database)
        self.matched |= chosen.matched
        self.notes += chosen.left_out
        entries = chosen.listed(chosen.supporting)
        if not entries:
            return
        large_objects = read_large_objects(self.repository, self.manifest, entries, self.records, database.directory)
        archive = plan_archive(entries, database.directory, self.records, large_objects)
        self.chosen += [*archive.real, *(record for row in archive.piped for record in row)]
        self.extra[f"{name}.use-list"] = list_file(entry.dump_id for entry in entries).encode()
        use_list = self.quoted(f"{name}.use-list")
        self.commands.append(f"pg_restore --use-list={use_list} --dbname=DATABASE {self.quoted(name)}")

    def _choose(self, database: LogicalDatabase) -> Chosen:
        path = database.directory + b"/toc.dat"
        content = read_whole(self.repository, self.manifest, find_record(self.records, path, self.manifest))
        toc = read_toc(content, where=os.fsdecode(path))
        is_partial = self.manifest.class_name is not None
        return choose(toc, self.order.selection, database=database.name, is_partial=is_partial)


def write_archive(repository: Repository, manifest: LogicalManifest, plan: FilesPlan, *, effort: Effort) -> Written:
    """Write what was planned, all of it or nothing. Raises DirectoryNotEmpty, DiskFull, ObjectCorrupt."""
    with pin(repository, Claim(manifest.cluster, labels=(manifest.label,)), command="restore"):
        return write_files(repository, manifest, plan.directory, plan.files, effort=effort)

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
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import UsageError
from pgvault.logical.content import Files, Written, find_record, read_whole, records_of, write_files
from pgvault.logical.feeding import plan_archive, read_large_objects
from pgvault.logical.select import Chosen, RankedClass, Selection, TablePattern, choose, list_file, require_matches
from pgvault.postgres.toc import read_toc
from pgvault.repository.filelist import FileRecord
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest, LogicalType
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
    records = records_of(repository, manifest)
    databases = [manifest.database(name) for name in order.databases] or list(manifest.databases)
    chosen_records: list[FileRecord] = []
    extra: dict[str, bytes] = {}
    commands: list[str] = []
    notes: list[str] = []
    matched: set[str] = set()
    if manifest.has_globals and order.has_globals:
        chosen_records.append(find_record(records, GLOBALS, manifest))
        commands.append(f"psql -f {shlex.quote(str(order.directory / os.fsdecode(GLOBALS)))} postgres")
    for database in databases:
        beside = (database.list_path, database.tables_path, database.sql_path)
        chosen_records += [records[path] for path in beside if path in records]
        place = order.directory / os.fsdecode(database.directory)
        if manifest.type is LogicalType.SCHEMA:
            if not order.selection.is_whole:
                raise UsageError(f"backup {manifest.label!r} is a schema one: it is written whole")
            commands.append(f"psql -f {shlex.quote(f'{place}.sql')} DATABASE")
            continue
        if order.selection.is_whole and manifest.class_name is None:
            prefix = database.directory + b"/"
            chosen_records += [record for path, record in records.items() if path.startswith(prefix)]
            commands.append(f"pg_restore --create --dbname=postgres {shlex.quote(str(place))}")
            continue
        chosen = _choose(repository, manifest, records, database, order.selection)
        matched |= chosen.matched
        notes += chosen.left_out
        entries = chosen.listed(chosen.supporting)
        if not entries:
            continue
        files = {
            entry.file: records[path]
            for entry in entries
            if entry.file and (path := database.directory + b"/" + os.fsencode(entry.file)) in records
        }
        names = read_large_objects(repository, manifest, entries, files)
        archive = plan_archive(entries, database.directory, records, names)
        chosen_records += [*archive.real, *(record for row in archive.piped for record in row)]
        listed = f"{database.oid}.use-list"
        extra[listed] = list_file(entry.dump_id for entry in entries).encode()
        use_list = shlex.quote(str(order.directory / listed))
        commands.append(f"pg_restore --use-list={use_list} --dbname=DATABASE {shlex.quote(str(place))}")
    if manifest.type is not LogicalType.SCHEMA and not order.selection.is_whole:
        require_matches(order.selection, matched)
    return FilesPlan(order.directory, Files(chosen_records, extra), tuple(commands), tuple(notes))


def write_archive(repository: Repository, manifest: LogicalManifest, plan: FilesPlan, *, effort: Effort) -> Written:
    """Write what was planned, all of it or nothing. Raises DirectoryNotEmpty, DiskFull, ObjectCorrupt."""
    return write_files(repository, manifest, plan.directory, plan.files, effort=effort)


def _choose(
    repository: Repository,
    manifest: LogicalManifest,
    records: dict[bytes, FileRecord],
    database: LogicalDatabase,
    selection: Selection,
) -> Chosen:
    path = database.directory + b"/toc.dat"
    toc = read_toc(read_whole(repository, manifest, find_record(records, path, manifest)), where=os.fsdecode(path))
    return choose(toc, selection, database=database.name, is_partial=manifest.class_name is not None)

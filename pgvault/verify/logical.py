"""What a logical backup's files must be to each other, once every byte of them was read back.

    root: databases, has_globals ─► globals.sql · <oid>/toc.dat, .list, .tables or .sql of each database
    toc.dat ─► a file for every entry with rows, and no file without one          (large objects: by their own lists)
    .tables ─► as many lines and rows as the root says

That pg_restore takes it is for a drill to prove. Nothing of PostgreSQL is needed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pgvault.errors import ObjectCorrupt, PgvaultError, StoreUnreachable
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.logical.definitions import schema_digest
from pgvault.postgres.toc import read_toc
from pgvault.repository.filelist import FileRecord
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableKind, decode_tables

TOC = b"toc.dat"
LIST_SUFFIX = b".toc"  # of the lists of large objects: blobs.toc (15), blobs_3456.toc


def verify_content(repository: Repository, manifest: LogicalManifest) -> Iterator[PgvaultError]:
    """Yield what does not fit. Raises StoreUnreachable."""
    try:
        records = records_of(repository, manifest)
    except StoreUnreachable:
        raise
    except PgvaultError as error:
        yield error
        return
    content = _Content(repository, manifest, records)
    yield from content.strangers()
    for database in manifest.databases:
        try:
            content.check(database)
        except StoreUnreachable:
            raise
        except PgvaultError as error:
            yield error


class _Content:
    """The files of one backup."""

    def __init__(self, repository: Repository, manifest: LogicalManifest, records: Mapping[bytes, FileRecord]) -> None:
        self._repository = repository
        self._manifest = manifest
        self._records = records

    def strangers(self) -> Iterator[PgvaultError]:
        """What is wrong with the backup as a whole."""
        label = self._manifest.label
        if not self._manifest.databases:
            yield ObjectCorrupt(f"backup {label!r} holds no database")
        if self._manifest.has_globals != (GLOBALS in self._records):
            says = "is missing" if self._manifest.has_globals else "is there, and its root says that it has none"
            yield ObjectCorrupt(f"file {GLOBALS.decode()!r} of backup {label!r} {says}")
        known = {database.directory for database in self._manifest.databases}
        for path in self._records:
            if path != GLOBALS and path.partition(b"/")[0].partition(b".")[0] not in known:
                yield ObjectCorrupt(f"file {shown(path)!r} of backup {label!r} belongs to no database of its root")

    def check(self, database: LogicalDatabase) -> None:
        """Look at one database. Raises ObjectCorrupt, FormatUnsupported."""
        if self._manifest.type is LogicalType.SCHEMA:
            self._check_definitions(database)
        else:
            self._check_archive(database)
            self._require(database.list_path)
        self._check_tables(database)

    def _check_definitions(self, database: LogicalDatabase) -> None:
        """The text is the one that later definitions are compared with."""
        if schema_digest(self._read(database.sql_path)) != database.schema_sha256:
            raise ObjectCorrupt(
                f"file {shown(database.sql_path)!r} of database {database.name!r} is not what its root says"
            )

    def _check_archive(self, database: LogicalDatabase) -> None:
        """Every file that the archive's table of contents names is there, and no other."""
        prefix = database.directory + b"/"
        toc = read_toc(self._read(prefix + TOC), where=(prefix + TOC).decode())
        named = {
            prefix + entry.file.encode("utf-8", "surrogateescape") for entry in toc.entries if entry.file is not None
        }
        held = {path for path in self._records if path.startswith(prefix)} - {prefix + TOC}
        lists = [path for path in held & named if path.endswith(LIST_SUFFIX)]
        for path in lists:
            named |= {prefix + name for name in _listed(self._read(path))}
        for paths, says in ((named - held, "is missing"), (held - named, "is in no table of contents")):
            for path in sorted(paths):
                raise ObjectCorrupt(f"file {shown(path)!r} of database {database.name!r} {says}")

    def _check_tables(self, database: LogicalDatabase) -> None:
        path = database.tables_path
        if path not in self._records and not database.table_count and self._manifest.type is LogicalType.SCHEMA:
            return  # definitions alone: there are no rows to know of
        records = list(decode_tables(self._read(path), where=path.decode()))
        tables = [record for record in records if record.kind is TableKind.TABLE]
        found = (len(tables), sum(record.rows or 0 for record in tables))
        if found != (database.table_count, database.row_count):
            raise ObjectCorrupt(
                f"file {path.decode()!r} tells of {found[0]} tables with {found[1]} rows; the root of database "
                f"{database.name!r} says {database.table_count} with {database.row_count}"
            )

    def _require(self, path: bytes) -> FileRecord:
        return find_record(self._records, path, self._manifest)

    def _read(self, path: bytes) -> bytes:
        return read_whole(self._repository, self._manifest, self._require(path))


def shown(path: bytes) -> str:
    """A path for people, whatever it holds."""
    return path.decode("utf-8", "backslashreplace")


def _listed(content: bytes) -> Iterator[bytes]:
    """The files of large objects that a list names: a line each, oid and file name."""
    for line in content.splitlines():
        yield line.partition(b" ")[2]

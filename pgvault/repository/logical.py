"""The root of a logical backup or a schema backup: what pg_dump gave, database by database.

Same name, same kind of object and same commit as the root of a physical backup; `type` tells them apart. It names no
WAL and no data directory. Its file list (filelist.py) holds, as ordinary files:

    globals.sql           pg_dumpall --globals-only; absent where the backup has none
    <oid>/toc.dat …       one database: a directory-format archive as pg_dump --compress=0 writes it, for pg_restore
    <oid>.list            its table of contents: what `pg_restore --list` says of it
    <oid>.tables          a JSON line per table: its rows and its fingerprint in the dump's own snapshot (tables.py)
    <oid>.sql             schema backups: the definitions as pg_dump prints them, for people and for `schema diff`

`<oid>` is that of the database at the source, in decimal: names of databases may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, UsageError
from pgvault.instants import iso
from pgvault.postgres.lsn import Lsn
from pgvault.repository.fields import read_count, read_decimal, read_digest, read_instant, read_list, read_text
from pgvault.repository.measures import Measures, read_measures, write_measures
from pgvault.repository.objects import Stored

LOGICAL_VERSION = 1  # of this document, in the field "manifest" like that of a physical root
GLOBALS = b"globals.sql"


class LogicalType(StrEnum):
    """What was dumped."""

    LOGICAL = "logical"  # definitions and data
    SCHEMA = "schema"  # definitions only, kept when they changed


@dataclass(frozen=True, slots=True)
class LogicalDatabase:
    """One database of the backup, dumped in one snapshot."""

    oid: int
    name: str
    encoding: str  # of the server: "UTF8"
    snapshot_at: datetime  # server clock, right after the snapshot was taken
    lsn: Lsn | None  # WAL insert position then; None where the role may not ask
    table_count: int  # tables in its .tables
    row_count: int  # of those together, as far as they were counted
    schema_sha256: bytes  # of the definitions, normalised: two schema backups with equal ones are equal

    @property
    def directory(self) -> bytes:
        """Where its archive lies in the file list."""
        return str(self.oid).encode()

    @property
    def tables_path(self) -> bytes:
        """The file with its tables' rows and fingerprints."""
        return self.directory + b".tables"

    @property
    def list_path(self) -> bytes:
        """The file with its table of contents."""
        return self.directory + b".list"

    @property
    def sql_path(self) -> bytes:
        """The file with its definitions, in schema backups."""
        return self.directory + b".sql"


@dataclass(frozen=True, slots=True)
class LogicalManifest:
    """A committed logical or schema backup."""

    label: str
    type: LogicalType
    cluster: str
    system_identifier: int | None  # None where the role may not ask for it
    started_at: datetime  # server clock, as are all times here
    stopped_at: datetime
    version_num: int  # of the server: 180006
    dump_version: str  # of pg_dump: "18.6"
    class_name: str | None  # the data class it was limited to: other tables are there without rows
    databases: tuple[LogicalDatabase, ...]  # by oid
    has_globals: bool  # roles, tablespaces, grants on them
    has_passwords: bool  # … with the roles' passwords, as hashes
    total_bytes: int  # of plaintext, all files
    stored_bytes: int  # of packs, parts and refs
    file_count: int
    packs: tuple[Stored, ...]
    parts: tuple[Stored, ...]
    refs: Stored
    written_by: str
    # Schema backups: whether the definitions were loaded into an empty server before they counted; None: another type.
    is_loaded: bool | None = None
    measures: Measures | None = None  # None: an older pgvault took it, or the others could not be seen

    @property
    def postgres_major(self) -> int:
        """The server's major version."""
        return self.version_num // 10_000

    @property
    def maps(self) -> tuple[Stored, ...]:
        """It has no block maps: nothing is decided by them."""
        return ()

    @property
    def inventory(self) -> tuple[Stored, ...]:
        """It has none: its tables of rows and fingerprints say more."""
        return ()

    def database(self, name: str) -> LogicalDatabase:
        """Return the database of that name. Raises UsageError with the names there are."""
        for database in self.databases:
            if database.name == name:
                return database
        names = ", ".join(database.name for database in self.databases)
        raise UsageError(f"backup {self.label!r} has no database {name!r}", hint=f"It has: {names}")

    def to_json(self) -> dict[str, Any]:
        """Return the document that is sealed."""
        return {
            "manifest": LOGICAL_VERSION,
            "label": self.label,
            "type": str(self.type),
            "cluster": self.cluster,
            "system_identifier": None if self.system_identifier is None else str(self.system_identifier),
            "started_at": iso(self.started_at),
            "stopped_at": iso(self.stopped_at),
            "version_num": self.version_num,
            "dump_version": self.dump_version,
            "class": self.class_name,
            "databases": [_database_document(database) for database in self.databases],
            "has_globals": self.has_globals,
            "has_passwords": self.has_passwords,
            "total_bytes": self.total_bytes,
            "stored_bytes": self.stored_bytes,
            "file_count": self.file_count,
            "packs": [stored.to_json() for stored in self.packs],
            "parts": [stored.to_json() for stored in self.parts],
            "refs": self.refs.to_json(),
            "written_by": self.written_by,
            "loaded": self.is_loaded,
            **write_measures(self.measures),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, where: str) -> LogicalManifest:
        """Read a root. Fields that a later minor adds are ignored. Raises ObjectCorrupt, FormatUnsupported."""
        if document.get("manifest") != LOGICAL_VERSION:
            raise FormatUnsupported(
                f"manifest {where!r} has version {document.get('manifest')!r}; this pgvault knows 1",
                hint="Use a newer pgvault.",
            )
        try:
            system = document["system_identifier"]
            class_name = document["class"]
            loaded = document.get("loaded")
            return cls(
                label=read_text(document["label"]),
                type=LogicalType(document["type"]),
                cluster=read_text(document["cluster"]),
                system_identifier=None if system is None else read_decimal(system),
                started_at=read_instant(document["started_at"]),
                stopped_at=read_instant(document["stopped_at"]),
                version_num=read_count(document["version_num"]),
                dump_version=read_text(document["dump_version"]),
                class_name=None if class_name is None else read_text(class_name),
                databases=_read_databases(document["databases"]),
                has_globals=_read_flag(document["has_globals"]),
                has_passwords=_read_flag(document["has_passwords"]),
                total_bytes=read_count(document["total_bytes"]),
                stored_bytes=read_count(document["stored_bytes"]),
                file_count=read_count(document["file_count"]),
                packs=tuple(map(Stored.from_json, read_list(document["packs"]))),
                parts=tuple(map(Stored.from_json, read_list(document["parts"]))),
                refs=Stored.from_json(document["refs"]),
                written_by=read_text(document["written_by"]),
                is_loaded=None if loaded is None else _read_flag(loaded),
                measures=read_measures(document),
            )
        except (AttributeError, KeyError, TypeError, UsageError, ValueError) as error:
            raise ObjectCorrupt(f"manifest {where!r} is malformed: {error}") from error


def _database_document(database: LogicalDatabase) -> dict[str, Any]:
    return {
        "oid": database.oid,
        "name": database.name,
        "encoding": database.encoding,
        "snapshot_at": iso(database.snapshot_at),
        "lsn": None if database.lsn is None else str(database.lsn),
        "table_count": database.table_count,
        "row_count": database.row_count,
        "schema_sha256": database.schema_sha256.hex(),
    }


def _read_databases(value: object) -> tuple[LogicalDatabase, ...]:
    databases = tuple(map(_read_database, read_list(value)))
    if len({database.oid for database in databases}) < len(databases):  # they would share their files
        raise ValueError("two databases have one oid")
    return databases


def _read_database(document: Mapping[str, Any]) -> LogicalDatabase:
    lsn = document["lsn"]
    return LogicalDatabase(
        oid=read_count(document["oid"]),
        name=read_text(document["name"]),
        encoding=read_text(document["encoding"]),
        snapshot_at=read_instant(document["snapshot_at"]),
        lsn=None if lsn is None else Lsn.parse(read_text(lsn)),
        table_count=read_count(document["table_count"]),
        row_count=read_count(document["row_count"]),
        schema_sha256=read_digest(document["schema_sha256"]),
    )


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")  # noqa: TRY004 - one error for all that is malformed
    return value

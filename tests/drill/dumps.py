"""Logical backups made by hand from a real server, so that each can be tampered with before it is sealed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from pgvault.logical.tables import read_database
from pgvault.postgres.fingerprint import prepare
from pgvault.process import run
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableKind, decode_tables, encode_tables
from tests.repository.logicals import put_logical
from tests.servers import Server

Files = dict[bytes, bytes]
OIDS = "SELECT oid::int, datname, pg_encoding_to_char(encoding) FROM pg_database WHERE NOT datistemplate ORDER BY oid"


@dataclass(frozen=True, slots=True)
class Dump:
    """What a server held: files as a logical backup has them, and its databases."""

    version_num: int
    dump_version: str
    files: Files
    databases: tuple[LogicalDatabase, ...]

    def tampered(self, change: Callable[[Files], object]) -> Dump:
        """The same with other files."""
        files = dict(self.files)
        change(files)
        return replace(self, files=files)

    def store(self, repository: Repository, label: str = "20260115T120000Z-10c1") -> LogicalManifest:
        """Commit it as a backup."""
        return put_logical(
            repository,
            label,
            files=self.files,
            version_num=self.version_num,
            dump_version=self.dump_version,
            databases=self.databases,
            has_globals=GLOBALS in self.files,
        )

    def data_file(self, database: str, table: str) -> bytes:
        """The path of the file with a table's rows."""
        (found,) = [each for each in self.databases if each.name == database]
        words = f" TABLE DATA {table} "
        for line in self.files[found.list_path].decode().splitlines():
            if words in line:
                return found.directory + b"/" + line.partition(";")[0].encode() + b".dat"
        raise AssertionError(f"no rows of {table!r}")


def take_dump(server: Server, place: Path, *, options: tuple[str, ...] = ()) -> Dump:
    """Dump every database of a server that nobody writes to."""
    files: Files = {
        GLOBALS: run([server.programs.path("pg_dumpall"), "-g", f"--dbname={server.dsn}"], timeout=60).encode()
    }
    databases = []
    place.mkdir(exist_ok=True)
    for oid, name, encoding in server.sql(OIDS):
        dsn = server.dsn_of("postgres", f"'{name}'")
        directory = place / str(oid)
        argv: list[str | Path] = [
            server.programs.path("pg_dump"),
            "-Fd",
            "--compress=0",
            f"--file={directory}",
            f"--dbname={dsn}",
        ]
        run([*argv, *options], timeout=120)
        for path in directory.iterdir():
            files[f"{oid}/{path.name}".encode()] = path.read_bytes()
        listing = run([server.programs.path("pg_restore"), "--list", directory], timeout=60)
        files[f"{oid}.list".encode()] = listing.encode()
        records = read_database(lambda dsn=dsn: _connect(dsn), jobs=2)  # type: ignore[misc]
        files[f"{oid}.tables".encode()] = encode_tables(records)
        tables = [record for record in records if record.kind is TableKind.TABLE]
        databases.append(
            LogicalDatabase(
                int(str(oid)),
                str(name),
                str(encoding),
                datetime.now(UTC),
                None,
                len(tables),
                sum(record.rows or 0 for record in tables),
                bytes(32),
            )
        )
    return Dump(_version(server), server.programs.minor_text, files, tuple(databases))


def forget_table(dump: Dump, database: str, table: str) -> Dump:
    """The same dump of which the backup says nothing about one table."""
    (found,) = [each for each in dump.databases if each.name == database]
    path = found.tables_path
    kept = [each for each in decode_tables(dump.files[path], where="") if each.table != table]
    return dump.tampered(lambda files: files.update({path: encode_tables(kept)}))


def _connect(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    connection = psycopg.connect(dsn, autocommit=True)
    prepare(connection, lock_timeout=timedelta(seconds=10))
    return connection


def _version(server: Server) -> int:
    return int(str(server.value("SHOW server_version_num")))

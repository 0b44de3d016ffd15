"""Logical backups of real servers, made by pg_dump and stored without any of our own taking."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import psycopg

from pgvault.logical.tables import read_database
from pgvault.postgres.fingerprint import prepare
from pgvault.process import run
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableKind, encode_tables
from tests.repository.logicals import AT, LABEL, put_logical
from tests.servers import Server

ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def dump(
    repository: Repository,
    server: Server,
    directory: Path,
    databases: Sequence[str] = ("shop",),
    *,
    label: str = LABEL,
    class_name: str | None = None,
    options: Sequence[str] = (),
) -> LogicalManifest:
    """Back up databases of a server that nobody writes to; pg_dump's files pass through `directory`."""
    files = {GLOBALS: run([server.programs.path("pg_dumpall"), "-g", "-d", server.dsn], timeout=60).encode()}
    found = []
    for name in databases:
        oid = int(str(server.value(f"SELECT oid::bigint FROM pg_database WHERE datname = $${name}$$")))
        place = directory / f"{label}-{oid}"
        dsn = server.dsn_of("postgres", _quoted(name))
        words: list[str | Path] = [
            server.programs.path("pg_dump"),
            "-Fd",
            "--compress=0",
            "--no-sync",
            "-f",
            place,
            "-d",
            dsn,
            *options,
        ]
        run(words, timeout=600)
        listed = run([server.programs.path("pg_restore"), "--list", place], timeout=60)
        files |= {f"{oid}/{path.name}".encode(): path.read_bytes() for path in sorted(place.iterdir())}
        files[f"{oid}.list".encode()] = listed.encode("utf-8", "surrogateescape")
        records = read_database(lambda dsn=dsn: _prepared(dsn), jobs=1)  # type: ignore[misc]
        files[f"{oid}.tables".encode()] = encode_tables(records)
        encoding = str(server.value("SELECT getdatabaseencoding()", database=_quoted(name)))
        tables = [each for each in records if each.kind is TableKind.TABLE]
        rows = sum(each.rows or 0 for each in tables)
        found.append(LogicalDatabase(oid, name, encoding, AT, None, len(tables), rows, bytes(32)))
    version = int(str(server.value("SHOW server_version_num")))
    return put_logical(
        repository,
        label,
        files=files,
        databases=tuple(sorted(found, key=lambda each: each.oid)),
        version_num=version,
        dump_version=server.programs.minor_text,
        class_name=class_name,
    )


def dumped_text(server: Server, database: str, *options: str) -> list[str]:
    """The definitions and rows of a database as pg_dump prints them, without what differs between two runs."""
    dsn = server.dsn_of("postgres", _quoted(database))
    text = run([server.programs.path("pg_dump"), "-d", dsn, *options], timeout=120)
    lines = [line for line in text.splitlines() if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))]
    return sorted(lines) if "--data-only" in options else lines


def _prepared(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    session: psycopg.Connection[tuple[object, ...]] = psycopg.connect(dsn, autocommit=True)
    prepare(session, lock_timeout=timedelta(seconds=10))
    return session


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'" if not name.isalnum() else name

"""The definitions against the newest schema backup that was taken at or before the moment that was restored to.

They are read from the scratch by pg_dump and compared object by object, by names. A table or materialized view that the
schema backup knows and the scratch lacks is red. What else is missing, changed or new is told as a warning: whoever
migrates between a schema backup and that moment changes definitions by intent.

A pg_dump of another major writes the same definitions in other words; then only names are compared.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from pgvault.checks.result import CheckResult, NotTested, unproven
from pgvault.drill.looks.sessions import listed, seen
from pgvault.drill.restored import OPTIONS, Restored
from pgvault.errors import PgvaultError, ProgramFailed
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.logical.pieces import PiecesDiffer, compare_pieces, pieces
from pgvault.logical.schema import schema_backups
from pgvault.postgres.instance import SERVER_ENVIRONMENT
from pgvault.process import run
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.logical import LogicalDatabase, LogicalManifest

NAME = "schema"
DUMP_SECONDS = 3600.0
NOTHING = "definitions against a schema backup"


def schema(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Compare the definitions of every database that the schema backup holds."""
    if restored.as_of is None:
        yield NotTested(f"{NOTHING}: the moment that was restored to is not known")
        return
    try:
        manifest = newest_before(read_catalog(restored.repository, restored.cluster), restored.as_of)
    except PgvaultError as error:
        yield unproven(NAME, str(error))
        return
    if manifest is None:
        yield NotTested(f"{NOTHING}: there is none from before the moment that was restored to")
        return
    program = restored.instance.programs
    is_exact = _major(manifest.dump_version) == program.major
    if not is_exact:
        yield NotTested(f"{NOTHING}, but by names: it was written by pg_dump {manifest.dump_version}")
    for database in manifest.databases:
        began = time.monotonic()
        try:
            yield from _compare(restored, manifest, database, is_exact=is_exact)
        except ProgramFailed as error:
            yield seen(NAME, database.name, [str(error)], f"its definitions can not be dumped: {error}", began=began)
        except PgvaultError as error:
            yield unproven(f"{NAME}:{database.name}", str(error))


def newest_before(catalog: Catalog, moment: datetime) -> LogicalManifest | None:
    """Return the newest schema backup all of whose databases were read at or before a moment."""
    found = [
        backup
        for backup in schema_backups(catalog)
        if all(database.snapshot_at <= moment for database in backup.databases)
    ]
    return found[-1] if found else None


def judge(label: str, database: str, differ: PiecesDiffer, count: int, *, began: float) -> Iterator[CheckResult]:
    """Return what the differences of one database mean."""
    lost = [f"{each} is missing" for each in differ.missing_rows]
    others = [f"{each} is missing" for each in differ.missing if each not in differ.missing_rows]
    others += [f"{each} is another" for each in differ.changed] + [f"{each} is new" for each in differ.extra]
    if lost:
        told = f"since schema backup {label}: {listed(lost)}"
        yield seen("schema_lost", database, lost, told, began=began)
    if others:
        told = f"since schema backup {label}: {listed(others)}"
        yield replace(seen("schema_changed", database, others, told, began=began), severity="warning")
    if not lost and not others:
        yield seen(NAME, database, (), f"as in schema backup {label}: {count} definitions", began=began)


def _compare(
    restored: Restored, manifest: LogicalManifest, database: LogicalDatabase, *, is_exact: bool
) -> Iterator[CheckResult]:
    began = time.monotonic()
    if database.name not in restored.databases:
        told = [f"database {database.name} is missing"]
        yield seen("schema_lost", database.name, told, f"since schema backup {manifest.label}: {told[0]}", began=began)
        return
    record = find_record(records_of(restored.repository, manifest), database.sql_path, manifest)
    earlier = pieces(read_whole(restored.repository, manifest, record))
    differ = compare_pieces(earlier, pieces(_dump(restored, database)))
    yield from judge(
        manifest.label,
        database.name,
        differ if is_exact else replace(differ, changed=()),
        len(earlier),
        began=began,
    )


def _dump(restored: Restored, database: LogicalDatabase) -> bytes:
    """Return the scratch's definitions as pg_dump prints them. Raises ProgramFailed."""
    instance = restored.instance
    argv = [str(instance.programs.path("pg_dump")), "--no-password", "--schema-only"]
    argv += [f"--encoding={database.encoding}", "-h", str(instance.socket_dir), "-p", str(instance.port)]
    argv += ["-U", restored.superuser, f"--dbname={_literal_dsn(database.name)}"]
    command = instance.launcher.command(argv, env={**SERVER_ENVIRONMENT, "PGOPTIONS": OPTIONS})
    return run(command.argv, timeout=DUMP_SECONDS, env=command.env).encode("utf-8", "surrogateescape")


def _literal_dsn(name: str) -> str:
    """A name with `=` in it would be read as a connection string."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def _major(version: str) -> int | None:
    match = re.match(r"\d+", version)
    return None if match is None else int(match[0])

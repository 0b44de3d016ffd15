"""Schema backups: definitions alone, kept when they changed, and what changed from one to the other.

    definitions of every database ─► as in the newest schema backup? ─► yes: nothing is stored
                                                                     ─► no: load them into an empty server ─► commit

What is compared is the text without what changes from dump to dump (definitions.py); databases are matched by name. It
holds what pg_dump prints of a database; roles are stored beside it, and their changes alone make no new backup:
passwords that are rotated every hour would. Settings of a database (ALTER DATABASE … SET) are not in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pgvault.errors import ObjectMissing, UsageError
from pgvault.instants import Clock
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.logical.definitions import normalised
from pgvault.logical.dump import dump_definitions, dump_globals
from pgvault.logical.request import LogicalRequest
from pgvault.logical.take import commit_run, logical_run
from pgvault.progress import Progress
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.repository import Repository

CONTEXT_LINES = 3


@dataclass(frozen=True, slots=True)
class Definitions:
    """What a schema backup will hold, before it counts."""

    postgres_major: int
    role_statements: bytes  # globals.sql
    databases: tuple[tuple[LogicalDatabase, bytes], ...]  # with their definitions as SQL


Prove = Callable[[Definitions], None]  # raises unless they load into an empty server


@dataclass(frozen=True, slots=True)
class SchemaTaken:
    """What became of a schema backup."""

    manifest: LogicalManifest  # the new one, or the one that holds the same
    is_new: bool


def take_schema(
    repository: Repository, request: LogicalRequest, *, prove: Prove | None, clock: Clock, progress: Progress
) -> SchemaTaken:
    """Take a schema backup if any definition changed since the newest one; without `prove` it counts unproven.

    Raises as `take_logical` does, and what `prove` raises; then nothing is listed.
    """
    with logical_run(repository, request, clock=clock, progress=progress) as run:
        found = []
        for database in run.databases:
            progress.phase(f"reading definitions of {database.name}")
            found.append(dump_definitions(run.dumping, database))
        same = find_same(
            schema_backups(read_catalog(repository, request.cluster)),
            [each for each, _ in found],
            is_part=request.databases is not None,
        )
        if same is not None and (same.is_loaded or prove is None):  # and proven, if that is wanted by now
            return SchemaTaken(same, is_new=False)
        roles = dump_globals(run.dumping)
        if prove is not None:
            progress.phase("loading definitions")
            prove(Definitions(run.server.version_num // 10_000, roles, tuple(found)))
        run.dumping.packer.add(GLOBALS, roles)
        for described, sql in found:
            run.dumping.packer.add(described.sql_path, sql)
        manifest = commit_run(run, [each for each, _ in found], is_loaded=prove is not None)
        return SchemaTaken(manifest, is_new=True)


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """One database whose definitions are not the same in both backups."""

    database: str
    change: str  # added, removed, changed
    lines: tuple[str, ...]  # a unified diff, without line ends


def schema_backups(catalog: Catalog) -> list[LogicalManifest]:
    """Return the schema backups of a cluster, oldest first."""
    return [backup for backup in catalog.logical if backup.type is LogicalType.SCHEMA]


def find_schema(catalog: Catalog, label: str) -> LogicalManifest:
    """Return the schema backup with that label, or the newest for `latest`. Raises ObjectMissing, UsageError."""
    if label == "latest":
        found = schema_backups(catalog)
        if not found:
            raise ObjectMissing(
                f"cluster {catalog.cluster!r} has no schema backup", hint="Take one: pgvault backup --type schema"
            )
        return found[-1]
    manifest = catalog.find_logical(label)
    if manifest.type is not LogicalType.SCHEMA:
        raise UsageError(f"backup {label!r} is no schema backup", hint="See: pgvault schema list")
    return manifest


def find_same(
    backups: Sequence[LogicalManifest], databases: Sequence[LogicalDatabase], *, is_part: bool
) -> LogicalManifest | None:
    """Return the backup of these very definitions, unless something else was kept since; `backups` oldest first.

    All databases of a server are compared with the newest backup: one that is gone is a change, too. Where databases
    were named (`is_part`), backups of others, taken in between, say nothing of these.
    """
    wanted = {database.name: database.schema_sha256 for database in databases}
    for backup in reversed(backups):
        held = {database.name: database.schema_sha256 for database in backup.databases}
        if held == wanted or (is_part and wanted.items() <= held.items()):
            return backup
        if not is_part or any(held[name] != wanted[name] for name in held.keys() & wanted.keys()):
            return None
    return None


def changed_databases(earlier: LogicalManifest | None, later: LogicalManifest) -> list[str]:
    """Return the names of databases that are new, gone, or have other definitions, sorted."""
    before = {} if earlier is None else {each.name: each.schema_sha256 for each in earlier.databases}
    after = {each.name: each.schema_sha256 for each in later.databases}
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def diff_schemas(
    repository: Repository, earlier: LogicalManifest, later: LogicalManifest, *, database: str | None = None
) -> Iterator[SchemaDifference]:
    """Yield the databases that differ, by name. Raises UsageError when neither backup has `database`."""
    known = {each.name for manifest in (earlier, later) for each in manifest.databases}
    if database is not None and database not in known:
        raise UsageError(f"neither backup has a database {database!r}", hint=f"They have: {', '.join(sorted(known))}")
    for name in changed_databases(earlier, later):
        if database in (None, name):
            yield _difference(repository, earlier, later, name)


def _difference(
    repository: Repository, earlier: LogicalManifest, later: LogicalManifest, name: str
) -> SchemaDifference:
    before, after = read_definitions(repository, earlier, name), read_definitions(repository, later, name)
    change = "added" if before is None else "removed" if after is None else "changed"
    lines = difflib.unified_diff(
        _lines(before),
        _lines(after),
        f"{earlier.label}/{name}",
        f"{later.label}/{name}",
        n=CONTEXT_LINES,
        lineterm="",
    )
    return SchemaDifference(name, change, tuple(lines))


def read_definitions(repository: Repository, manifest: LogicalManifest, name: str) -> bytes | None:
    """Return a database's definitions, normalised; None where the backup has no such database."""
    for database in manifest.databases:
        if database.name == name:
            record = find_record(records_of(repository, manifest), database.sql_path, manifest)
            return normalised(read_whole(repository, manifest, record))
    return None


def _lines(definitions: bytes | None) -> list[str]:
    return [] if definitions is None else definitions.decode("utf-8", "backslashreplace").splitlines()

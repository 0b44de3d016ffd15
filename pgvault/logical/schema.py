"""Schema backups compared: which definitions changed from one to the other, as a unified diff.

What is compared is the text without what changes from dump to dump (definitions.py); databases are matched by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgvault.errors import ObjectMissing, UsageError
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.logical.definitions import normalised
from pgvault.repository.catalog import Catalog
from pgvault.repository.logical import LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.repository import Repository

CONTEXT_LINES = 3


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


def has_same_definitions(earlier: LogicalManifest, databases: Sequence[LogicalDatabase]) -> bool:
    """Tell whether a backup holds exactly these databases, each with these definitions."""
    before = {database.name: database.schema_sha256 for database in earlier.databases}
    return before == {database.name: database.schema_sha256 for database in databases}


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

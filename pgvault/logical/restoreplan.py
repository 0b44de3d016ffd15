"""Plan the restore of a logical backup into a server: everything is looked at, nothing is done.

    for each database    table of contents ─► what is chosen ─► what of it the target has already ─► refuse, or
                         leave out, or (--clean) drop ─► runs of pg_restore, files that they will ask for

One database goes into the one that the DSN names; several go each into the one of its own name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgvault.errors import ProgramMissing, Refused, ServerUnfit, UsageError
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.logical.feeding import SPOOL_BYTES, Archive, plan_archive, read_large_objects
from pgvault.logical.presence import Present, drop_statements, look, refuse_present
from pgvault.logical.roles import created_roles, granted_roles
from pgvault.logical.select import (
    Chosen,
    RankedClass,
    Selection,
    TablePattern,
    choose,
    described,
    printable,
    ranks,
    require_matches,
)
from pgvault.logical.target import Target, TargetFacts
from pgvault.postgres.programs import SUPPORTED_MAJORS, Programs, client_programs
from pgvault.postgres.toc import Toc, TocEntry, read_toc
from pgvault.repository.filelist import FileRecord
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableKind, TableRecord, decode_tables

NEEDS_ROLES = frozenset({"POLICY", "USER MAPPING"})  # without owners and grants, too
NAMES_ROLES = NEEDS_ROLES | {"ACL", "DEFAULT ACL"}
# An extension is not ours to drop, and dropping a subscription drops its slot at the publisher.
LEFT_ALONE = frozenset({"EXTENSION", "SUBSCRIPTION"})
NAMED_MAX = 5
NOTHING_THERE = Present(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class LogicalOrder:
    """What to restore, where to, and how."""

    dsn: str
    password: str | None = field(default=None, repr=False)  # for a dsn without one
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # what libpq may need of ours
    databases: tuple[str, ...] = ()  # empty: all of the backup
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()  # patterns: schema.table
    of_class: RankedClass | None = None  # only its tables
    classes: tuple[RankedClass, ...] = ()  # in whose order rows are restored
    jobs: int = 2  # of pg_restore: production may run on that server
    is_created: bool = False  # databases that are not there are made
    is_cleaned: bool = False  # what is in the way is dropped first
    has_globals: bool = True  # roles that are not there are made
    has_owners: bool = True  # owners and grants
    is_compared: bool = True  # rows and fingerprints, afterwards
    spool: Path | None = None  # for the files pg_restore reads; None: the system's directory for temporary files
    spool_limit: int = SPOOL_BYTES  # of those that are real files

    @property
    def target(self) -> Target:
        """The server. Raises ConfigInvalid."""
        return Target(self.dsn, password=self.password, environment=self.environment)

    @property
    def selection(self) -> Selection:
        """What of each database is asked for."""
        return Selection(self.schemas, tuple(map(TablePattern.parse, self.tables)), self.of_class)


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """What will be done in one database."""

    database: LogicalDatabase
    target: str  # the database's name there
    is_new: bool  # made by us
    toc: Toc
    entries: tuple[TocEntry, ...]  # what is made, in order
    runs: tuple[tuple[int, ...], ...]  # of pg_restore: dump ids
    archive: Archive
    drops: tuple[str, ...]
    expected: tuple[TableRecord, ...]  # what the restored tables must hold
    notes: tuple[str, ...]

    @property
    def table_count(self) -> int:
        """Tables whose rows are restored."""
        return sum(entry.kind == "TABLE DATA" for entry in self.entries)


@dataclass(frozen=True, slots=True)
class LogicalPlan:
    """All that will be done."""

    manifest: LogicalManifest
    databases: tuple[DatabasePlan, ...]
    facts: TargetFacts
    programs: Programs
    globals_text: str  # empty: no roles are made
    options: tuple[str, ...]  # of every run of pg_restore
    notes: tuple[str, ...]


def plan_logical(repository: Repository, manifest: LogicalManifest, order: LogicalOrder) -> LogicalPlan:
    """Look at backup and server, and return what will be done; nothing is changed.

    Raises Refused when something is in the way, UsageError when there is nothing of what was asked for, ServerUnfit,
    ServerUnreachable, ProgramMissing, ObjectCorrupt.
    """
    _require_part(order, manifest)
    target = order.target
    facts = target.facts()
    programs = choose_programs(manifest, facts)
    records = records_of(repository, manifest)
    planner = _Planner(repository, manifest, order, target, facts, records)
    databases = [manifest.database(name) for name in order.databases] or list(manifest.databases)
    chosen = [planner.choose(database) for database in databases]
    require_matches(order.selection, {text for each in chosen for text in each.matched})
    wanted = [
        (database, each)
        for database, each in zip(databases, chosen, strict=True)
        if each.entries or order.selection.is_whole
    ]
    _require_places(order, target, [database.name for database, _ in wanted], facts.databases)
    plans = tuple(planner.plan(database, each) for database, each in wanted)
    globals_text = planner.globals_text()
    options, notes = _options(order, facts, plans, created_roles(globals_text))
    if globals_text == "" and order.has_globals and not facts.makes_roles and not facts.is_superuser:
        notes.append(f"no roles are made: role {facts.role!r} may not")
    return LogicalPlan(manifest, plans, facts, programs, globals_text, options, tuple(notes))


def choose_programs(manifest: LogicalManifest, facts: TargetFacts) -> Programs:
    """Return the programs to restore with: of the target's major, or newer where the dump's are."""
    if facts.major < manifest.postgres_major:
        raise ServerUnfit(
            f"the server is PostgreSQL {facts.major}, older than the backup's {manifest.postgres_major}",
            hint="Definitions of a newer version may not exist there. --file writes the archive for other ways.",
        )
    match = re.match(r"\d+", manifest.dump_version)
    needed = max(facts.major, int(match[0]) if match else 0)
    found = {programs.major: programs for programs in reversed(client_programs())}
    for major in (each for each in SUPPORTED_MAJORS if each >= needed and each in found):
        return found[major]
    raise ProgramMissing(
        f"no pg_restore of PostgreSQL {needed} or newer on this machine",
        hint=f"Install the programs of PostgreSQL {needed}.",
    )


@dataclass(slots=True)
class _Planner:
    """Plans database by database."""

    repository: Repository
    manifest: LogicalManifest
    order: LogicalOrder
    target: Target
    facts: TargetFacts
    records: Mapping[bytes, FileRecord]

    def globals_text(self) -> str:
        """What to make roles from; empty where none are made."""
        may = self.facts.is_superuser or self.facts.makes_roles
        if not (self.order.has_globals and self.order.has_owners and self.manifest.has_globals and may):
            return ""
        record = find_record(self.records, GLOBALS, self.manifest)
        return read_whole(self.repository, self.manifest, record).decode("utf-8", "surrogateescape")

    def choose(self, database: LogicalDatabase) -> Chosen:
        """Return what of one database was asked for."""
        is_partial = self.manifest.class_name is not None
        return choose(self._toc(database), self.order.selection, database=database.name, is_partial=is_partial)

    def plan(self, database: LogicalDatabase, chosen: Chosen) -> DatabasePlan:
        """Plan one database."""
        name, is_new = self._place(database)
        present = NOTHING_THERE if is_new else self._look(name, chosen)
        entries, notes = self._listed(chosen, present, name)
        _require_extensions(entries, self.facts)
        records = self._tables(database)
        if self.order.is_cleaned:
            _require_rows(records, entries, present, name)
        if name != database.name:
            notes.append(f"database {database.name!r} goes into database {name!r}")
        directory = database.directory
        large_objects = read_large_objects(self.repository, self.manifest, entries, self.records, directory)
        kept = frozenset(chosen.supporting)
        drops = drop_statements(entries, present, keeps=lambda entry: entry.dump_id in kept)
        return DatabasePlan(
            database=database,
            target=name,
            is_new=is_new,
            toc=chosen.toc,
            entries=tuple(entries),
            runs=tuple(map(tuple, ranks(chosen, entries, self.order.classes, database.name))),
            archive=plan_archive(entries, directory, self.records, large_objects, limit=self.order.spool_limit),
            drops=tuple(drops) if self.order.is_cleaned else (),
            expected=tuple(self._expected(records, entries, present, notes)),
            notes=tuple(notes),
        )

    def _toc(self, database: LogicalDatabase) -> Toc:
        path = database.directory + b"/toc.dat"
        record = find_record(self.records, path, self.manifest)
        return read_toc(read_whole(self.repository, self.manifest, record), where=os.fsdecode(path))

    def _tables(self, database: LogicalDatabase) -> list[TableRecord]:
        """What every table held when it was dumped."""
        path = database.tables_path
        if path not in self.records:
            return []
        content = read_whole(self.repository, self.manifest, self.records[path])
        return list(decode_tables(content, where=os.fsdecode(path)))

    def _place(self, database: LogicalDatabase) -> tuple[str, bool]:
        """Return the database to restore into, and whether it has to be made."""
        named = self.target.named_database  # of several databases none is named: see _require_places
        name = named if named is not None and not self.order.is_created else database.name
        if name in self.facts.databases:
            return name, False
        if not self.order.is_created:
            raise Refused(f"database {name!r} is not on the server", hint="Create it, or say --create.")
        if not (self.facts.makes_databases or self.facts.is_superuser):
            raise ServerUnfit(f"role {self.facts.role!r} may not create database {name!r}")
        return name, True

    def _look(self, name: str, chosen: Chosen) -> Present:
        wanted = chosen.entries | chosen.supporting | chosen.required
        with self.target.session(name) as session:
            present = look(session, [entry for entry in chosen.toc.entries if entry.dump_id in wanted])
        by_id = chosen.toc.by_id
        if not self.order.is_cleaned:
            refuse_present((by_id[each] for each in sorted(chosen.entries)), present, database=name)
        return present

    def _listed(self, chosen: Chosen, present: Present, name: str) -> tuple[list[TocEntry], list[str]]:
        """Return what is made, and what has to be said about it."""
        by_id = chosen.toc.by_id
        if missing := [by_id[each] for each in sorted(chosen.required - present.entries)]:
            raise Refused(
                f"{described(missing[0])} is needed by what was chosen, and database {name!r} has none",
                hint="Choose it, too.",
            )
        notes = list(chosen.left_out)
        entries = chosen.listed(chosen.supporting - present.entries)
        alone = {e.dump_id for e in entries if e.kind in LEFT_ALONE and e.dump_id in present.entries}
        kept = []
        for entry in entries:
            if entry.dump_id in alone:
                notes.append(f"{described(entry)} is there already and is left as it is")
            elif alone & set(entry.needs) and entry.kind in ("COMMENT", "TABLE DATA"):
                if entry.kind == "TABLE DATA":
                    notes.append(f"rows of {entry.schema}.{entry.tag} are left out: its extension is there already")
            else:
                kept.append(entry)
        return kept, notes

    def _expected(
        self, records: Sequence[TableRecord], entries: Sequence[TocEntry], present: Present, notes: list[str]
    ) -> list[TableRecord]:
        """Return what the restored tables must hold. A class's backup has records of tables without rows, too."""
        if not self.order.is_compared:
            return []
        filled = _filled(entries)
        if unknown := sorted(filled - {(record.schema, record.table) for record in records}):
            some = ", ".join(printable(".".join(each)) for each in unknown[:NAMED_MAX])
            more = f" and {len(unknown) - NAMED_MAX} more" if len(unknown) > NAMED_MAX else ""
            notes.append(f"not compared, since the backup has no fingerprint of them: {some}{more}")
        has_large_objects = any(entry.kind == "BLOBS" for entry in entries)
        if has_large_objects and all(record.kind is not TableKind.LARGE_OBJECTS for record in records):
            notes.append("large objects are not compared, since the backup has no fingerprint of them")
        if has_large_objects and present.large_objects and not self.order.is_cleaned:
            notes.append("large objects are not compared: the database had others already")
            has_large_objects = False
        return [
            record
            for record in records
            if (
                has_large_objects if record.kind is TableKind.LARGE_OBJECTS else (record.schema, record.table) in filled
            )
        ]


def _options(
    order: LogicalOrder, facts: TargetFacts, plans: Iterable[DatabasePlan], made: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Return pg_restore's options about owners, grants and tablespaces, and what has to be said about them."""
    entries = [entry for plan in plans for entry in plan.entries]
    options: list[str] = []
    notes: list[str] = []
    owners = {entry.owner for entry in entries} - {""}
    if not order.has_owners:
        options += ["--no-owner", "--no-privileges"]
        _require_roles(set(), [entry for entry in entries if entry.kind in NEEDS_ROLES], facts.roles)
    else:
        _require_roles(owners, entries, facts.roles | set(made))
        if not facts.is_superuser and (others := sorted(owners - facts.owned_roles)):
            options.append("--no-owner")
            notes.append(f"everything will belong to {facts.role!r}, which can not give it to {others[0]!r}")
    if missing := sorted({entry.tablespace for entry in entries} - facts.tablespaces - {""}):
        options.append("--no-tablespaces")
        notes.append(f"tablespace {missing[0]!r} is not there: everything goes into the default one")
    return tuple(options), notes


def _require_roles(owners: set[str], entries: Iterable[TocEntry], known: frozenset[str] | set[str]) -> None:
    named = owners.union(*(granted_roles(entry.definition) for entry in entries if entry.kind in NAMES_ROLES))
    if missing := sorted(named - known):
        more = f" and {len(missing) - NAMED_MAX} more" if len(missing) > NAMED_MAX else ""
        raise Refused(
            f"objects belong or are granted to roles that are not there: {', '.join(missing[:NAMED_MAX])}{more}",
            hint="Create them, leave out --no-globals, or say --no-owner; policies and user mappings need theirs.",
        )


def _require_extensions(entries: Iterable[TocEntry], facts: TargetFacts) -> None:
    """Raise ServerUnfit when something has to be installed first: after --clean dropped things it is too late."""
    if missing := sorted({entry.tag for entry in entries if entry.kind == "EXTENSION"} - facts.extensions):
        raise ServerUnfit(
            f'extension "{missing[0]}" is not available on the server, and what is restored needs it',
            hint="Nothing was done. Install it on the server's host.",
        )


def _filled(entries: Iterable[TocEntry]) -> set[tuple[str, str]]:
    return {(entry.schema or "", entry.tag) for entry in entries if entry.kind == "TABLE DATA"}


def _require_rows(records: Iterable[TableRecord], entries: Sequence[TocEntry], present: Present, database: str) -> None:
    """Raise Refused when a table would be dropped whose rows are not in the backup: one of a class has not all."""
    doomed = {(e.schema or "", e.tag) for e in entries if e.kind == "TABLE" and e.dump_id in present.entries}
    had = {(record.schema, record.table) for record in records if record.rows != 0}
    if lost := sorted(doomed & had - _filled(entries)):
        raise Refused(
            f"database {database!r} has table {'.'.join(lost[0])!r}, and the backup does not hold its rows",
            hint="Nothing was done. Restore the tables of its class only (--class), or into another database.",
        )


def _require_places(order: LogicalOrder, target: Target, names: Sequence[str], known: frozenset[str]) -> None:
    """Raise UsageError where it is not certain which database is meant: --clean would drop in the wrong one."""
    named = target.named_database
    if named is None:
        return
    if order.is_created:
        if named not in known and named not in names:
            raise UsageError(
                f"--create makes databases under their own names ({', '.join(map(repr, names[:NAMED_MAX]))}), and"
                f" {named!r} is none of them",
                hint="Name a database that is there, to connect to; or create yours, and leave out --create.",
            )
    elif len(names) > 1:
        raise UsageError(
            f"database {named!r} is named, and {len(names)} of the backup would be restored",
            hint="Say which with --database; or name none: then each goes into the one of its own name.",
        )


def _require_part(order: LogicalOrder, manifest: LogicalManifest) -> None:
    """Raise UsageError where an order can not be meant for this backup."""
    if manifest.type is LogicalType.SCHEMA:
        raise UsageError(
            f"backup {manifest.label!r} holds definitions only, as SQL", hint="Write them with --file, for psql."
        )
    if order.of_class is not None and manifest.class_name not in (None, order.of_class.name):
        raise UsageError(f"backup {manifest.label!r} holds the rows of class {manifest.class_name!r} only")

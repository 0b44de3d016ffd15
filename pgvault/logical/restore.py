"""Restore a logical backup, or a part of it, into a server.

    plan (restoreplan.py) ─► roles ─► for each database: create ─► drop what is in the way ─► pg_restore ─► compare

Nothing that exists is touched unless --clean says so, and that is seen before anything is done: the drops are one
transaction, all or none. pg_restore stops at the first error. Afterwards the rows of every restored table are counted
and fingerprinted in the server, and compared with what they were in the dump's own snapshot: a difference is an error.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import PgvaultError, VerifyFailed
from pgvault.logical.complaints import is_setting_unknown
from pgvault.logical.dropping import drop
from pgvault.logical.feeding import Feeder
from pgvault.logical.restoreplan import DatabasePlan, LogicalOrder, LogicalPlan, plan_logical
from pgvault.logical.roles import RolesRestored, restore_roles, unquote
from pgvault.logical.select import is_of_database, list_file
from pgvault.logical.spool import open_spool
from pgvault.logical.tables import Sessions, compare_records, large_objects_record, record
from pgvault.logical.target import Target, run_statement
from pgvault.postgres.fingerprint import (
    Encoding,
    are_comparable,
    encoded,
    fingerprint_large_objects,
    fingerprint_table,
    list_tables,
)
from pgvault.progress import Progress
from pgvault.repository.leaseentry import Claim
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableKind, TableRecord
from pgvault.restore.files import Effort

logger = logging.getLogger(__name__)

NAMED_MAX = 5
TABLESPACE = re.compile(r' TABLESPACE = (?P<name>"(?:[^"]|"")+"|[^\s;]+)(?=\s*;\s*$)')  # of CREATE DATABASE


@dataclass(frozen=True, slots=True)
class RestoredDatabase:
    """One database, restored."""

    name: str
    target: str
    object_count: int
    table_count: int
    compared_count: int  # tables whose rows were found as they were
    row_count: int  # of those
    bytes: int  # given to pg_restore
    seconds: float


@dataclass(frozen=True, slots=True)
class LogicalRestored:
    """What was restored."""

    label: str
    databases: tuple[RestoredDatabase, ...]
    roles: tuple[str, ...]  # made
    seconds: float
    notes: tuple[str, ...]


def restore_into(
    repository: Repository, manifest: LogicalManifest, order: LogicalOrder, *, progress: Progress
) -> LogicalRestored:
    """Restore what `order` says into its server, and compare.

    Raises what `plan_logical` does with nothing done; then ProgramFailed, ObjectCorrupt, VerifyFailed,
    ServerUnreachable and what the store raises: what was restored by then stays, no table of it filled in part.
    """
    begun = time.monotonic()
    target = order.target
    plan = plan_logical(repository, manifest, order)
    roles = _make_roles(plan, target)
    restoring = _Restoring(repository, plan, order, target, progress)
    restored = []
    notes = [*plan.notes, *roles.notes]
    with pin(repository, Claim(manifest.cluster, labels=(manifest.label,)), command="restore"):
        for database in plan.databases:
            notes += database.notes
            done, said_after = restoring.restore(database)
            restored.append(done)
            notes += said_after
    return LogicalRestored(
        manifest.label, tuple(restored), tuple(roles.created), time.monotonic() - begun, tuple(dict.fromkeys(notes))
    )


def _make_roles(plan: LogicalPlan, target: Target) -> RolesRestored:
    if not plan.globals_text:
        return RolesRestored()
    with target.session(plan.facts.maintenance) as session:
        roles = restore_roles(
            plan.globals_text,
            plan.facts.roles,
            lambda statement: run_statement(session, statement),
            is_superuser=plan.facts.is_superuser,
        )
    logger.info("made %d roles", len(roles.created))
    return roles


@dataclass(slots=True)
class _Restoring:
    """One restore under way."""

    repository: Repository
    plan: LogicalPlan
    order: LogicalOrder
    target: Target
    progress: Progress

    def restore(self, plan: DatabasePlan) -> tuple[RestoredDatabase, list[str]]:
        """Restore one database."""
        begun = time.monotonic()
        try:
            with open_spool(self.order.spool) as spool:
                made = self._fill(plan, spool.root)
            compared, notes = self._compare(plan)
        except PgvaultError as error:
            error.hint = error.hint or f"What was restored by then stays in database {plan.target!r}: see --clean."
            raise
        done = RestoredDatabase(
            name=plan.database.name,
            target=plan.target,
            object_count=len(plan.entries),
            table_count=plan.table_count,
            compared_count=len(compared),
            row_count=sum(each.rows or 0 for each in compared if each.kind is TableKind.TABLE),
            bytes=plan.archive.bytes,
            seconds=time.monotonic() - begun,
        )
        logger.info("restored database %r, %d bytes", plan.target, done.bytes)
        return done, [*made, *notes]

    def _fill(self, plan: DatabasePlan, spool: Path) -> list[str]:
        self.progress.phase(f"restoring {plan.target}", plan.archive.bytes)
        effort = Effort(2, self.progress, is_durable=False)
        feeder = Feeder(self.repository, self.plan.manifest, spool, plan.archive, self.order.jobs, effort)
        feeder.lay_out()
        notes = self._create(plan, feeder) if plan.is_new else []
        if plan.drops:
            self._drop(plan)
        for run in plan.runs:
            self._run(plan, feeder, run, [f"--jobs={self.order.jobs}"], database=plan.target)
        feeder.require_all_read()
        return notes

    def _create(self, plan: DatabasePlan, feeder: Feeder) -> list[str]:
        """Let pg_restore create the database, with its settings and grants; return what has to be said about it."""
        entries = [entry for entry in plan.toc.entries if is_of_database(entry)]
        maintenance = self.plan.facts.maintenance
        notes = []
        for entry in entries:
            match = TABLESPACE.search(entry.definition) if entry.kind == "DATABASE" else None
            if match is not None and unquote(match["name"]) not in self.plan.facts.tablespaces:
                # --no-tablespaces leaves this clause in, and without the tablespace there would be no database.
                self._execute(entry.definition[: match.start()], database=maintenance)
                entries = [each for each in entries if each is not entry]
                notes.append(f"tablespace {unquote(match['name'])!r} of database {plan.target!r} is not there")
        if entries:
            self._run(plan, feeder, [entry.dump_id for entry in entries], ["--create"], database=maintenance)
        return notes

    def _execute(self, statement: str, *, database: str) -> None:
        with self.target.session(database) as session:
            session.execute(encoded(statement))

    def _drop(self, plan: DatabasePlan) -> None:
        made_again = {(entry.schema or "", entry.tag) for entry in plan.entries}
        with self.target.session(plan.target) as session:
            drop(session, plan.drops, made_again=made_again, database=plan.target)

    def _run(
        self, plan: DatabasePlan, feeder: Feeder, entries: Iterable[int], options: Sequence[str], *, database: str
    ) -> None:
        listed = feeder.spool / "use.list"
        listed.write_text(list_file(entries))
        is_lenient = is_setting_unknown(self.plan.programs.major, self.plan.facts.major)
        argv: list[str | Path] = [
            self.plan.programs.path("pg_restore"),
            *([] if is_lenient else ["--exit-on-error"]),
            "--no-password",
            f"--use-list={listed}",
            f"--dbname={self.target.program_address(database)}",
            *self.plan.options,
            *options,
            feeder.spool / os.fsdecode(plan.database.directory),
        ]
        feeder.run(argv, env=self.target.program_environment(), is_lenient=is_lenient)

    def _compare(self, plan: DatabasePlan) -> tuple[list[TableRecord], list[str]]:
        """Compare the restored rows with what they were. Raises VerifyFailed."""
        if not plan.expected:
            return [], []
        self.progress.phase(f"comparing {plan.target}")
        found = read_tables(self.target, plan.target, plan.expected, jobs=self.order.jobs)
        theirs = self.target.encoding(plan.target)
        ours = Encoding(plan.database.encoding, 1 if is_single_byte(plan.database.encoding) else 4)
        differences = compare_records(plan.expected, found, are_portable=are_comparable(ours, theirs))
        if proven := [each for each in differences if each.is_proven]:
            first = "; ".join(map(str, proven[:NAMED_MAX]))
            raise VerifyFailed(
                f"database {plan.target!r} does not hold what was dumped: {len(proven)} tables differ: {first}",
                hint="Did somebody write to it, or a trigger? --no-compare leaves the comparison out.",
            )
        unknown = {each.name for each in differences}
        return [each for each in found if each.name not in unknown], [str(each) for each in differences]


def read_tables(target: Target, database: str, wanted: Sequence[TableRecord], *, jobs: int) -> list[TableRecord]:
    """Return what the named tables hold now, and the large objects if they are among them."""
    names = {(each.schema, each.table) for each in wanted if each.kind is TableKind.TABLE}
    with Sessions(lambda: target.fingerprinting(database), jobs) as sessions:
        tables = [each for each in sessions.do(list_tables) if (each.schema, each.table) in names]
        tables.sort(key=lambda each: -each.bytes)
        found = list(sessions.map(lambda session, table: record(table, fingerprint_table(session, table)), tables))
        if any(each.kind is TableKind.LARGE_OBJECTS for each in wanted):
            found.append(sessions.do(lambda session: large_objects_record(fingerprint_large_objects(session))))
    return found


def is_single_byte(encoding: str) -> bool:
    """Whether an encoding has one byte a character."""
    return encoding.startswith(("LATIN", "ISO_8859", "WIN", "KOI8"))

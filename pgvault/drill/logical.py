"""Drill a logical backup: restore all of it into an empty scratch server, and compare every fingerprint exactly.

    plan ─► prepare (initdb) ─► restore (globals, then every database) ─► open ─► check ─► report

What is compared are the rows: each table's number of rows and its fingerprint, as they were in the dump's own snapshot.
A table that is missing, has a row too few or a changed byte, or that the backup does not know, turns the drill red; so
does a backup that holds no table at all. What this host lacks (programs, an extension, a locale, room) makes it "could
not run". Nothing of the backup reaches outside: tablespaces are made inside of the scratch, never at their own absolute
path, which on this host may be production's; subscriptions are created without connecting.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pgvault.checks.result import CheckResult, finding
from pgvault.config import AnyCheck, Objectives
from pgvault.drill.classes import ClassPromise, in_order
from pgvault.drill.empty import bootstrap_name, make_empty, make_tablespaces, start_empty
from pgvault.drill.fingerprints import compare_database
from pgvault.drill.isolation import BEST, IsolationWish, isolate
from pgvault.drill.loading import load, loading_order, loading_programs
from pgvault.drill.looking import look
from pgvault.drill.looks.databases import connecting_databases, connects
from pgvault.drill.marking import mark_backup
from pgvault.drill.objectives import Measure
from pgvault.drill.report import DrillReport, store_report
from pgvault.drill.restored import Amcheck, Restored, default_database, scratch_dsn
from pgvault.drill.room import keeping_room
from pgvault.drill.rpo import FailureMoment, Rpo, require_failed_then
from pgvault.drill.scratch import Scratch, find_place
from pgvault.drill.stage import EMPTY_BYTES, RESERVE, Stage, ending
from pgvault.errors import DrillNotRun, ObjectMissing, VerifyFailed
from pgvault.instants import Clock, iso
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.postgres.instance import Instance
from pgvault.postgres.programs import Programs
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.filelist import FileRecord
from pgvault.repository.leaseentry import Claim
from pgvault.repository.logical import GLOBALS, LogicalManifest, LogicalType
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.repository.tables import decode_tables
from pgvault.restore.place import require_room

NOT_TESTED = (
    "planner statistics, and how far sequences were beyond their columns: the backup holds none to compare with",
    "materialized views' contents: they are computed anew",
    "rows of tables that belong to extensions",
    "event triggers and subscriptions at work: they are created, and do nothing",
    "tablespaces at their own places: all is restored into one directory",
    "libraries that the cluster preloads, its postgresql.conf and pg_hba.conf: none of them is in the backup",
    "how long writing to disk takes: a drill does not wait for it (fsync is off)",
    "roles' passwords and access from clients",
    "copies of the repository other than the one that was read",
)
NOT_MEASURED = "not measured: only a drill of the latest logical backup simulates a failure"

# Of the dump's plain text. Rows of two numbers take five times their text with an index, wide rows once; a restore that
# takes more all the same is ended before it takes the reserve (room.py).
RESTORED_SHARE = 3


@dataclass(frozen=True, slots=True)
class LogicalDrillRequest:
    """What to prove."""

    cluster: str
    label: str | None  # None: the newest logical backup
    checks: tuple[AnyCheck, ...]
    objectives: Objectives
    failure: FailureMoment | None  # the simulated failure, for the newest backup
    scratch: Path | None  # where; None: the system's directory for temporary files
    jobs: int
    database: str | None = None  # of checks that name none; None: postgres, if there is one
    is_blind: bool = False  # whether nothing may be asked but the copies
    is_derived: bool = True  # whether every constraint in the catalog is asked as a query
    amcheck: Amcheck = "heapallindexed"
    isolation: IsolationWish = BEST
    classes: tuple[ClassPromise, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)  # of objectives, by whoever can ask the server


def run_logical_drill(
    repository: Repository, request: LogicalDrillRequest, *, clock: Clock, progress: Progress
) -> DrillReport:
    """Run a drill and store its report, whatever it says. Raises only what keeps the report from being stored."""
    started_at = clock.now()
    label = layout.make_label(started_at, os.urandom(2))
    target = f"logical {request.label or 'latest'}"
    report = DrillReport(label, request.cluster, started_at, request.objectives, target)
    report.not_tested, report.rpo_method = list(NOT_TESTED), NOT_MEASURED
    report.promises, report.measures = request.classes, dict(request.measures)
    stage = Stage(report, clock, progress)
    stage.perform(_LogicalDrill(repository, request, stage).run)
    store_report(repository, report)
    mark_backup(repository, report)
    return report


def choose(catalog: Catalog, label: str | None) -> LogicalManifest:
    """Return the backup to drill: the named one, else the newest of all rows, else the newest of a class.

    Raises ObjectMissing, DrillNotRun for a schema backup, which holds no rows.
    """
    if label is not None:
        manifest = catalog.find_logical(label)
        if manifest.type is LogicalType.SCHEMA:
            raise DrillNotRun(
                f"backup {label!r} is a schema one: it holds no rows to drill",
                hint="A schema backup is loaded into an empty server before it counts.",
            )
        return manifest
    found = [backup for backup in catalog.logical if backup.type is LogicalType.LOGICAL]
    if not found:
        raise ObjectMissing(
            f"cluster {catalog.cluster!r} has no logical backup", hint="Take one: pgvault backup --type logical"
        )
    return next((backup for backup in reversed(found) if backup.class_name is None), found[-1])


def needed_major(manifest: LogicalManifest) -> int:
    """Return the oldest major that can load a backup: what pg_dump 17 and later write needs a server of 17 (tried)."""
    match = re.match(r"\d+", manifest.dump_version)
    return max(manifest.postgres_major, int(match[0]) if match else 0)


def restored_bytes(manifest: LogicalManifest) -> int:
    """Estimate what the restored databases take on disk, indexes and all."""
    return EMPTY_BYTES + RESTORED_SHARE * manifest.total_bytes


class _LogicalDrill:
    """One drill under way."""

    def __init__(self, repository: Repository, request: LogicalDrillRequest, stage: Stage) -> None:
        self._repository = repository
        self._request = request
        self._stage = stage
        self._report = stage.report
        self._records: dict[bytes, FileRecord] = {}

    def run(self) -> None:
        with self._stage.phase("plan"):
            place = find_place(self._request.scratch)
            manifest = self._choose()
            require_room({place: restored_bytes(manifest)}, reserve=RESERVE)
            self._records = records_of(self._repository, manifest)
            roles = self._read(manifest, GLOBALS) if manifest.has_globals else b""
        claim = Claim(manifest.cluster, labels=(manifest.label,))
        with pin(self._repository, claim, command="drill"), self._stage.scratch(place) as made:
            isolated = isolate(self._request.isolation, made.root, needed_major(manifest), find=loading_programs)
            self._report.isolation, self._report.image = isolated.told, isolated.image
            self._report.postgresql = isolated.programs.minor_text
            isolated.programs.path("pg_amcheck")
            self._note_programs(manifest, isolated.programs)
            scratch = replace(made, launcher=isolated.launcher)
            self._drill_in(scratch, manifest, isolated.programs, roles)

    def _choose(self) -> LogicalManifest:
        catalog = read_catalog(self._repository, self._request.cluster)
        manifest = choose(catalog, self._request.label)
        report = self._report
        report.backup, report.target = manifest.label, f"logical {manifest.label}"
        if manifest.class_name is not None:
            report.notes.append(f"only class {manifest.class_name!r} holds rows: other tables are empty in this backup")
        if self._request.label is None and self._request.failure is not None and manifest.class_name is None:
            report.rpo = snapshot_rpo(self._request.failure, manifest)
        if catalog.backups and report.objectives.rpo is not None:
            report.objectives = report.objectives.model_copy(update={"rpo": None})
            report.notes.append("the objective rpo is kept by WAL, not by this backup: it was not compared")
        return manifest

    def _note_programs(self, manifest: LogicalManifest, programs: Programs) -> None:
        if programs.major != manifest.postgres_major:
            self._report.notes.append(
                f"restored into PostgreSQL {programs.minor_text}: dumped from {manifest.postgres_major} "
                f"by pg_dump {manifest.dump_version}"
            )

    def _drill_in(self, scratch: Scratch, manifest: LogicalManifest, programs: Programs, roles: bytes) -> None:
        superuser = bootstrap_name(roles)
        with self._stage.phase("prepare"):
            instance = make_empty(scratch, programs, superuser)
        progress = self._stage.progress
        order = loading_order(scratch, instance, superuser, jobs=self._request.jobs)
        with ending(instance, self._report.checks), keeping_room(scratch.root, RESERVE, instance.kill):
            with self._stage.phase("start"):
                start_empty(instance, superuser)
                make_tablespaces(instance, superuser, roles.decode("utf-8", "surrogateescape"))
            with self._stage.phase("restore"):
                restored = load(self._repository, manifest, instance, order, progress=progress)
            self._report.notes += restored.notes
            self._report.reached = reached(manifest)
            self._report.as_of = min(database.snapshot_at for database in manifest.databases)
            self._look(instance, manifest, superuser)

    def _look(self, instance: Instance, manifest: LogicalManifest, superuser: str) -> None:
        report, jobs = self._report, self._request.jobs
        dsn = scratch_dsn(instance, superuser)
        with self._stage.phase("open"):
            databases = connecting_databases(dsn)
            for each in connects(dsn, databases):
                report.add(each)
        restored = Restored(
            repository=self._repository,
            cluster=self._request.cluster,
            instance=instance,
            dsn=dsn,
            superuser=superuser,
            databases=tuple(databases),
            database=default_database(
                self._request.database, [database.name for database in manifest.databases] or databases
            ),
            manifest=None,
            as_of=min((database.snapshot_at for database in manifest.databases), default=None),
            jobs=jobs,
            is_blind=self._request.is_blind,
            is_derived=self._request.is_derived,
            amcheck=self._request.amcheck,
        )
        with self._stage.phase("check"):
            report.add(holds_tables(manifest))
            for database in manifest.databases:
                path = database.tables_path
                expected = list(decode_tables(self._read(manifest, path), where=path.decode()))
                is_class = manifest.class_name is not None
                compared = compare_database(dsn, database.name, expected, jobs=jobs, is_class=is_class)
                report.add(compared.check)
                report.not_tested += compared.not_tested
            look(report, restored, in_order(self._request.checks, self._request.classes, database=restored.database))

    def _read(self, manifest: LogicalManifest, path: bytes) -> bytes:
        return read_whole(self._repository, manifest, find_record(self._records, path, manifest))


def holds_tables(manifest: LogicalManifest) -> CheckResult:
    """A backup without any table is never green: nothing about it could turn red."""
    count = sum(database.table_count for database in manifest.databases)
    error = None if count else VerifyFailed("the backup holds no table whose rows could be compared")
    return finding("tables", error, seconds=0)


def reached(manifest: LogicalManifest) -> dict[str, Any]:
    """Return what was restored to, for the report: the snapshots of the databases."""
    return {
        "snapshot_at": iso(min(database.snapshot_at for database in manifest.databases)),
        "databases": {
            database.name: {
                "snapshot_at": iso(database.snapshot_at),
                "lsn": None if database.lsn is None else str(database.lsn),
            }
            for database in manifest.databases
        },
    }


def snapshot_rpo(failure: FailureMoment, manifest: LogicalManifest) -> Rpo:
    """Return what would be lost if this backup were all that is left: everything since its oldest snapshot."""
    oldest = min(database.snapshot_at for database in manifest.databases)
    require_failed_then(failure, oldest, "the oldest snapshot")
    seconds = max(0.0, (failure.at - oldest).total_seconds())
    return Rpo(seconds, oldest, failure, "the snapshot of this logical backup alone, without WAL")

"""Run a drill: restore into a scratch instance, recover, prove that the target was reached, check, measure.

    plan ─► fetch (files) ─► replay (WAL, to the target, promote) ─► open (every database) ─► check ─► report

RTO is the sum of these phases, from the decision to restore until the last check. A drill fails when recovery or a
check does; it *could not run* when the scratch, a program, the key or the store was missing. Whatever happens, the
scratch server is ended and its directory removed, and the report is sealed into the repository.

Nothing of the environment reaches the scratch's sessions: PGHOSTADDR alone would send every look to production.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.config import CheckConfig, Objectives
from pgvault.drill.checks import CheckResult, finding, run_check
from pgvault.drill.report import DrillReport, store_report
from pgvault.drill.rpo import FailureMoment, measure_rpo
from pgvault.drill.scratch import (
    Scratch,
    find_place,
    make_instance,
    make_scratch,
    max_wal_bytes,
    remove_scratch,
    server_settings,
)
from pgvault.drill.walservice import WalService
from pgvault.errors import (
    DiskFull,
    DrillFailed,
    DrillNotRun,
    KeyUnusable,
    ObjectCorrupt,
    ObjectiveMissed,
    PgvaultError,
    ProgramFailed,
    ProgramMissing,
    RecoveryFailed,
    ServerUnfit,
    StoreDenied,
    StoreUnreachable,
    WrongKey,
)
from pgvault.instants import Clock, iso
from pgvault.postgres.instance import SERVER_ENVIRONMENT, Instance, ShutdownMode
from pgvault.postgres.owner import as_server_user
from pgvault.postgres.programs import Programs, find_programs
from pgvault.process import attempt, run
from pgvault.progress import Progress
from pgvault.recovery.gather import Gathered, gathering
from pgvault.recovery.idleness import proven_until
from pgvault.recovery.path import find_path
from pgvault.recovery.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.recovery.target import LatestTarget
from pgvault.repository import layout
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.restore.apply import Fetching, Site, apply_plan, check_site
from pgvault.restore.archiving import replace_auto_conf
from pgvault.restore.configfiles import standby_minima
from pgvault.restore.files import Effort
from pgvault.restore.guard import restore_command
from pgvault.restore.place import Reserve
from pgvault.restore.reached import Reached, read_reached, require_reached
from pgvault.restore.settings import render_auto_conf
from pgvault.wal.fetchplan import FetchPlan

logger = logging.getLogger(__name__)

# These say nothing about the backup: 52, not 50.
NOT_RUN = (DrillNotRun, DiskFull, KeyUnusable, ProgramMissing, ServerUnfit, StoreDenied, StoreUnreachable, WrongKey)
AMCHECK_SECONDS = 4 * 3600
END_SECONDS = 30.0  # for a server that is told to stop at once
RESERVE = Reserve(1 << 30, 0.05)  # production may write to the same file system
FULL = "No space left on device"

# Of sessions in the scratch. What ALTER DATABASE or ALTER ROLE set would win over the server's command line.
SESSION = {
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
}
# Not what an interrupted DROP DATABASE left (-2): nobody can connect to that at the source either.
DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY oid"
OPTIONS = " ".join(f"-c {name}={value}" for name, value in SESSION.items())


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """What to prove."""

    cluster: str
    restore: RestoreRequest
    checks: tuple[CheckConfig, ...]
    objectives: Objectives
    failure: FailureMoment | None  # the simulated failure, for a drill to the latest moment; None: none
    scratch: Path | None  # where; None: the system's directory for temporary files
    timeout: timedelta  # for recovery
    jobs: int
    database: str | None = None  # of checks that name none; None: postgres, if there is one


def run_drill(repository: Repository, request: DrillRequest, *, clock: Clock, progress: Progress) -> DrillReport:
    """Run a drill and store its report, whatever it says. Raises only what keeps the report from being stored."""
    started_at = clock.now()
    label = layout.make_label(started_at, os.urandom(2))
    report = DrillReport(label, request.cluster, started_at, request.objectives, str(request.restore.target))
    try:
        _Drill(repository, request, report, clock, progress).run()
    except NOT_RUN as error:
        report.could_run = False
        report.error = str(error)
    except PgvaultError as error:
        report.error = str(error)
    except psycopg.Error as error:
        report.error = f"the restored server does not answer: {str(error).strip()}"
    except OSError as error:  # of this host's files
        report.could_run = False
        report.error = f"'{error.filename}': {error.strerror}" if error.filename else str(error)
    store_report(repository, report)
    return report


def require_passed(report: DrillReport) -> None:
    """Raise DrillFailed, ObjectiveMissed or DrillNotRun unless the drill passed."""
    if not report.could_run:
        raise DrillNotRun(f"drill {report.id} could not run: {report.reason}", hint="It proves nothing either way.")
    if report.kept_all_but_objectives:
        raise ObjectiveMissed(f"drill {report.id} restored everything, but {report.reason}")
    if not report.passed:
        raise DrillFailed(f"drill {report.id} failed: {report.reason}", hint="See its report: pgvault drill --json")


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what it was made of."""

    gathered: Gathered
    manifest: Manifest
    plan: RestorePlan


class _Drill:
    """One drill under way."""

    def __init__(
        self, repository: Repository, request: DrillRequest, report: DrillReport, clock: Clock, progress: Progress
    ) -> None:
        self._repository = repository
        self._request = request
        self._report = report
        self._clock = clock
        self._progress = progress

    def run(self) -> None:
        place = find_place(self._request.scratch)
        label = self._request.restore.backup_label
        with (
            self._phase("plan"),
            gathering(self._repository, self._request.cluster, label, scratch=place) as gathered,
        ):
            wal_bytes = max_wal_bytes(gathered.facts.inventory.segment_size)
            plan = plan_restore(gathered.facts, replace(self._request.restore, max_wal_bytes=wal_bytes))
        manifest = gathered.manifest(plan.backup_label)
        self._report.backup, self._report.timeline = plan.backup_label, plan.timeline
        self._report.notes += [*gathered.notes, *plan.notes]
        programs = find_programs(manifest.postgres_major)
        with self._scratch(place) as scratch:
            instance = make_instance(scratch, programs)
            try:
                self._restore_and_check(scratch, instance, programs, Planned(gathered, manifest, plan))
            except (PgvaultError, psycopg.Error):
                _require_room(instance)
                raise
            finally:
                _end(instance)
            if not all(check.passed for check in self._report.checks):
                _require_room(instance)

    def _restore_and_check(self, scratch: Scratch, instance: Instance, programs: Programs, planned: Planned) -> None:
        manifest, plan = planned.manifest, planned.plan
        with self._phase("fetch"):
            fetch_plan = self._restore_files(scratch, manifest, plan)
        self._report.isolation = scratch.isolation
        superuser = manifest.postgres.superuser
        dsn = make_conninfo(instance.dsn, user=superuser, dbname="template1", hostaddr="", options=OPTIONS)
        with WalService(self._repository, fetch_plan, scratch, programs=programs) as service, self._phase("replay"):
            self._recover(scratch, instance, service, planned)
            reached = read_reached(dsn, scratch.data)
            require_reached(reached.lsn, reached.from_timeline, plan, stop_lsn=manifest.stop_lsn)
        self._report.reached = {
            "lsn": str(reached.lsn),
            "timeline": reached.from_timeline,
            "last_commit_at": None if reached.last_commit_at is None else iso(reached.last_commit_at),
            "next_commit_at": None if plan.next_commit is None else iso(plan.next_commit.at),
        }
        self._measure_rpo(planned, reached)
        with self._phase("open"):
            databases = self._open_databases(dsn)
        with self._phase("check"):
            self._report.checks.append(_page_checksums(manifest))
            self._amcheck(programs, instance, manifest)
            self._run_checks(dsn, databases)

    def _restore_files(self, scratch: Scratch, manifest: Manifest, plan: RestorePlan) -> FetchPlan:
        site = Site(scratch.data, {oid: scratch.tablespaces / str(oid) for oid in _outside(manifest)}, reserve=RESERVE)
        check_site(self._repository, manifest, plan, site, forbidden={})
        effort = Effort(self._request.jobs, self._progress, is_durable=False)
        how = (Fetching(("/nonexistent",), {}), effort)
        applied = apply_plan(self._repository, manifest, plan, site, how=how)
        scratch.give_all()
        return applied.fetch_plan

    def _recover(self, scratch: Scratch, instance: Instance, service: WalService, planned: Planned) -> None:
        """Start the server with our settings alone, and wait for its promotion."""
        self._progress.phase("replaying WAL")
        client = [sys.executable, "-I", "-S", str(scratch.client), str(service.socket_path)]
        _require_runnable(client[:3], scratch)
        # Not behind what the backup held: one value that PostgreSQL does not know here would keep it from starting.
        settings = {
            **planned.plan.settings,
            "recovery_target_action": "promote",
            "restore_command": restore_command(client),
        }
        minima = standby_minima(planned.manifest)
        replace_auto_conf(scratch.data, render_auto_conf(b"", settings, at_least=minima))
        try:
            instance.start(server_settings(planned.manifest.wal_segment_size))
            instance.wait_ready(self._request.timeout.total_seconds())
        except RecoveryFailed as error:
            if service.failure is not None:
                raise service.failure from error
            raise

    def _open_databases(self, dsn: str) -> list[str]:
        """Connect to every database that accepts connections; each is a check of its own."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            rows = connection.execute(DATABASES).fetchall()
        for (name,) in rows:
            check = CheckConfig(name=f"connects:{name}", query="SELECT 0", measure="value")
            self._report.checks.append(run_check(dsn, check, database=name))
        return [name for (name,) in rows]

    def _amcheck(self, programs: Programs, instance: Instance, manifest: Manifest) -> None:
        """Let pg_amcheck look at every heap and index of every database, and for every row in its indexes."""
        argv: list[str | Path] = [programs.path("pg_amcheck"), "--all", "--install-missing", "--heapallindexed"]
        argv += ["--no-password", "-h", instance.socket_dir, "-p", str(instance.port)]
        argv += ["-U", manifest.postgres.superuser, "--maintenance-db=template1", f"--jobs={self._request.jobs}"]
        began = time.monotonic()
        error: PgvaultError | None = None
        try:
            run(argv, timeout=AMCHECK_SECONDS, env={**SERVER_ENVIRONMENT, "PGOPTIONS": OPTIONS})
        except ProgramFailed as failure:
            error = failure
        self._report.checks.append(finding("pg_amcheck", error, seconds=time.monotonic() - began))

    def _run_checks(self, dsn: str, databases: list[str]) -> None:
        default = self._request.database or ("postgres" if "postgres" in databases else databases[0])
        for check in self._request.checks:
            self._report.checks.append(run_check(dsn, check, database=check.database or default))
        if not self._request.checks:
            self._report.not_tested.insert(0, "integrity queries: none are configured")

    def _measure_rpo(self, planned: Planned, reached: Reached) -> None:
        """Measure what would have been lost: a drill to the end of the WAL is a simulated failure."""
        if self._request.failure is None or not isinstance(self._request.restore.target, LatestTarget):
            return
        facts, plan = planned.gathered.facts, planned.plan
        path = find_path(plan.timeline, facts.inventory)
        self._report.rpo = measure_rpo(
            self._request.failure,
            backup_started_at=planned.manifest.started_at,
            last_commit_at=reached.last_commit_at,
            idle_until=proven_until(path, plan.wal_end_lsn, watermarks=facts.watermarks),
        )

    @contextmanager
    def _scratch(self, place: Path) -> Iterator[Scratch]:
        scratch = make_scratch(place)
        try:
            yield scratch
        finally:
            try:
                remove_scratch(scratch)
            except (OSError, DrillNotRun) as error:  # says nothing about the backup
                logger.warning("scratch directory '%s' was not removed: %s", scratch.root, error)
                self._report.notes.append(f"'{scratch.root}' was not removed: {error}")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._progress.phase(name)
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._report.phases[name] = self._clock.monotonic() - began


def _outside(manifest: Manifest) -> list[int]:
    """Oids of the tablespaces that lie outside the data directory."""
    return [oid for oid, path in manifest.tablespaces.items() if path.startswith("/")]


def _page_checksums(manifest: Manifest) -> CheckResult:
    """Pages that were damaged at the source already, noticed while they were backed up."""
    count = manifest.page_errors.count
    shown = ", ".join(manifest.page_errors.first[:3])
    error = ObjectCorrupt(f"{count} pages were damaged when they were backed up: {shown}") if count else None
    return finding("page_checksums", error, seconds=0)


def _require_runnable(python: list[str], scratch: Scratch) -> None:
    """Raise DrillNotRun when the server's user can not run Python: every fetch would fail, and look like lost WAL."""
    if os.geteuid() != 0:
        return
    probe = attempt(as_server_user([*python, "-c", ""], data=scratch.data), timeout=30, env=SERVER_ENVIRONMENT)
    if probe.status != 0:
        raise DrillNotRun(
            f"the user who runs the scratch server can not run '{python[0]}'",
            hint="Install pgvault where every user can reach it, or drill as the user that owns the cluster.",
        )


def _require_room(instance: Instance) -> None:
    """Raise DiskFull when the server complained of a full disk: what then failed says nothing about the backup."""
    if instance.log.exists() and FULL in instance.log_text():
        raise DiskFull(f"the scratch server on '{instance.data}' ran out of disk space")


def _end(instance: Instance) -> None:
    try:
        instance.stop(ShutdownMode.IMMEDIATE, timeout=END_SECONDS)
    except ProgramFailed:
        instance.kill()

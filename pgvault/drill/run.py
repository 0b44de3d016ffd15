"""Run a drill: restore into a scratch instance, recover, prove that the target was reached, check, measure.

    plan ─► fetch (files) ─► replay (WAL, to the target, promote) ─► open (every database) ─► check ─► report

RTO is the sum of these phases, from the decision to restore until the last check. A drill fails when recovery or a
check does; it *could not run* when the scratch, a program, the key or the store was missing. Whatever happens, the
scratch server is ended and its directory removed, and the report is sealed into the repository.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.config import CheckConfig, Objectives
from pgvault.drill.checks import finding, run_check
from pgvault.drill.report import DrillReport, store_report
from pgvault.drill.rpo import FailureMoment, measure_rpo
from pgvault.drill.scratch import SETTINGS, Scratch, make_instance, make_scratch, remove_scratch
from pgvault.drill.walservice import WalService
from pgvault.errors import (
    DiskFull,
    DrillFailed,
    DrillNotRun,
    KeyUnusable,
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
from pgvault.postgres.instance import Instance, ShutdownMode
from pgvault.postgres.programs import Programs, find_programs
from pgvault.process import run
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.restore.apply import Fetching, Site, apply_plan, check_site
from pgvault.restore.files import Effort
from pgvault.restore.gather import Gathered, gathering
from pgvault.restore.guard import restore_command
from pgvault.restore.idleness import proven_until
from pgvault.restore.path import find_path
from pgvault.restore.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.restore.reached import Reached, read_reached, require_reached
from pgvault.restore.target import LatestTarget
from pgvault.wal.fetchplan import FetchPlan

logger = logging.getLogger(__name__)

# These say nothing about the backup: 52, not 50.
NOT_RUN = (DrillNotRun, DiskFull, KeyUnusable, ProgramMissing, ServerUnfit, StoreDenied, StoreUnreachable, WrongKey)
AMCHECK_SECONDS = 4 * 3600


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
    store_report(repository, report)
    return report


def require_passed(report: DrillReport) -> None:
    """Raise DrillFailed or DrillNotRun unless the drill passed."""
    if not report.could_run:
        raise DrillNotRun(f"drill {report.id} could not run: {report.reason}", hint="It proves nothing either way.")
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
        with (
            self._phase("plan"),
            gathering(
                self._repository,
                self._request.cluster,
                self._request.restore.backup_label,
                scratch=self._request.scratch,
            ) as gathered,
        ):
            plan = plan_restore(gathered.facts, self._request.restore)
        manifest = gathered.manifest(plan.backup_label)
        self._report.backup, self._report.timeline = plan.backup_label, plan.timeline
        self._report.notes += [*gathered.notes, *plan.notes]
        programs = find_programs(manifest.postgres_major)
        with self._scratch() as scratch:
            self._report.isolation = scratch.isolation
            instance = make_instance(scratch, programs)
            try:
                self._restore_and_check(scratch, instance, programs, Planned(gathered, manifest, plan))
            finally:
                instance.kill()

    def _restore_and_check(self, scratch: Scratch, instance: Instance, programs: Programs, planned: Planned) -> None:
        manifest, plan = planned.manifest, planned.plan
        with self._phase("fetch"):
            fetch_plan = self._restore_files(scratch, manifest, plan)
        dsn = make_conninfo(instance.dsn, user=manifest.postgres.superuser, dbname="template1")
        with WalService(self._repository, fetch_plan, scratch, programs=programs) as service, self._phase("replay"):
            self._recover(scratch, instance, service)
            reached = read_reached(dsn, scratch.data)
            require_reached(reached, plan)
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
            self._amcheck(programs, scratch, manifest)
            self._run_checks(dsn, databases)
        instance.stop(ShutdownMode.IMMEDIATE)

    def _restore_files(self, scratch: Scratch, manifest: Manifest, plan: RestorePlan) -> FetchPlan:
        site = Site(scratch.data, {oid: scratch.tablespaces / str(oid) for oid in _outside(manifest)})
        check_site(self._repository, manifest, plan, site, forbidden={})
        effort = Effort(self._request.jobs, self._progress, is_durable=False)
        how = (Fetching(("/nonexistent",), {}), effort)
        applied = apply_plan(self._repository, manifest, plan, site, how=how)
        scratch.give_all()
        return applied.fetch_plan

    def _recover(self, scratch: Scratch, instance: Instance, service: WalService) -> None:
        """Start the server with our settings alone, and wait for its promotion."""
        self._progress.phase("replaying WAL")
        client = [sys.executable, "-I", "-S", str(scratch.client), str(service.socket_path)]
        # The recovery target stays in postgresql.auto.conf: said twice, PostgreSQL takes it for two targets.
        settings = {**SETTINGS, "restore_command": restore_command(client)}
        try:
            instance.start(settings)
            instance.wait_ready(self._request.timeout.total_seconds())
        except RecoveryFailed as error:
            if service.failure is not None:
                raise service.failure from error
            raise

    def _open_databases(self, dsn: str) -> list[str]:
        """Connect to every database that accepts connections; each is a check of its own."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn ORDER BY oid").fetchall()
        for (name,) in rows:
            check = CheckConfig(name=f"connects:{name}", query="SELECT 0", measure="value")
            self._report.checks.append(run_check(dsn, check, database=name))
        return [name for (name,) in rows]

    def _amcheck(self, programs: Programs, scratch: Scratch, manifest: Manifest) -> None:
        """Let pg_amcheck look at every heap and index of every database."""
        argv: list[str | Path] = [programs.path("pg_amcheck"), "--all", "--install-missing", "--no-password"]
        argv += ["-h", scratch.sockets, "-U", manifest.postgres.superuser, "--maintenance-db=template1"]
        argv += [f"--jobs={self._request.jobs}"]
        began = time.monotonic()
        error: PgvaultError | None = None
        try:
            run(argv, timeout=AMCHECK_SECONDS)
        except ProgramFailed as failure:
            error = failure
        self._report.checks.append(finding("pg_amcheck", error, seconds=time.monotonic() - began))

    def _run_checks(self, dsn: str, databases: list[str]) -> None:
        default = "postgres" if "postgres" in databases else databases[0]
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
            backup_stopped_at=planned.manifest.stopped_at,
            last_commit_at=reached.last_commit_at,
            idle_until=proven_until(path, plan.wal_end_lsn, watermarks=facts.watermarks),
        )

    @contextmanager
    def _scratch(self) -> Iterator[Scratch]:
        scratch = make_scratch(self._request.scratch)
        try:
            yield scratch
        finally:
            remove_scratch(scratch)

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

"""Run a drill: restore into a scratch instance, recover, prove that the target was reached, check, measure.

    plan ─► fetch (files) ─► replay (WAL, to the target, promote) ─► open (every database) ─► check
         ─► pages (the server is stopped; no part of RTO) ─► report

RTO runs from the decision to restore until the last blocking check passed. A drill fails when recovery or a
check does; it *could not run* when the scratch, a program, the key or the store was missing. Whatever happens, the
scratch server is ended and its directory removed, and the report is sealed into the repository.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pgvault.config import AnyCheck, Objectives
from pgvault.drill.bringing import Planned, prove_reached, recover, restore_files
from pgvault.drill.choosing import OldestAim, RandomAim, moment_of, prefer_unproven, settle_aim
from pgvault.drill.classes import ClassPromise, in_order
from pgvault.drill.copies import Measuring, measure_copies
from pgvault.drill.hollow import require_rows
from pgvault.drill.isolation import BEST, IsolationWish, isolate, looking_into_wal
from pgvault.drill.landing import tell_landed
from pgvault.drill.looking import look
from pgvault.drill.looks.databases import connecting_databases, connects
from pgvault.drill.marking import mark_backup
from pgvault.drill.meaning import adopt_meaning, wanted_settings
from pgvault.drill.objectives import Measure
from pgvault.drill.pages import look_at_pages
from pgvault.drill.past import look_back
from pgvault.drill.report import DrillReport, store_report
from pgvault.drill.restored import Amcheck, Restored, default_database, scratch_dsn
from pgvault.drill.room import keeping_room
from pgvault.drill.rpo import UNPROVEN, FailureMoment, Rpo, begun_at, measure_rpo
from pgvault.drill.scratch import (
    Scratch,
    find_place,
    make_instance,
    max_wal_bytes,
)
from pgvault.drill.stage import RESERVE, Stage, ending
from pgvault.drill.walservice import WalService
from pgvault.errors import (
    DrillFailed,
    DrillNotRun,
    ObjectiveMissed,
)
from pgvault.instants import Clock, iso
from pgvault.postgres.instance import Instance
from pgvault.progress import Progress
from pgvault.recovery.facts import RestoreFacts
from pgvault.recovery.gather import Workplace, gathering
from pgvault.recovery.idleness import proven_until
from pgvault.recovery.path import find_path
from pgvault.recovery.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.recovery.target import LatestTarget
from pgvault.recovery.touched import NextCommit, next_commit
from pgvault.repository import layout
from pgvault.repository.drilled import read_drilled
from pgvault.repository.manifest import Manifest
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.restore.replayed import wal_bytes
from pgvault.restore.run import claim_of


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """What to prove."""

    cluster: str
    restore: RestoreRequest
    checks: tuple[AnyCheck, ...]
    objectives: Objectives
    failure: FailureMoment | None  # the simulated failure, for a drill to the latest moment; None: none
    scratch: Path | None  # where; None: the system's directory for temporary files
    timeout: timedelta  # for recovery
    jobs: int
    database: str | None = None  # of checks that name none; None: postgres, if there is one
    is_blind: bool = False  # whether nothing may be asked but the copies
    is_derived: bool = True  # whether every constraint in the catalog is asked as a query
    amcheck: Amcheck = "heapallindexed"
    isolation: IsolationWish = BEST
    classes: tuple[ClassPromise, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)  # of objectives, by whoever can ask the server
    aim: RandomAim | OldestAim | None = None  # in place of the target of `restore`, once the window is known
    prefers_unproven: bool = False  # a backup that no drill has proven, to what a restore would take


def run_drill(repository: Repository, request: DrillRequest, *, clock: Clock, progress: Progress) -> DrillReport:
    """Run a drill and store its report, whatever it says. Raises only what keeps the report from being stored."""
    started_at = clock.now()
    label = layout.make_label(started_at, os.urandom(2))
    report = DrillReport(label, request.cluster, started_at, request.objectives, str(request.restore.target))
    report.promises, report.measures = request.classes, dict(request.measures)
    if request.aim is not None:
        report.target = str(request.aim)
        report.seed = request.aim.seed if isinstance(request.aim, RandomAim) else None
    stage = Stage(report, clock, progress)
    stage.perform(_Drill(repository, request, stage).run)
    look_back(repository, report)
    store_report(repository, report)
    mark_backup(repository, report)
    return report


def require_passed(report: DrillReport) -> None:
    """Raise DrillFailed, ObjectiveMissed or DrillNotRun unless the drill passed."""
    if not report.could_run:
        raise DrillNotRun(f"drill {report.id} could not run: {report.reason}", hint="It proves nothing either way.")
    if report.kept_all_but_objectives:
        raise ObjectiveMissed(f"drill {report.id} restored everything, but {report.reason}")
    if not report.passed:
        hint = f"See its report: pgvault drills {report.id}"
        raise DrillFailed(f"drill {report.id} failed: {report.reason}", hint=hint)


def planned_wal(manifest: Manifest, plan: RestorePlan) -> dict[str, Any]:
    """Return which WAL a drill sets out to replay."""
    return {
        "from_lsn": str(manifest.start_lsn),
        "to_lsn": str(plan.end_lsn),
        "segments": [[each.first.name, each.last.name] for each in plan.segments],
    }


class _Drill:
    """One drill under way."""

    def __init__(self, repository: Repository, request: DrillRequest, stage: Stage) -> None:
        self._repository = repository
        self._request = request
        self._stage = stage
        self._report = stage.report
        self._next: NextCommit | None = None

    def run(self) -> None:
        place = find_place(self._request.scratch)
        label = self._request.restore.backup_label
        with (
            self._stage.phase("plan"),
            looking_into_wal(self._request.isolation, place) as workplace,
            gathering(
                self._repository,
                self._request.cluster,
                label,
                workplace=workplace,
                target=self._request.restore.target,
            ) as gathered,
        ):
            plan = self._plan(gathered.facts)
            self._next = next_commit(gathered.facts, plan)
        manifest = gathered.manifest(plan.backup_label)
        planned = Planned(self._repository, manifest, plan)
        # Before a byte is fetched: a server that committed later did not fail then.
        self._rpo(planned, gathered.facts, None if plan.last_commit is None else plan.last_commit.at)
        self._report.backup, self._report.timeline = plan.backup_label, plan.timeline
        self._report.wal = planned_wal(manifest, plan)
        self._report.notes += [*gathered.notes, *plan.notes]
        with (
            pin(self._repository, claim_of(manifest), command="drill"),
            self._stage.scratch(place) as made,
        ):
            isolated = isolate(self._request.isolation, made.root, manifest.postgres_major)
            scratch = replace(made, launcher=isolated.launcher)
            self._report.isolation, self._report.image = isolated.told, isolated.image
            self._report.postgresql = isolated.programs.minor_text
            instance = make_instance(scratch, isolated.programs)
            with ending(instance, self._report.checks), keeping_room(scratch.root, RESERVE, instance.kill):
                self._restore_and_check(scratch, instance, planned, gathered.facts)

    def _plan(self, facts: RestoreFacts) -> RestorePlan:
        """Plan what to restore: as a restore would, or from the backup that needs a proof most."""
        asked, report = self._request, self._report
        request = replace(asked.restore, max_wal_bytes=max_wal_bytes(facts.inventory.segment_size))
        if asked.aim is not None:
            request = settle_aim(asked.aim, request, facts)
        usual = plan_restore(facts, request)
        report.target = str(usual.target) if asked.aim is None else f"{asked.aim}: {usual.target}"
        if not asked.prefers_unproven or request.backup_label is not None:
            return usual
        marks = read_drilled(self._repository, asked.cluster)
        preferred = prefer_unproven(facts, request, usual, marks)
        report.is_usual = preferred.is_usual
        report.notes += [] if preferred.note is None else [preferred.note]
        return preferred.plan

    def _restore_and_check(self, scratch: Scratch, instance: Instance, planned: Planned, facts: RestoreFacts) -> None:
        manifest, plan = planned.manifest, planned.plan
        with self._stage.phase("fetch"):
            fetch_plan = restore_files(planned, scratch, jobs=self._request.jobs, progress=self._stage.progress)
        superuser = manifest.postgres.superuser
        dsn = scratch_dsn(instance, superuser)
        programs, progress = instance.programs, self._stage.progress
        with (
            WalService(self._repository, fetch_plan, scratch, programs=programs, progress=progress) as service,
            self._stage.phase("replay", wal_bytes(plan.segments)),
        ):
            self._report.notes += recover(planned, scratch, instance, service, timeout=self._request.timeout)
            reached = prove_reached(planned, scratch, dsn)
            self._report.notes += adopt_meaning(dsn, wanted_settings(manifest))
        self._report.reached = {
            "system_identifier": str(plan.system_identifier),
            "lsn": str(reached.lsn),
            "timeline": reached.from_timeline,
            "last_commit_at": None if reached.last_commit_at is None else iso(reached.last_commit_at),
            "next_commit_at": None if plan.next_commit is None else iso(plan.next_commit.at),
        }
        self._report.as_of = moment_of(
            plan,
            facts,
            stopped_at=None if manifest.is_from_standby else manifest.stopped_at,
            last_commit_at=reached.last_commit_at,
        )
        self._report.sizes = {
            "fetch": manifest.stored_bytes,
            "replay": max(0, reached.lsn - manifest.start_lsn),
        }
        self._report.rpo = self._rpo(planned, facts, reached.last_commit_at)
        with self._stage.phase("open"):
            databases = connecting_databases(dsn)
            for each in connects(dsn, databases):
                self._report.add(each)
            self._report.landing = tell_landed(plan, self._next, dsn, databases)
        restored = Restored(
            repository=self._repository,
            cluster=self._request.cluster,
            instance=instance,
            dsn=dsn,
            superuser=superuser,
            databases=tuple(databases),
            database=default_database(self._request.database, databases),
            manifest=manifest,
            as_of=self._report.as_of,
            jobs=self._request.jobs,
            is_blind=self._request.is_blind,
            is_derived=self._request.is_derived,
            amcheck=self._request.amcheck,
            reached_lsn=reached.lsn,
        )
        with self._stage.phase("check"):
            checks = in_order(self._request.checks, self._request.classes, database=restored.database)
            look(self._report, restored, checks)
            require_rows(restored, self._report.checks)
        self._measure_what_is_left(planned, facts, Workplace(scratch.root, lambda _: instance.programs))
        with self._stage.phase("pages"):
            look_at_pages(self._report, instance, has_checksums=manifest.postgres.data_checksums)

    def _rpo(self, planned: Planned, facts: RestoreFacts, last_commit_at: datetime | None) -> Rpo | None:
        """Return what would have been lost: a drill to the end of the WAL is a simulated failure."""
        plan = planned.plan
        if self._request.failure is None or not isinstance(plan.target, LatestTarget):
            return None
        path = find_path(plan.timeline, facts.inventory)
        rpo = measure_rpo(
            self._request.failure,
            backup_started_at=begun_at(planned.manifest),
            last_commit_at=last_commit_at,
            idle_until=proven_until(path, plan.wal_end_lsn, watermarks=facts.watermarks),
        )
        if rpo is None:
            self._report.rpo_method = UNPROVEN
            return None
        if rpo.doubt is not None:  # nothing is not what would be lost
            self._report.rpo_method = rpo.doubt
            return None
        return rpo

    def _measure_what_is_left(self, planned: Planned, facts: RestoreFacts, workplace: Workplace) -> None:
        """Measure, once nobody waits for it any more, each copy by itself, and the backups that there are."""
        failure, report = self._request.failure, self._report
        at = report.started_at if failure is None else failure.at
        newest = max(backup.stopped_at for backup in facts.backups)
        report.measures["backup_age"] = Measure(max(0.0, (at - newest).total_seconds()))
        took = planned.manifest.stopped_at - planned.manifest.started_at
        report.measures["backup_duration"] = Measure(took.total_seconds())
        if failure is not None and report.rpo is not None:
            measuring = Measuring(self._request.cluster, self._request.restore.options, failure, workplace)
            report.copies += measure_copies(self._repository, measuring, replayed=report.rpo)

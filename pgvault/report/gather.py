"""Read the repository into a report: the newest of everything, a bounded number of each; what is left out is told.

Costs what `status` does, a look at each copy by itself, and for each cluster at most DRILLS reports of drills, RUNS
runs of live checks and the marks of BACKUPS backups. Of each document only what is shown is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pgvault import __version__
from pgvault.config import ClusterConfig
from pgvault.errors import PgvaultError
from pgvault.instants import load_zone
from pgvault.monitor.finding import Level
from pgvault.monitor.status import ClusterStatus
from pgvault.recovery.systemwindow import read_windows
from pgvault.report.coverage import make_lane, make_window, older_count, silent_lane
from pgvault.report.document import (
    Backup,
    ClusterReport,
    Drill,
    Headline,
    Lane,
    Quality,
    Report,
    Verification,
    Window,
)
from pgvault.report.headline import headline
from pgvault.report.promises import Drilled, judge_classes, judge_promises, outcome_of, read_drilled
from pgvault.report.quality import DRILL, LIVE, RESULTS, Results, failures_of, verdict_of
from pgvault.report.words import counted
from pgvault.repository.catalog import Catalog, Root, read_catalog
from pgvault.repository.checkruns import count_runs, read_runs
from pgvault.repository.copies import Copy
from pgvault.repository.drilled import Outcome, marks_of
from pgvault.repository.drillreports import read_reports, report_ids
from pgvault.repository.fields import read_instant
from pgvault.repository.repository import Repository
from pgvault.repository.telling import reading_document
from pgvault.repository.verified import last_verified

DRILLS = 60  # the newest reports that are read
RUNS = 2 * RESULTS  # likewise of live checks: a run may be of one check alone
BACKUPS = 30  # in the list
CHECKS = 100  # that are shown; those that fail always are
READERS = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reported on."""

    repository: Repository
    clusters: Mapping[str, ClusterConfig]
    time_zone: str
    now: datetime


@dataclass(slots=True)
class _Drills:
    """What is kept of the newest drills of a cluster, newest first."""

    count: int
    shown: list[Drill] = field(default_factory=list)
    judged: list[Drilled] = field(default_factory=list)
    not_tested: tuple[str, ...] = ()  # by the newest that ran


def gather_quality(asked: Asked) -> Report:
    """Return a report on what the checks found, and on nothing else."""
    clusters = []
    for name, config in asked.clusters.items():
        quality, left_out, _ = _read_results(asked, name, config)
        said = Headline(quality.standing, "Data quality", quality.sentence)
        clusters.append(ClusterReport(name, said, quality, left_out=tuple(left_out)))
    return _report(asked, "quality", clusters)


def gather_report(asked: Asked, statuses: Sequence[ClusterStatus]) -> Report:
    """Return the whole report; `statuses` are those of its clusters."""
    found = {status.cluster: status for status in statuses}
    clusters = [_gather(asked, name, config, found[name]) for name, config in asked.clusters.items()]
    return _report(asked, "all", clusters)


def _report(asked: Asked, scope: str, clusters: Sequence[ClusterReport]) -> Report:
    reading = reading_document(asked.repository)
    return Report(asked.now, f"pgvault {__version__}", asked.time_zone, scope, reading, tuple(clusters))


def _gather(asked: Asked, name: str, config: ClusterConfig, status: ClusterStatus) -> ClusterReport:
    zone = load_zone(asked.time_zone)
    quality, left_out, drills = _read_results(asked, name, config)
    catalog = read_catalog(asked.repository, name)
    window = _read_lanes(asked, name, drills.shown)
    roots = sorted(catalog.roots, key=lambda root: root.started_at, reverse=True)
    objectives = tuple(judge_promises(config.objectives, drills.judged, status.findings, now=asked.now))
    classes = judge_classes(config.classes, drills.judged)
    promises = [*objectives, *(each for of in classes for each in (of.rto, of.rpo))]
    backups = _read_backups(asked.repository, name, roots[:BACKUPS])
    return ClusterReport(
        cluster=name,
        headline=headline(status.findings, promises, drills.shown, zone=zone),
        quality=quality,
        findings=tuple(each for each in status.findings if each.is_told or each.level is not Level.OK),
        objectives=objectives,
        classes=classes,
        window=window,
        drill_count=drills.count,
        drills=tuple(drills.shown),
        backup_count=len(roots),
        backups=backups,
        not_tested=tuple(_not_tested(drills, window)),
        left_out=(*left_out, *_left_out(catalog, window, drills)),
    )


def _read_results(asked: Asked, name: str, config: ClusterConfig) -> tuple[Quality, list[str], _Drills]:
    """Read runs of checks and reports of drills, newest first, each once."""
    results = Results(config.checks)
    for document in read_runs(asked.repository, name, limit=RUNS):
        results.add(document, where=LIVE)
    ids = report_ids(asked.repository, name)
    drills = _Drills(len(ids))
    for document in read_reports(asked.repository, name, ids[:DRILLS]):
        results.add(document, where=DRILL)
        _keep(drills, document)
    quality, hidden = results.quality(limit=CHECKS)
    runs = count_runs(asked.repository, name)
    left_out = []
    if runs > RUNS:
        left_out.append(f"{runs - RUNS} of {counted(runs, 'run')} of checks on the live server, the older ones")
    if len(ids) > DRILLS:
        left_out.append(f"{len(ids) - DRILLS} of {counted(len(ids), 'drill')}, the older ones")
    if hidden:
        left_out.append(f"{counted(hidden, 'check')} that did not fail")
    return quality, left_out, drills


def _keep(drills: _Drills, document: Mapping[str, Any]) -> None:
    judged = read_drilled(document)
    if judged.ran and not any(each.ran for each in drills.judged):
        drills.not_tested = tuple(str(each) for each in document.get("not_tested") or ())
    drills.judged.append(judged)
    drills.shown.append(drill_of(document))


def drill_of(document: Mapping[str, Any]) -> Drill:
    """Return what is shown of a drill's report."""
    rto, rpo, as_of = document.get("rto_seconds"), document.get("rpo_seconds"), document.get("as_of")
    outcome = outcome_of(document)
    unread = {str(each.get("copy")) for each in document.get("unread_copies") or ()}
    return Drill(
        id=str(document["id"]),
        started_at=read_instant(document["started_at"]),
        outcome=outcome,
        target=str(document.get("target")),
        as_of=None if as_of is None else read_instant(as_of),
        backup=None if document.get("backup") is None else str(document["backup"]),
        copies=tuple(str(copy) for copy in document.get("copies") or () if copy not in unread),
        rto_seconds=None if rto is None else float(rto),
        rpo_seconds=None if rpo is None else float(rpo),
        check_count=sum(verdict_of(found) != "unproven" for found in document.get("checks") or ()),
        failed_count=len(list(failures_of(document))),
        error=None if outcome == Outcome.PASSED else str(document.get("error") or ""),
    )


def _read_lanes(asked: Asked, name: str, drills: Sequence[Drill]) -> Window:
    repository = asked.repository
    lanes = {copy.name: _read_lane(repository, copy, name, drills) for copy in repository.copies}
    lanes |= {each.name: silent_lane(each.name, str(each.error)) for each in repository.left_out}
    first = [each.name for each in repository.left_out if each.is_deciding]  # the one that decides comes first
    ordered = [*(lanes[name] for name in first), *(lane for name, lane in lanes.items() if name not in first)]
    return make_window(ordered, now=asked.now)


def _read_lane(repository: Repository, copy: Copy, name: str, drills: Sequence[Drill]) -> Lane:
    """Look at one copy as if it were all that is left."""
    if copy.name in repository.unread:
        return silent_lane(copy.name, str(repository.unread[copy.name]))
    alone = replace(repository, copies=(copy,), left_out=())
    try:
        catalog = read_catalog(alone, name)
        windows = read_windows(alone, name, catalog.backups, passed_over=lambda _name, _error: None)
    except PgvaultError as error:
        return silent_lane(copy.name, str(error))
    return make_lane(copy.name, catalog.roots, [each.window for each in windows], drills)


def _read_backups(repository: Repository, name: str, roots: Sequence[Root]) -> tuple[Backup, ...]:
    copies = [copy.name for copy in repository.copies]

    def look(root: Root) -> Backup:
        found = [last_verified(repository, name, root.label, copy) for copy in copies]
        drilled = next(marks_of(repository, name, root.label), None)
        return Backup(
            label=root.label,
            type=str(root.type),
            started_at=root.started_at,
            duration_seconds=(root.stopped_at - root.started_at).total_seconds(),
            size_bytes=root.total_bytes,
            stored_bytes=root.stored_bytes,
            verified=tuple(Verification(mark.copy, mark.at, mark.is_whole) for mark in found if mark is not None),
            drilled_at=None if drilled is None else drilled.at,
            drilled_outcome=None if drilled is None else str(drilled.outcome),
        )

    with ThreadPoolExecutor(READERS) as readers:
        return tuple(readers.map(look, roots))


def _not_tested(drills: _Drills, window: Window) -> Iterator[str]:
    """Yield what no proof covers, by the words of the newest drill that ran, and copies that no drill has read."""
    yield from drills.not_tested
    for lane in window.lanes:
        if len(window.lanes) > 1 and not any(lane.copy in drill.copies[:1] for drill in drills.shown):
            yield f"copy '{lane.copy}': none of the last {counted(len(drills.shown), 'drill')} was read from it"


def _left_out(catalog: Catalog, window: Window, drills: _Drills) -> Iterator[str]:
    if len(catalog.roots) > BACKUPS:
        yield f"{len(catalog.roots) - BACKUPS} of {counted(len(catalog.roots), 'backup')} in the list, the older ones"
    if older := older_count(window):
        yield f"{counted(older, 'backup')} in the picture of the recovery window, the older ones"
    passed_over = min(drills.count, DRILLS) - len(drills.shown)
    if passed_over:
        yield f"{counted(passed_over, 'report')} of drills that can not be read"
    if catalog.unreadable:
        yield f"{counted(len(catalog.unreadable), 'backup')} whose root can not be read"

"""Carry out a plan: marks and withdrawals, sweeps, removals of labels, WAL. No judgement, but looking again.

Whatever is done here can be interrupted after any operation of a store: what `list` shows is whole, and the next run
goes on. One expiry of a cluster at a time, by its lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from pgvault.errors import PgvaultError, Refused, StoreDenied, StoreUnreachable, UsageError
from pgvault.expire.actions import ExpirePlan, ExpireRequest
from pgvault.expire.carrying import Report, Run, judge_view
from pgvault.expire.cold import ColdRule, move_old
from pgvault.expire.gather import gather
from pgvault.expire.labels import remove_label, sweep_label
from pgvault.expire.plan import plan_expire
from pgvault.expire.policy import Policy
from pgvault.expire.wal import remove_wal, remove_watermarks
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import USUAL_TERMS, Terms, acquire
from pgvault.repository.pins import sweep_pins
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import keep, put_tombstone, read_tombstone

logger = logging.getLogger(__name__)

STORE_ERRORS = (StoreDenied, StoreUnreachable)


@dataclass(frozen=True, slots=True)
class Policed:
    """A cluster, what is to stay of it, and who says so."""

    cluster: str
    policy: Policy
    by: str  # who, on which host
    request: ExpireRequest = field(default_factory=ExpireRequest)
    why: str = ""  # of what is asked for by name
    cold: Mapping[str, ColdRule] = field(default_factory=dict)  # by copy: what moves to another class of storage


def lease_name(cluster: str) -> str:
    """Return the name of the lease that keeps two expiries of a cluster from running at once."""
    return f"expire-{cluster}"


def plan_only(repository: Repository, wanted: Policed, *, terms: Terms = USUAL_TERMS) -> Report:
    """Return what an expiry would do; nothing is written."""
    seen = without(repository, wanted.request.abandoned)
    gathered = gather(seen, wanted.cluster, terms=terms)
    report = Report(plan_expire(gathered.facts, wanted.policy, request=wanted.request))
    report.problems += judge_view(gathered)
    return report


def expire_cluster(repository: Repository, wanted: Policed, *, terms: Terms = USUAL_TERMS) -> Report:
    """Look, plan, and carry the plan out. Raises AlreadyRunning while another one does, Refused, and what stores raise.

    What was not done, though it was due, stands in the report.
    """
    seen = without(repository, wanted.request.abandoned)
    claim = Claim(cluster=wanted.cluster)
    with acquire(seen, lease_name(wanted.cluster), claim, command="expire", terms=terms) as lease:
        gathered = gather(seen, wanted.cluster, terms=terms)
        plan = plan_expire(gathered.facts, wanted.policy, request=wanted.request)
        if plan.needs_window and wanted.request.shrink_window_to is None:
            raise Refused("; ".join(plan.notes), hint="See what would happen with --dry-run.")
        run = Run(seen, gathered, plan, by=wanted.by, terms=terms)
        run.lease = lease
        run.why = wanted.why
        run.report.problems += judge_view(gathered)
        apply_plan(run)
        if not wanted.request.delete:
            _attempt(run, partial(move_old, run, wanted.cold))
    return run.report


def without(repository: Repository, abandoned: frozenset[str]) -> Repository:
    """Return the repository without the copies that are given up. Raises UsageError for one that is none of them."""
    names = {copy.name for copy in repository.copies}
    unknown = sorted(abandoned - names)
    if unknown:
        raise UsageError(f"there is no copy {unknown[0]!r}", hint=f"Copies: {', '.join(sorted(names))}")
    if repository.deciding.name in abandoned:
        raise UsageError(f"copy {repository.deciding.name!r} decides what exists and can not be abandoned")
    if not abandoned:
        return repository
    return replace(repository, copies=tuple(copy for copy in repository.copies if copy.name not in abandoned))


def apply_plan(run: Run) -> None:
    """Do what the plan says, in order; what a store does not do is noted, and the rest is done as far as it may be."""
    plan = run.report.plan
    _mark(run, plan)
    _take_back(run, plan)
    for sweep in plan.sweeps:
        _attempt(run, partial(sweep_label, run, sweep))
    for removal in plan.removals:
        _attempt(run, partial(remove_label, run, removal))
    if run.report.problems or any(removal.label in run.report.left for removal in plan.removals):
        if plan.wal:
            run.report.notes.append("no WAL was removed, since not everything else could be")
        return
    for wal in plan.wal:
        _attempt(run, partial(remove_wal, run, wal))
    _attempt(run, partial(remove_watermarks, run))
    _attempt(run, partial(_sweep_pins, run))


def _mark(run: Run, plan: ExpirePlan) -> None:
    """Put the tombstones, then look at who reads: a backup that is read is marked another time."""
    for mark in plan.marks:
        run.require_held()
        stone, is_new = put_tombstone(
            run.repository, run.cluster, mark.label, run.order(run.why or mark.why), is_deliberate=mark.is_deliberate
        )
        reader = run.reader_of(mark.label)
        if is_new and reader is not None and not mark.is_deliberate:
            keep(run.repository, run.cluster, stone, run.order(reader))
            run.report.kept[mark.label] = reader
        else:
            run.report.marked.append(mark.label)
            logger.info("marked backup %s: %s", mark.label, mark.why)


def _take_back(run: Run, plan: ExpirePlan) -> None:
    for label, why in plan.withdrawals.items():
        run.require_held()
        stone = read_tombstone(run.deciding, run.cluster, label)
        if stone is not None and stone.stands:
            keep(run.repository, run.cluster, stone, run.order(why))
            run.report.kept[label] = why
            logger.info("backup %s stays: %s", label, why)


def _attempt(run: Run, step: Callable[[], None]) -> None:
    """Do one step; a store that does not answer, or denies, is a problem of that step."""
    try:
        step()
    except STORE_ERRORS as error:
        run.report.problems.append(error)


def _sweep_pins(run: Run) -> None:
    try:
        sweep_pins(run.repository, terms=run.terms)
    except PgvaultError as error:
        logger.debug("old pins stay: %s", error)

"""One round: bring each target what it lacks; several targets side by side, so that a dead one holds up no other.

Two that copy into one target at the same time do no harm: every put is if-absent, both put the same bytes, and roots
come after what they need whoever brought that. So nobody takes a lease for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

from pgvault.errors import ObjectCorrupt, PgvaultError, UsageError
from pgvault.instants import Clock
from pgvault.mirror.apply import Carrier, CopyReport
from pgvault.mirror.budget import ByteBudget
from pgvault.mirror.facts import Scope, Settled, bring_identity, is_begun, read_facts, require_begun
from pgvault.mirror.plan import CopyPlan, Lane, plan_copy
from pgvault.progress import NoProgress, Progress
from pgvault.repository.copies import Copy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """What to bring where."""

    source: Copy  # the deciding copy
    targets: tuple[Copy, ...]
    clock: Clock
    clusters: Collection[str] | None = None  # None: all
    may_begin: bool = False  # whether an empty target is given the repository's keys and identity
    lanes: tuple[Lane, ...] = (Lane.WAL, Lane.BACKUPS)
    stop: Event = field(default_factory=Event)
    budget: ByteBudget = field(default_factory=ByteBudget)  # of all targets together
    progress: Progress = field(default_factory=NoProgress)


def choose_targets(copies: Sequence[Copy], names: Sequence[str]) -> tuple[Copy, ...]:
    """Return the copies of those names, or all but the deciding one. Raises UsageError where there is none."""
    further = {copy.name: copy for copy in copies[1:]}
    if not further:
        raise UsageError(
            f"the repository has one copy only: {copies[0].name!r}", hint="Add another under repository.copies."
        )
    for name in names:
        if name == copies[0].name:
            raise UsageError(
                f"copy {name!r} is the deciding one: the others are brought up to date from it",
                hint="What it lacks itself, or holds damaged, is for: pgvault verify --repair",
            )
        if name not in further:
            raise UsageError(f"copy {name!r} is not configured", hint="Known: " + ", ".join(further))
    return tuple(further[name] for name in names) if names else tuple(further.values())


def copy_round(order: CopyOrder) -> tuple[CopyReport, ...]:
    """Bring every target what it lacks, once; a target that fails says why in its report."""
    with ThreadPoolExecutor(len(order.targets), thread_name_prefix="copy") as pool:
        return tuple(pool.map(lambda target: copy_into(order, target), order.targets))


def copy_into(order: CopyOrder, target: Copy, *, settled: Settled | None = None) -> CopyReport:
    """Bring one target what it lacks, once; but for places that are `settled`."""
    with order.progress.beside(target.name) as progress:
        return _copy_into(replace(order, progress=progress), target, settled)


def _copy_into(order: CopyOrder, target: Copy, settled: Settled | None) -> CopyReport:
    report = CopyReport(target.name)
    try:
        if not order.may_begin:
            require_begun(order.source, target)
        elif not is_begun(order.source, target):
            logger.info("copy %r is empty, and begun", target.name)
        report += CopyReport(target.name, objects=bring_identity(order.source, target))
        for lane in order.lanes:
            order.progress.phase(f"{lane}, looking")
            plan = look(order, target, lane, settled=settled)
            order.progress.phase(str(lane), plan.size)
            carrier = Carrier(order.source, target, order.clock, order.budget, order.stop, order.progress)
            report += carrier.apply(plan)
            if report.error is not None:
                break
    except PgvaultError as error:
        report += CopyReport(target.name, error=error)
    return report


def look(order: CopyOrder, target: Copy, lane: Lane, *, settled: Settled | None = None) -> CopyPlan:
    """Return what is to be brought of one lane. Raises what the stores raise."""
    return plan_copy(lane, read_facts(order.source, target, lane, scope=Scope(order.clusters), settled=settled))


def require_done(reports: Sequence[CopyReport]) -> None:
    """Raise what kept a round from being complete: what ended it for a target, else what was damaged."""
    for report in reports:
        if report.error is not None:
            error = report.error
            raise type(error)(f"copy {report.copy!r} is not up to date: {error}", hint=error.hint) from error
    problems = [(report.copy, problem) for report in reports for problem in report.problems]
    if problems:
        copy, first = problems[0]
        raise ObjectCorrupt(
            f"{len(problems)} objects were not brought, first {first.path!r} to copy {copy!r}: {first.why}",
            hint=first.hint,
        )

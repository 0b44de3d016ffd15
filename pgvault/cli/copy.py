"""`pgvault copy`: bring further copies of the repository up to date."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.alone import alone_here
from pgvault.cli.completing import complete_cluster, complete_copy
from pgvault.cli.logs import setup_logging
from pgvault.cli.opening import RepositorySource, make_copies
from pgvault.cli.options import ConfigOption, JsonOption, source_of
from pgvault.cli.signals import setting_on_signals
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock, parse_duration
from pgvault.mirror.apply import CopyReport
from pgvault.mirror.plan import CopyPlan, Lane
from pgvault.mirror.run import CopyOrder, choose_targets, copy_round, look, require_done
from pgvault.mirror.watch import watch_copies
from pgvault.repository.copies import Copy
from pgvault.stores import retry

NAMES_SHOWN = 20
# Whoever watches tries again by itself, and says so; it must not wait long for one answer.
PATIENCE = retry.Patience(deadline_seconds=15.0, read_seconds=20.0)


def copy(
    ctx: typer.Context,
    config: ConfigOption = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--copy", help="Only this copy; can be said again.", autocompletion=complete_copy),
    ] = None,
    cluster: Annotated[
        list[str] | None,
        typer.Option("--cluster", help="Only this cluster; can be said again.", autocompletion=complete_cluster),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep doing it, until SIGTERM.")] = False,
    every: Annotated[str, typer.Option("--every", help="With --watch: the pause between two looks.")] = "10s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be brought, and do no more.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the further copies of the repository what they lack, from the first one. Needs no key; reads it whole.

    A copy that is empty is begun. Again after an interruption goes on where that was.

    Example: pgvault copy --watch
    """
    loaded = source_of(ctx, config).load()
    copies = make_copies(loaded, patience=PATIENCE if watch else None)
    targets = choose_targets(copies, names or ())
    if watch and (dry_run or as_json):
        raise UsageError("--watch goes with neither --dry-run nor --json")
    chosen = None if cluster is None else frozenset(loaded.cluster(name)[0] for name in cluster)
    if dry_run:
        _preview(CopyOrder(copies[0], targets, SystemClock(), chosen), as_json=as_json)
    elif watch:
        _watch(copies[0], targets, chosen, every=parse_duration(every))
    else:
        places = [loaded.repository.copies[each.name] for each in targets]
        with alone_here("copy", *((each.url, each.endpoint_url) for each in places), sorted(chosen or ())):
            _copy(copies[0], targets, chosen, as_json=as_json)


def _copy(source: Copy, targets: tuple[Copy, ...], clusters: frozenset[str] | None, *, as_json: bool) -> None:
    with render.showing_progress() as progress:
        order = CopyOrder(source, targets, SystemClock(), clusters, may_begin=True, progress=progress)
        reports = copy_round(order)
    if as_json:
        render.write_json({"copies": [report_document(report) for report in reports]})
    for report in () if as_json else reports:
        write = render.write_success if report.error is None and not report.problems else render.write_lines
        write(report_lines(report))
    require_done(reports)


def _watch(source: Copy, targets: tuple[Copy, ...], clusters: frozenset[str] | None, *, every: timedelta) -> None:
    setup_logging(is_verbose=True)  # a service tells what it does
    logging.getLogger(retry.__name__).setLevel(logging.WARNING)  # an outage is said once, not at each attempt
    with setting_on_signals(otherwise="stopped without an answer of a store; the next run goes on from here") as stop:
        order = CopyOrder(source, targets, SystemClock(), clusters, may_begin=True, stop=stop)
        watch_copies(order, every=every)


def _preview(order: CopyOrder, *, as_json: bool) -> None:
    plans = []
    for target in order.targets:
        plans.append((target.name, Lane.WAL, look(order, target, Lane.WAL)))
        plans.append((target.name, Lane.BACKUPS, look(order, target, Lane.BACKUPS).own))
    if as_json:
        render.write_json({"copies": [_plan_document(target.name, plans) for target in order.targets]})
        return
    for name, lane, plan in plans:
        lines = [f"{name}: {lane}: {len(plan.transfers)} objects to bring, {render.size(plan.size)}"]
        lines += [f"  {each.path}" for each in plan.transfers[:NAMES_SHOWN]]
        more = len(plan.transfers) - NAMES_SHOWN
        lines += [f"  and {more} more"] if more > 0 else []
        lines += [f"  to remove: {each.path}" for each in plan.removals]
        lines += [f"  {each.path}: {each.why}" for each in plan.problems]
        render.write_lines(lines)


def _plan_document(name: str, plans: Sequence[tuple[str, Lane, CopyPlan]]) -> dict[str, Any]:
    mine = [plan for target, _, plan in plans if target == name]
    return {
        "name": name,
        "objects": [{"path": each.path, "bytes": each.size} for plan in mine for each in plan.transfers],
        "bytes": sum(plan.size for plan in mine),
        "removals": [each.path for plan in mine for each in plan.removals],
        "problems": [{"path": each.path, "why": each.why} for plan in mine for each in plan.problems],
    }


def report_document(report: CopyReport) -> dict[str, Any]:
    """What was done in one target, for machines."""
    return {
        "name": report.copy,
        "objects": report.objects,
        "bytes": report.size,
        "removed": report.removed,
        "problems": [{"path": each.path, "why": each.why} for each in report.problems],
        "error": None if report.error is None else str(report.error),
    }


def report_lines(report: CopyReport) -> list[str]:
    """What was done in one target, for people."""
    removed = f", removed {report.removed} tails" if report.removed else ""
    state = "up to date" if report.error is None and not report.problems else "NOT up to date"
    lines = [f"{report.copy}: {state}: brought {report.objects} objects, {render.size(report.size)}{removed}"]
    lines += [f"  {each.path}: {each.why}" for each in report.problems]
    if report.error is not None:
        lines.append(f"  {report.error}")
    return lines


def bring_up_to_date(source: RepositorySource, clusters: Collection[str] | None) -> None:
    """Bring backups and WAL of these clusters, or of all, to the async copies; what hinders that is a warning.

    For the end of a backup, which is committed whatever becomes of this.
    """
    copies = make_copies(source.load(), patience=PATIENCE)
    targets = tuple(each for each in copies[1:] if not (each.is_sync_for_backups and each.is_sync_for_wal))
    if not targets:
        return
    with render.showing_progress() as progress:
        reports = copy_round(CopyOrder(copies[0], targets, SystemClock(), clusters, progress=progress))
    try:
        require_done(reports)
    except PgvaultError as error:
        render.write_warning(str(error), "The backup is stored. Later: pgvault copy")

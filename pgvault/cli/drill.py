"""`pgvault drill`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict

from pgvault.cli import render
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.options import (
    ClusterOption,
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    OnlyCopyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_read
from pgvault.cli.sessions import connect
from pgvault.cli.signals import leaving_in_order
from pgvault.drill.logical import LogicalDrillRequest, run_logical_drill
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.drill.run import DrillRequest, require_passed, run_drill
from pgvault.errors import DrillNotRun, PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.progress import Progress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import TargetWords, parse_target


def drill(
    ctx: typer.Context,
    to: Annotated[str | None, typer.Option("--to", help="A time, '10 minutes ago', or latest; else latest.")] = None,
    label: Annotated[
        str | None, typer.Option("--backup", help="The backup to drill; else the newest that fits.")
    ] = None,
    logical: Annotated[
        str | None, typer.Option("--logical", metavar="LABEL", help="Drill a logical backup: a label, or latest.")
    ] = None,
    scratch: Annotated[Path | None, typer.Option("--scratch", help="Where to make the scratch directory.")] = None,
    only_copy: OnlyCopyOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore into a scratch instance, recover, run checks, measure, report.

    Example: pgvault drill --to "1 hour ago"

    Example: pgvault drill --logical latest
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster, only_copy=only_copy)
    if logical is not None and (label is not None or to is not None):
        raise UsageError("--logical excludes --to and --backup", hint="A logical backup holds the moment of its dump.")
    with leaving_in_order(DrillNotRun.exit_code), render.showing_progress() as progress:
        if logical is None:
            report = _drill(opened, to or "latest", label, scratch, progress)
        else:
            report = _drill_logical(opened, logical, scratch, progress)
    if as_json:
        render.write_json(report.to_json())
    else:
        write_report(report)
    require_passed(report)


def _drill(opened: OpenedCluster, to: str, label: str | None, scratch: Path | None, progress: Progress) -> DrillReport:
    clock = SystemClock()
    target = parse_target(TargetWords(to=to), zone=opened.time_zone, now=clock.now())
    request = DrillRequest(
        cluster=opened.name,
        restore=RestoreRequest(target, backup_label=label),
        checks=opened.config.checks,
        objectives=opened.config.objectives,
        failure=failure_moment(opened),
        scratch=scratch or opened.config.drill.scratch,
        timeout=opened.config.drill.timeout,
        jobs=opened.config.jobs,
        database=database_of(opened.config.dsn),
    )
    return run_drill(opened.repository, request, clock=clock, progress=progress)


def _drill_logical(opened: OpenedCluster, label: str, scratch: Path | None, progress: Progress) -> DrillReport:
    request = LogicalDrillRequest(
        cluster=opened.name,
        label=None if label == "latest" else label,
        checks=opened.config.checks,
        objectives=opened.config.objectives,
        failure=failure_moment(opened),
        scratch=scratch or opened.config.drill.scratch,
        jobs=opened.config.jobs,
        database=database_of(opened.config.dsn),
    )
    return run_logical_drill(opened.repository, request, clock=SystemClock(), progress=progress)


def database_of(dsn: str) -> str | None:
    """Return the database that a dsn names: where checks run that name none."""
    with suppress(psycopg.ProgrammingError):  # a drill needs no server, and so no dsn that means something
        name = conninfo_to_dict(dsn).get("dbname")
        return None if name is None else str(name)
    return None


def failure_moment(opened: OpenedCluster) -> FailureMoment:
    """Return now as the moment of the simulated failure: by the server's clock while it answers, else by ours."""
    if opened.config.dsn:
        try:
            with connect(opened.config) as session:
                return FailureMoment(session.clock(), is_server_clock=True)
        except PgvaultError:
            pass  # the drill must work without the server: that is the disaster it rehearses
    return FailureMoment(SystemClock().now(), is_server_clock=False)


def write_report(report: DrillReport) -> None:
    """Write a drill's report for people."""
    rows = [
        ("ok" if check.passed else "FAIL", check.name, check.severity, check.detail, render.duration(check.seconds))
        for check in report.checks
    ]
    if rows:
        render.write_table(
            f"drill {report.id} of backup {report.backup}", ("", "check", "severity", "found", "took"), rows
        )
    phases = ", ".join(f"{name} {render.duration(seconds)}" for name, seconds in report.phases.items())
    lines = [f"target: {report.target}", f"phases: {phases}"]
    if report.reached is not None:
        lines.append(f"reached: {_where(report.reached)}")
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"not tested: {what}" for what in report.not_tested]
    lines.append(verdict(report))
    render.write_lines(lines)


def _where(reached: Mapping[str, Any]) -> str:
    if "databases" not in reached:
        return f"{reached['lsn']} on timeline {reached['timeline']}"
    count = len(reached["databases"])
    return f"the snapshots of {count} database{'s' * (count != 1)}, the oldest of {reached['snapshot_at']}"


def verdict(report: DrillReport) -> str:
    """The closing line: passed or not, RTO and RPO against what was promised."""
    words = ["PASSED" if report.passed else "FAILED" if report.could_run else "COULD NOT RUN"]
    rto, rpo = report.objectives.rto, report.objectives.rpo
    if report.rto_seconds is not None:
        promised = f" (promised {render.duration(rto)})" if rto is not None else ""
        words.append(f"RTO {render.duration(report.rto_seconds)}{promised}")
    if report.rpo is not None:
        promised = f" (promised {render.duration(rpo)})" if rpo is not None else ""
        words.append(f"RPO at most {render.duration(report.rpo.seconds)}{promised}")
    else:
        words.append(f"RPO {report.rpo_method}")
    return " · ".join(words)

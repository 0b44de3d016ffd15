"""`pgvault drill`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict

from pgvault.cli import render
from pgvault.cli.drillfacts import Known, know
from pgvault.cli.drillreport import write_report
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
from pgvault.cli.signals import leaving_in_order
from pgvault.drill.logical import LogicalDrillRequest, run_logical_drill
from pgvault.drill.report import DrillReport
from pgvault.drill.run import DrillRequest, require_passed, run_drill
from pgvault.errors import DrillNotRun, UsageError
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
    failed_at: Annotated[
        str | None, typer.Option("--failed-at", help="When the server was lost, to measure the RPO from; else now.")
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
    if failed_at is not None and ((to or "latest") != "latest" or (logical or "latest") != "latest"):
        raise UsageError(
            "--failed-at needs the latest moment as the target",
            hint="What would be lost is measured at the end of the WAL; without --to a drill goes there.",
        )
    wanted = Wanted(to or "latest", label, scratch)
    known = know(opened, failed_at=failed_at, is_blind=only_copy is not None)
    with leaving_in_order(DrillNotRun.exit_code), render.showing_progress() as progress:
        if logical is None:
            report = _drill(opened, wanted, known, progress)
        else:
            report = _drill_logical(opened, replace(wanted, label=logical), known, progress)
    if as_json:
        render.write_json(report.to_json())
    else:
        write_report(report)
    require_passed(report)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of one drill."""

    to: str
    label: str | None
    scratch: Path | None


def _drill(opened: OpenedCluster, wanted: Wanted, known: Known, progress: Progress) -> DrillReport:
    clock = SystemClock()
    target = parse_target(TargetWords(to=wanted.to), zone=opened.time_zone, now=clock.now())
    request = DrillRequest(
        cluster=opened.name,
        restore=RestoreRequest(target, backup_label=wanted.label),
        checks=opened.config.checks,
        objectives=opened.config.objectives,
        failure=known.failure,
        scratch=wanted.scratch or opened.config.drill.scratch,
        timeout=opened.config.drill.timeout,
        jobs=opened.config.jobs,
        database=database_of(opened.config.dsn),
        is_derived=opened.config.drill.derived,
        amcheck=opened.config.drill.amcheck,
        classes=known.classes,
        measures=known.measures,
    )
    return run_drill(opened.repository, request, clock=clock, progress=progress)


def _drill_logical(opened: OpenedCluster, wanted: Wanted, known: Known, progress: Progress) -> DrillReport:
    request = LogicalDrillRequest(
        cluster=opened.name,
        label=None if wanted.label == "latest" else wanted.label,
        checks=opened.config.checks,
        objectives=opened.config.objectives,
        failure=known.failure,
        scratch=wanted.scratch or opened.config.drill.scratch,
        jobs=opened.config.jobs,
        database=database_of(opened.config.dsn),
        is_derived=opened.config.drill.derived,
        amcheck=opened.config.drill.amcheck,
        classes=known.classes,
        measures=known.measures,
    )
    return run_logical_drill(opened.repository, request, clock=SystemClock(), progress=progress)


def database_of(dsn: str) -> str | None:
    """Return the database that a dsn names: where checks run that name none."""
    with suppress(psycopg.ProgrammingError):  # a drill needs no server, and so no dsn that means something
        name = conninfo_to_dict(dsn).get("dbname")
        return None if name is None else str(name)
    return None

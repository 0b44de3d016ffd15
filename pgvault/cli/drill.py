"""`pgvault drill`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict

from pgvault import __version__
from pgvault.audit.receipt import WHAT as DRILL
from pgvault.audit.receipt import receipt_details
from pgvault.cli import render
from pgvault.cli.auditing import Book, book_of, recording
from pgvault.cli.completing import complete_label
from pgvault.cli.drillaims import RANDOM_MOST, AimWords, OptionalNumber, parse_aims
from pgvault.cli.drillfacts import Known, failure_moment, know
from pgvault.cli.drillreport import several_document, write_report, write_summary
from pgvault.cli.isolation import isolation_of
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
    global_config,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_read
from pgvault.cli.signals import leaving_in_order
from pgvault.drill.choosing import Aim, OldestAim, RandomAim
from pgvault.drill.isolation import Isolation
from pgvault.drill.logical import LogicalDrillRequest, run_logical_drill
from pgvault.drill.report import DrillReport
from pgvault.drill.run import DrillRequest, require_passed, run_drill
from pgvault.drill.several import require_all_passed
from pgvault.errors import DrillNotRun, ObjectMissing, UsageError, did_you_mean
from pgvault.instants import SystemClock
from pgvault.progress import Progress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget, TargetOptions, parse_timeline_option
from pgvault.repository import layout

drill_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@drill_app.command("drill", cls=OptionalNumber)
def drill(
    ctx: typer.Context,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="A time, '10 minutes ago', latest, last-good, oldest, random; can be said again."),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            "--random", min=1, max=RANDOM_MOST, metavar="[N]", help="So many random moments; one if not said."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="What draws them; else by chance.")] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest moment that can be restored.")] = False,
    timeline: Annotated[str | None, typer.Option("--timeline", help="Where the story forks: which way.")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--backup",
            help="The backup to drill; else one that no drill has proven, if it fits.",
            autocompletion=complete_label,
        ),
    ] = None,
    logical: Annotated[
        str | None,
        typer.Option(
            "--logical",
            metavar="LABEL",
            help="Drill a logical backup: a label, or latest.",
            autocompletion=complete_label,
        ),
    ] = None,
    failed_at: Annotated[
        str | None, typer.Option("--failed-at", help="When the server was lost, to measure the RPO from; else now.")
    ] = None,
    scratch: Annotated[Path | None, typer.Option("--scratch", help="Where to make the scratch directory.")] = None,
    isolation: Annotated[Isolation | None, typer.Option("--isolation", help="How the scratch is kept apart.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Plant faults into a throw-away cluster: is each caught?")
    ] = False,
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

    Example: pgvault drill --to latest --random 2 --oldest

    Example: pgvault drill --logical latest
    """
    if self_test:
        from pgvault.cli.selftest import self_test as test_itself

        given = config or global_config(ctx)
        test_itself(given, cluster, scratch=scratch, isolation=isolation, as_json=as_json)
        return
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster, only_copy=only_copy)
    words = AimWords(tuple(to or ()), random, oldest, seed)
    if logical is not None and (label is not None or words.is_said or timeline is not None):
        raise UsageError(
            "--logical excludes --to, --random, --oldest, --timeline and --backup",
            hint="A logical backup holds the moment of its dump.",
        )
    configured = opened.config.drill.targets if label is None else ("latest",)
    aims = parse_aims(words, configured=configured, zone=opened.time_zone, now=SystemClock().now())
    is_latest = LatestTarget() in aims if logical is None else logical == "latest"
    if failed_at is not None and not is_latest:
        raise UsageError(
            "--failed-at needs the latest moment as the target",
            hint="What would be lost is measured at the end of the WAL; without --to a drill goes there.",
        )
    _require_backup(opened, label if logical is None else logical)
    chosen = None if timeline is None else parse_timeline_option(timeline)
    wanted = Wanted(label, TargetOptions(timeline=chosen), scratch, isolation, only_copy is not None)
    known = know(opened, failed_at=failed_at, is_blind=only_copy is not None)
    reports: list[DrillReport] = []
    with leaving_in_order(DrillNotRun.exit_code):
        for number, aim in enumerate(aims if logical is None else (None,)):
            if number and failed_at is None:  # the drills before this one took their time, and archiving went on
                known = replace(known, failure=failure_moment(opened, is_blind=only_copy is not None))
            with render.showing_progress() as progress:
                if aim is None:
                    run = partial(_drill_logical, opened, replace(wanted, label=logical), known, progress)
                else:
                    run = partial(_drill, opened, aim, wanted, known, progress)
                reports.append(record_drill(book_of(opened), run))
            if not as_json:
                write_report(reports[-1])
    if as_json:
        render.write_json(reports[0].to_json() if len(reports) == 1 else several_document(reports))
    elif len(reports) > 1:
        write_summary(reports)
    require_all_passed(reports)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of every drill."""

    label: str | None
    options: TargetOptions
    scratch: Path | None
    isolation: Isolation | None
    is_blind: bool  # nothing may be asked but one copy


def record_drill(book: Book, run: Callable[[], DrillReport]) -> DrillReport:
    """Run a drill; its entry is its receipt, and where there is none, the report says so."""
    with recording(book, DRILL) as event:
        report = run()
        event.tell = lambda why: report.notes.append(f"no receipt: {why}")
        event.details |= receipt_details(report.to_json(), version=__version__)
        event.judge(lambda: require_passed(report))
    return report


def _require_backup(opened: OpenedCluster, label: str | None) -> None:
    """Refuse a label that no backup has: a slip of the pen is no failed drill to be stored and told for ever."""
    if label in (None, "latest"):
        return
    known = opened.repository.reader.names(layout.backups(opened.name))
    if label not in known:
        hint = f"{did_you_mean(str(label), known)}See: pgvault list"
        raise ObjectMissing(f"there is no backup {label!r} of cluster {opened.name!r}", hint=hint)


def _drill(opened: OpenedCluster, aim: Aim, wanted: Wanted, known: Known, progress: Progress) -> DrillReport:
    target = LatestTarget() if isinstance(aim, RandomAim | OldestAim) else aim
    request = DrillRequest(
        cluster=opened.name,
        restore=RestoreRequest(target, wanted.options, wanted.label),
        aim=aim if isinstance(aim, RandomAim | OldestAim) else None,
        prefers_unproven=True,
        checks=opened.config.checks,
        objectives=opened.config.objectives,
        failure=known.failure,
        scratch=wanted.scratch or opened.config.drill.scratch,
        timeout=opened.config.drill.timeout,
        jobs=opened.config.jobs,
        database=database_of(opened.config.dsn),
        is_blind=wanted.is_blind,
        is_derived=opened.config.drill.derived,
        amcheck=opened.config.drill.amcheck,
        isolation=isolation_of(opened.config.drill, wanted.isolation),
        classes=known.classes,
        measures=known.measures,
    )
    return run_drill(opened.repository, request, clock=SystemClock(), progress=progress)


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
        is_blind=wanted.is_blind,
        is_derived=opened.config.drill.derived,
        amcheck=opened.config.drill.amcheck,
        isolation=isolation_of(opened.config.drill, wanted.isolation),
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

"""`pgvault wal list`: the stored WAL, run by run, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.documents import gap_document, gap_line
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.options import (
    ClusterOption,
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_read
from pgvault.errors import PgvaultError, VerifyFailed, WalGap
from pgvault.instants import iso
from pgvault.recovery.archived import ArchivedRun, ArchivedSystem, ArchivedTail, only_timeline, read_archived
from pgvault.repository.catalog import read_catalog

AFTER_A_GAP = "Moments before and behind it: pgvault list. From now on every moment counts again after: pgvault backup"
COLUMNS = ("first", "last", "segments", "timeline", "WAL from", "to", "stored", "last pushed")


def list_wal(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    timeline: Annotated[int | None, typer.Option("--timeline", min=1, help="Only this timeline.")] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="End with 26 when WAL is missing in the recovery window, or there is none."),
    ] = False,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the stored WAL: runs of segments, streamed tails, other files, and every gap with its cause.

    Ends with 0 also where WAL is missing, unless --missing is said.

    Example: pgvault wal list --missing --json
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster)
    passed_over: list[tuple[str, PgvaultError]] = []
    systems = _read(opened, timeline, passed_over)
    if as_json:
        render.write_json(_document(opened.name, systems, passed_over))
    else:
        render.write_lines([] if systems else [f"cluster {opened.name} has no WAL"])
        for system in systems:
            _write(system)
    if passed_over:
        said = ", ".join(f"{name} ({error})" for name, error in passed_over)
        raise VerifyFailed(f"{len(passed_over)} timelines are left out, since their history does not open: {said}")
    if missing:
        require_nothing_missing(systems)


def require_nothing_missing(systems: Sequence[ArchivedSystem]) -> None:
    """Raise WalGap when there is a gap, a backup that its WAL does not make whole, or no recovery window at all."""
    windows = [system.window for system in systems if system.window is not None]
    gaps = [gap for window in windows for gap in window.gaps]
    lost = [each for window in windows for each in window.lost]
    if gaps:
        first = gaps[0]
        more = "" if len(gaps) == 1 else f", and {len(gaps) - 1} more gaps"
        place = f"on timeline {first.timeline} from {first.start_lsn} to {first.end_lsn}"
        raise WalGap(f"WAL is missing {place} ({first.cause}){more}", hint=AFTER_A_GAP)
    if lost:
        raise WalGap(f"backup {lost[0].label!r} can not be restored: {lost[0].reason}", hint=AFTER_A_GAP)
    if not any(window.ranges for window in windows):
        raise WalGap("there is no recovery window: no backup, or none of this timeline", hint=AFTER_A_GAP)


def _read(
    opened: OpenedCluster, timeline: int | None, passed_over: list[tuple[str, PgvaultError]]
) -> list[ArchivedSystem]:
    found = read_archived(
        opened.repository,
        opened.name,
        read_catalog(opened.repository, opened.name).backups,
        passed_over=lambda name, error: passed_over.append((name, error)),
    )
    return [system if timeline is None else only_timeline(system, timeline) for system in found]


def _document(
    cluster: str, systems: Sequence[ArchivedSystem], passed_over: Sequence[tuple[str, PgvaultError]]
) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "systems": [
            {
                "system_identifier": str(system.system_identifier),
                "segment_size_bytes": system.segment_size,
                "runs": [_run_document(run) for run in system.runs],
                "tails": [_tail_document(tail) for tail in system.tails],
                "other_files": list(system.others),
                "has_backup": system.window is not None,
                "gaps": [gap_document(gap, system.system_identifier) for gap in system.window.gaps]
                if system.window
                else [],
            }
            for system in systems
        ],
        "unreadable_wal": [{"name": name, "error": str(error)} for name, error in passed_over],
    }


def _run_document(run: ArchivedRun) -> dict[str, Any]:
    return {
        "timeline": run.first.timeline,
        "first": run.first.name,
        "last": run.last.name,
        "segment_count": run.count,
        "start_lsn": str(run.first.start_lsn),
        "end_lsn": str(run.last.end_lsn),
        "stored_bytes": run.stored_bytes,
        "last_pushed_at": None if run.pushed_at is None else iso(run.pushed_at),
    }


def _tail_document(tail: ArchivedTail) -> dict[str, Any]:
    return {
        "segment": tail.segment.name,
        "end_lsn": None if tail.end_lsn is None else str(tail.end_lsn),
        "object_count": tail.object_count,
        "stored_bytes": tail.stored_bytes,
    }


def _write(system: ArchivedSystem) -> None:
    rows = [
        (
            run.first.name,
            run.last.name,
            str(run.count),
            str(run.first.timeline),
            str(run.first.start_lsn),
            str(run.last.end_lsn),
            render.size(run.stored_bytes),
            "-" if run.pushed_at is None else render.instant(run.pushed_at),
        )
        for run in system.runs
    ]
    render.write_table(f"WAL of system {system.system_identifier}", COLUMNS, rows)
    render.write_lines(list(_lines(system)))


def _lines(system: ArchivedSystem) -> Iterator[str]:
    for tail in system.tails:
        reach = "not needed any more, or of no use" if tail.end_lsn is None else f"streamed up to {tail.end_lsn}"
        yield f"tail: {tail.segment.name}, {reach} ({tail.object_count} objects, {render.size(tail.stored_bytes)})"
    yield from (f"file: {name}" for name in system.others)
    if system.window is None:
        yield "no backup of this system: nothing can be restored with its WAL"
        return
    yield from map(gap_line, system.window.gaps)
    yield from (f"not restorable: backup {lost.label}: {lost.reason}" for lost in system.window.lost)

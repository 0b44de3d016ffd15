"""`pgvault backup`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.cli import render
from pgvault.cli.documents import backup_document, logical_document
from pgvault.cli.logicalbackup import LogicalChoice, back_up_logically
from pgvault.cli.opening import OpenedCluster, RepositorySource, open_cluster
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.sessions import connect
from pgvault.cli.signals import leaving_in_order
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.repository.catalog import Root
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.manifest import Manifest


class BackupType(StrEnum):
    """What kind of backup."""

    FULL = "full"
    LOGICAL = "logical"
    SCHEMA = "schema"


def backup(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every configured cluster; fails if one fails.")] = False,
    backup_type: Annotated[
        BackupType | None,
        typer.Option("--type", help="full, of files and WAL; logical, by pg_dump; schema, definitions that changed."),
    ] = None,
    database: Annotated[
        list[str] | None, typer.Option("--database", "-d", help="Logical, schema: only this database; repeatable.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Logical: rows of this configured class alone, all definitions.")
    ] = None,
    untested_major: Annotated[
        bool, typer.Option("--untested-major", help="Try a PostgreSQL major that pgvault was not tested with.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a backup of a cluster: a full one on this host, or a logical one from anywhere.

    Example: pgvault backup --cluster main
    """
    source = source_of(ctx, config)
    choice = LogicalChoice(tuple(database or ()), class_name)

    def take(opened: OpenedCluster) -> Root | None:
        return _back_up(opened, backup_type, choice, untested_major)

    if not every:
        _render([take(open_cluster(source, cluster))], as_json=as_json)
        return
    if cluster is not None:
        raise UsageError("--all and --cluster exclude each other")
    taken, failures = _back_up_all(source, take)
    _render(taken, as_json=as_json)
    if failures:
        raise failures[0]


def _back_up(
    opened: OpenedCluster, wanted: BackupType | None, choice: LogicalChoice, is_untested_major_allowed: bool
) -> Root | None:
    """Take one backup; None where a schema backup found nothing new."""
    kind = wanted or (BackupType.LOGICAL if opened.config.source == "logical" else BackupType.FULL)
    if kind is not BackupType.FULL:
        return back_up_logically(opened, LogicalType(kind), choice)
    if choice != LogicalChoice():
        raise UsageError("--database and --class go with --type logical", hint="A full backup holds whole clusters.")
    if opened.config.source == "logical":
        raise UsageError(
            f"cluster {opened.name!r} has source: logical; a full backup reads its files",
            hint="pgvault backup --type logical",
        )
    return _back_up_files(opened, is_untested_major_allowed)


def _back_up_files(opened: OpenedCluster, is_untested_major_allowed: bool) -> Manifest:
    config = opened.config
    slot = None if config.stream is None else config.stream.slot
    request = BackupRequest(
        opened.name, config.data_directory, config.jobs, config.archive_wait, is_untested_major_allowed, slot
    )
    with leaving_in_order(PgvaultError.exit_code), connect(config) as session, render.showing_progress() as progress:
        return take_backup(opened.repository, session, request, clock=SystemClock(), progress=progress)


def _back_up_all(
    source: RepositorySource, take: Callable[[OpenedCluster], Root | None]
) -> tuple[list[Root | None], list[PgvaultError]]:
    """Back up one cluster after the other; a failure of one does not keep the others from theirs."""
    names = list(source.load().clusters)
    if not names:
        raise UsageError("--all found no configured cluster", hint="Nothing was backed up.")
    taken: list[Root | None] = []
    failures: list[PgvaultError] = []
    for name in names:
        try:
            taken.append(take(open_cluster(source, name)))
        except PgvaultError as error:
            render.write_error(f"cluster {name}: {error}", error.hint)
            failures.append(error)
    return taken, failures


def _render(taken: list[Root | None], *, as_json: bool) -> None:
    if as_json:
        render.write_json({"backups": [_document(manifest) for manifest in taken if manifest is not None]})
        return
    for manifest in taken:
        if manifest is None:
            render.write_lines(["no definition has changed: nothing new was stored"])
            continue
        took = render.duration(manifest.stopped_at - manifest.started_at)
        sizes = f"{render.size(manifest.total_bytes)} in {took}, stored {render.size(manifest.stored_bytes)}"
        render.write_lines([f"{manifest.label}: {_contents(manifest)}{sizes}"])
        if isinstance(manifest, Manifest) and manifest.page_errors.count:
            render.write_error(
                f"{manifest.page_errors.count} pages have wrong checksums: {manifest.page_errors.first[0]} …",
                "The cluster itself is damaged. This backup does not count as a verified one.",
            )


def _document(manifest: Root) -> dict[str, Any]:
    return logical_document(manifest) if isinstance(manifest, LogicalManifest) else backup_document(manifest)


def _contents(manifest: Root) -> str:
    if isinstance(manifest, Manifest):
        return ""
    tables = sum(database.table_count for database in manifest.databases)
    rows = sum(database.row_count for database in manifest.databases)
    names = ", ".join(render.printable(database.name) for database in manifest.databases)
    counted = f", {tables} tables, {rows} rows" if manifest.type is LogicalType.LOGICAL else ""
    return f"{manifest.type} of {names}{counted}, "

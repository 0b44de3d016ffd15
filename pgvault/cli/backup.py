"""`pgvault backup`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from pgvault.backup.take import BackupRequest, RemoteOrder, take_backup
from pgvault.cli import render
from pgvault.cli.auditing import book_of, recording
from pgvault.cli.copy import bring_up_to_date
from pgvault.cli.documents import backup_document, logical_document
from pgvault.cli.logicalbackup import LogicalChoice, back_up_logically
from pgvault.cli.opening import OpenedCluster, RepositorySource, open_cluster
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.schemabackup import back_up_schema, schema_document, schema_line
from pgvault.cli.sessions import connect, connect_primary
from pgvault.cli.signals import leaving_in_order
from pgvault.config import ClusterConfig
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.logical.schema import SchemaTaken
from pgvault.repository.catalog import Root
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest

Taken = Root | SchemaTaken


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
    """Take a backup of a cluster: a full one, of files on this host or streamed, or a logical one.

    Example: pgvault backup --cluster main
    """
    source = source_of(ctx, config)
    choice = LogicalChoice(tuple(database or ()), class_name)

    def take(opened: OpenedCluster) -> Taken:
        return _back_up(opened, backup_type, choice, untested_major)

    if not every:
        opened = open_cluster(source, cluster)
        _render([take(opened)], as_json=as_json)
        bring_up_to_date(source, {opened.name})
        return
    if cluster is not None:
        raise UsageError("--all and --cluster exclude each other")
    taken, failures = _back_up_all(source, take)
    _render(taken, as_json=as_json)
    if taken:
        bring_up_to_date(source, None)
    if failures:
        raise failures[0]


def _back_up(
    opened: OpenedCluster, wanted: BackupType | None, choice: LogicalChoice, is_untested_major_allowed: bool
) -> Taken:
    kind = wanted or (BackupType.LOGICAL if opened.config.source == "logical" else BackupType.FULL)
    with recording(book_of(opened), "backup", asked={"type": str(kind)}) as event:
        taken = _back_up_as(kind, opened, choice, is_untested_major_allowed)
        event.details |= _recorded(taken)
    return taken


def _back_up_as(
    kind: BackupType, opened: OpenedCluster, choice: LogicalChoice, is_untested_major_allowed: bool
) -> Taken:
    if kind is BackupType.SCHEMA:
        return back_up_schema(opened, choice)
    if kind is BackupType.LOGICAL:
        return back_up_logically(opened, choice)
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
        opened.name,
        config.data_directory,
        config.jobs,
        config.archive_wait,
        is_untested_major_allowed,
        slot,
        anomaly=config.anomaly,
        connect_primary=connect_primary(config),
        remote=_remote(config),
    )
    with leaving_in_order(PgvaultError.exit_code), connect(config) as session, render.showing_progress() as progress:
        return take_backup(opened.repository, session, request, clock=SystemClock(), progress=progress)


def _remote(config: ClusterConfig) -> RemoteOrder | None:
    if config.source != "stream":
        return None
    password = None if config.password is None else config.password.read().decode()
    return RemoteOrder(config.dsn, password, config.max_rate)


def _back_up_all(
    source: RepositorySource, take: Callable[[OpenedCluster], Taken]
) -> tuple[list[Taken], list[PgvaultError]]:
    """Back up one cluster after the other; a failure of one does not keep the others from theirs."""
    names = list(source.load().clusters)
    if not names:
        raise UsageError("--all found no configured cluster", hint="Nothing was backed up.")
    taken: list[Taken] = []
    failures: list[PgvaultError] = []
    for name in names:
        try:
            taken.append(take(open_cluster(source, name)))
        except PgvaultError as error:
            render.write_error(f"cluster {name}: {error}", error.hint)
            failures.append(error)
    return taken, failures


def _render(taken: list[Taken], *, as_json: bool) -> None:
    if as_json:
        render.write_json({"backups": [_document(each) for each in taken]})
        return
    for manifest in taken:
        if isinstance(manifest, SchemaTaken):
            render.write_success([schema_line(manifest)])
            continue
        took = render.duration(manifest.stopped_at - manifest.started_at)
        sizes = f"{render.size(manifest.total_bytes)} in {took}, stored {render.size(manifest.stored_bytes)}"
        render.write_success([f"{manifest.label}: {_contents(manifest)}{sizes}"])
        if isinstance(manifest, Manifest) and manifest.page_errors.count:
            render.write_error(
                f"{manifest.page_errors.count} pages have wrong checksums: {manifest.page_errors.first[0]} …",
                "The cluster itself is damaged. This backup does not count as a verified one.",
            )


def _document(taken: Taken) -> dict[str, Any]:
    match taken:
        case SchemaTaken():
            return schema_document(taken)
        case LogicalManifest():
            return logical_document(taken)
        case Manifest():
            return backup_document(taken)


def _recorded(taken: Taken) -> dict[str, Any]:
    """Return what of a backup is kept on record: which one, of what, how much."""
    manifest = taken.manifest if isinstance(taken, SchemaTaken) else taken
    recorded: dict[str, Any] = {
        "label": manifest.label,
        "system_identifier": str(manifest.system_identifier),
        "postgres_major": manifest.postgres_major,
        "size_bytes": manifest.total_bytes,
        "stored_bytes": manifest.stored_bytes,
    }
    if isinstance(taken, SchemaTaken):
        return recorded | {"unchanged": not taken.is_new}
    if isinstance(taken, Manifest):
        return recorded | {"page_errors": taken.page_errors.count}
    return recorded | {"class": taken.class_name}


def _contents(manifest: Root) -> str:
    if isinstance(manifest, Manifest):
        return ""
    tables = sum(database.table_count for database in manifest.databases)
    rows = sum(database.row_count for database in manifest.databases)
    names = ", ".join(render.printable(database.name) for database in manifest.databases)
    return f"{manifest.type} of {names}, {tables} tables, {rows} rows, "

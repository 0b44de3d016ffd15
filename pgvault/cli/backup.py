"""`pgvault backup`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgvault.backup.take import BackupRequest, take_backup
from pgvault.cli import render
from pgvault.cli.documents import backup_document
from pgvault.cli.opening import OpenedCluster, RepositorySource, open_cluster
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.sessions import connect
from pgvault.cli.signals import leaving_in_order
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.repository.manifest import Manifest


def backup(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every configured cluster; fails if one fails.")] = False,
    untested_major: Annotated[
        bool, typer.Option("--untested-major", help="Try a PostgreSQL major that pgvault was not tested with.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a full backup of a cluster on this host.

    Example: pgvault backup --cluster main
    """
    source = source_of(ctx, config)
    if not every:
        manifest = _back_up(open_cluster(source, cluster), untested_major)
        _render([manifest], as_json=as_json)
        return
    if cluster is not None:
        raise UsageError("--all and --cluster exclude each other")
    taken, failures = _back_up_all(source, untested_major)
    _render(taken, as_json=as_json)
    if failures:
        raise failures[0]


def _back_up(opened: OpenedCluster, is_untested_major_allowed: bool) -> Manifest:
    config = opened.config
    slot = None if config.stream is None else config.stream.slot
    request = BackupRequest(
        opened.name, config.data_directory, config.jobs, config.archive_wait, is_untested_major_allowed, slot
    )
    with leaving_in_order(PgvaultError.exit_code), connect(config) as session, render.showing_progress() as progress:
        return take_backup(opened.repository, session, request, clock=SystemClock(), progress=progress)


def _back_up_all(source: RepositorySource, untested_major: bool) -> tuple[list[Manifest], list[PgvaultError]]:
    """Back up one cluster after the other; a failure of one does not keep the others from theirs."""
    names = list(source.load().clusters)
    if not names:
        raise UsageError("--all found no configured cluster", hint="Nothing was backed up.")
    taken: list[Manifest] = []
    failures: list[PgvaultError] = []
    for name in names:
        try:
            taken.append(_back_up(open_cluster(source, name), untested_major))
        except PgvaultError as error:
            render.write_error(f"cluster {name}: {error}", error.hint)
            failures.append(error)
    return taken, failures


def _render(taken: list[Manifest], *, as_json: bool) -> None:
    if as_json:
        render.write_json({"backups": [backup_document(manifest) for manifest in taken]})
        return
    for manifest in taken:
        took = render.duration(manifest.stopped_at - manifest.started_at)
        sizes = f"{render.size(manifest.total_bytes)} in {took}, stored {render.size(manifest.stored_bytes)}"
        render.write_lines([f"{manifest.label}: {sizes}"])
        if manifest.page_errors.count:
            render.write_error(
                f"{manifest.page_errors.count} pages have wrong checksums: {manifest.page_errors.first[0]} …",
                "The cluster itself is damaged. This backup does not count as a verified one.",
            )

"""`pgvault schema`: when definitions changed, and what changed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.documents import logical_document
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
from pgvault.errors import PgvaultError
from pgvault.logical.schema import changed_databases, diff_schemas, find_schema, schema_backups
from pgvault.repository.catalog import read_catalog
from pgvault.repository.logical import LogicalManifest

DIGEST_DIGITS = 12  # of a schema's digest, for people: enough to see that two are the same

schema = typer.Typer(
    name="schema",
    no_args_is_help=True,
    help="When definitions changed, and what changed.\n\nExample: pgvault schema list",
)


@schema.command("list")
def list_schemas(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the schema backups: one for each time that definitions changed.

    Example: pgvault schema list --cluster main
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster)
    found = schema_backups(read_catalog(opened.repository, opened.name))
    earlier: list[LogicalManifest | None] = [None, *found][: len(found)]
    changes = [changed_databases(before, after) for before, after in zip(earlier, found, strict=True)]
    if as_json:
        documents = [_document(backup, changed) for backup, changed in zip(found, changes, strict=True)]
        render.write_json({"cluster": opened.name, "schemas": documents})
        return
    _write_list(opened.name, found, changes)


@schema.command("diff")
def diff(
    ctx: typer.Context,
    earlier: Annotated[str, typer.Argument(metavar="A", help="Label of a schema backup, or latest.")],
    later: Annotated[str, typer.Argument(metavar="B", help="Label of another one, or latest.")],
    database: Annotated[str | None, typer.Option("--database", "-d", help="Only this database.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 1 when the definitions differ, as `git diff` does.")
    ] = False,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed from one schema backup to another, as a unified diff; nothing when they are equal.

    Example: pgvault schema diff 20260115T103000Z-f7c2 latest
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster)
    catalog = read_catalog(opened.repository, opened.name)
    before, after = find_schema(catalog, earlier), find_schema(catalog, later)
    differences = list(diff_schemas(opened.repository, before, after, database=database))
    if as_json:
        documents = [
            {"database": each.database, "change": each.change, "diff": list(each.lines)} for each in differences
        ]
        render.write_json({"cluster": opened.name, "from": before.label, "to": after.label, "databases": documents})
    else:
        render.write_lines([line for each in differences for line in each.lines])
    if exit_code and differences:
        names = ", ".join(each.database for each in differences)
        raise PgvaultError(f"the definitions of {before.label} and {after.label} differ in: {names}")


def _document(backup: LogicalManifest, changed: list[str]) -> dict[str, Any]:
    return {**logical_document(backup), "changed_databases": changed}


def _write_list(cluster: str, found: list[LogicalManifest], changes: list[list[str]]) -> None:
    if not found:
        render.write_lines([f"cluster {cluster} has no schema backup"])
        return
    rows = []
    for backup, changed in zip(found, changes, strict=True):
        held = {database.name: database.schema_sha256.hex()[:DIGEST_DIGITS] for database in backup.databases}
        told = [f"{name} {held.get(name, '(gone)')}" for name in changed]
        proof = "loaded" if backup.is_loaded else "not loaded"
        rows.append(
            (
                backup.label,
                render.instant(backup.started_at),
                str(len(backup.databases)),
                proof,
                render.printable(", ".join(told)),
            )
        )
    render.write_table(f"schemas of {cluster}", ("label", "taken at", "databases", "proof", "changed"), rows)

"""`pgvault backup --type schema`: from configuration and options to a schema backup, and how it looks."""

from __future__ import annotations

from functools import partial
from typing import Any

from pgvault.cli import render
from pgvault.cli.documents import logical_document
from pgvault.cli.isolation import isolation_of
from pgvault.cli.logicalbackup import LogicalChoice, logical_request
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.signals import leaving_in_order
from pgvault.drill.loading import prove_loads
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.logical.schema import SchemaTaken, take_schema
from pgvault.repository.logical import LogicalType


def back_up_schema(opened: OpenedCluster, choice: LogicalChoice) -> SchemaTaken:
    """Take a schema backup of a cluster, unless nothing changed. Raises UsageError for a class: it has no rows."""
    if choice.class_name is not None:
        raise UsageError("--class goes with --type logical", hint="A schema backup holds all definitions and no rows.")
    config = opened.config
    prove = (
        partial(prove_loads, scratch=config.drill.scratch, isolation=isolation_of(config.drill))
        if config.logical.load_schema
        else None
    )
    request = logical_request(opened, LogicalType.SCHEMA, choice)
    with leaving_in_order(PgvaultError.exit_code), render.showing_progress() as progress:
        return take_schema(opened.repository, request, prove=prove, clock=SystemClock(), progress=progress)


def schema_document(taken: SchemaTaken) -> dict[str, Any]:
    """One schema backup, as `backup` prints it: `unchanged` says that an older one holds the same."""
    return {**logical_document(taken.manifest), "unchanged": not taken.is_new}


def schema_line(taken: SchemaTaken) -> str:
    """The same for people."""
    manifest = taken.manifest
    if not taken.is_new:
        return f"{manifest.cluster}: definitions unchanged since {manifest.label}"
    count = len(manifest.databases)
    proof = "loaded into an empty server" if manifest.is_loaded else "not loaded: logical.load_schema is false"
    return f"{manifest.label}: definitions of {count} database{'s' * (count != 1)}, {proof}"

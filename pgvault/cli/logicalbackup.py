"""`pgvault backup --type logical`: from configuration and options to a request."""

from __future__ import annotations

from dataclasses import dataclass

from pgvault.cli import render
from pgvault.cli.logicalrestore import ranked_classes
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.sessions import libpq_environment
from pgvault.cli.signals import leaving_in_order
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.logical.request import LogicalRequest
from pgvault.logical.select import RankedClass
from pgvault.logical.take import take_logical
from pgvault.repository.logical import LogicalManifest, LogicalType


@dataclass(frozen=True, slots=True)
class LogicalChoice:
    """What the options limit a logical backup to."""

    databases: tuple[str, ...] = ()  # empty: as configured
    class_name: str | None = None


def logical_request(opened: OpenedCluster, kind: LogicalType, choice: LogicalChoice) -> LogicalRequest:
    """Return what is asked for. Raises UsageError for a class that is not configured, KeyUnusable."""
    config = opened.config
    return LogicalRequest(
        cluster=opened.name,
        dsn=config.dsn,
        password=None if config.password is None else config.password.read().decode(),
        databases=choice.databases or config.logical.databases,
        exclude=config.logical.exclude,
        data_class=None if choice.class_name is None else _class(opened, choice.class_name),
        type=kind,
        jobs=config.logical.jobs,
        spool=config.logical.spool,
        spool_limit=config.logical.spool_limit,
        lock_wait=config.logical.lock_wait,
        environment=libpq_environment(),
        anomaly=config.anomaly,
    )


def _class(opened: OpenedCluster, name: str) -> RankedClass:
    classes = ranked_classes(opened.config)
    if name not in classes:
        raise UsageError(f"class {name!r} is not configured", hint=f"Known: {', '.join(classes) or 'none'}")
    return classes[name]


def back_up_logically(opened: OpenedCluster, choice: LogicalChoice) -> LogicalManifest:
    """Take a logical backup of a cluster."""
    request = logical_request(opened, LogicalType.LOGICAL, choice)
    with leaving_in_order(PgvaultError.exit_code), render.showing_progress() as progress:
        return take_logical(opened.repository, request, clock=SystemClock(), progress=progress)

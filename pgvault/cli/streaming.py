"""From the configuration and the options of `pgvault wal stream` to a running stream; loaded only for that."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from pgvault.cli.opening import OpenedCluster, RepositorySource, open_cluster
from pgvault.cli.sessions import connect, libpq_environment
from pgvault.cli.signals import setting_on_signals
from pgvault.config import StreamConfig
from pgvault.errors import UsageError
from pgvault.instants import SystemClock
from pgvault.stores.retry import Patience
from pgvault.wal.beacon import Beacon
from pgvault.wal.streaming.heal import BackupCommand
from pgvault.wal.streaming.supervise import Stream, StreamOrder

logger = logging.getLogger(__name__)

SPOOLS = Path("/var/lib/pgvault")
OFF = "off"
LEFT_BEHIND = "stopped without an answer of the server or the repository; what was received is in the spool"
# The supervisor tries again by itself, and says so; it must not wait long for one answer.
PATIENCE = Patience(deadline_seconds=10.0)


def run(source: RepositorySource, cluster: str | None, options: Mapping[str, str | None]) -> None:
    """Stream until a signal says otherwise; `options` are those of the command line, None where not given."""
    opened = open_cluster(source, cluster, patience=PATIENCE)
    if opened.config.stream is None:
        logger.warning(
            "cluster %s has no `stream:` section in its configuration: backup and check do not know of this stream",
            opened.name,
        )
    settings = apply_options(opened.config.stream or StreamConfig(), options)
    beacon = None if settings.beacon is None else _beacon(opened, settings.beacon)
    with setting_on_signals(otherwise=LEFT_BEHIND) as stop:
        _make_stream(opened, settings).run(stop, beside=beacon)


def apply_options(configured: StreamConfig, options: Mapping[str, str | None]) -> StreamConfig:
    """Return the settings that hold. Raises UsageError for a value that means nothing."""
    given: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    if given.get("beacon") == OFF:
        given["beacon"] = None
    try:
        return StreamConfig.model_validate(configured.model_dump() | given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0]).replace("_", "-")
        said = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"--{name}: {said[:1].lower()}{said[1:]}") from error


def _make_stream(opened: OpenedCluster, settings: StreamConfig) -> Stream:
    cluster = opened.config
    order = StreamOrder(
        cluster=opened.name,
        dsn=cluster.dsn,
        password=None if cluster.password is None else cluster.password.read().decode(),
        slot=settings.slot,
        spool=settings.spool or SPOOLS / opened.name / "stream",
        every=settings.every,
        jobs=cluster.jobs,
        environment=libpq_environment(),
    )
    healing = _healing(opened, order.spool) if settings.on_gap == "backup" else None
    return Stream(opened.repository, order, lambda: connect(cluster), clock=SystemClock(), healing=healing)


def _healing(opened: OpenedCluster, spool: Path) -> BackupCommand:
    """The full backup after a gap: this program, this configuration, this environment."""
    argv = [sys.executable, "-m", "pgvault", "--config", str(opened.source.config)]
    argv += ["backup", "--cluster", opened.name]
    return BackupCommand(argv, dict(os.environ), spool / "backup.log")


def _beacon(opened: OpenedCluster, every: timedelta) -> Beacon:
    return Beacon(lambda: connect(opened.config), every=every, clock=SystemClock())

"""Look at a cluster for its status: the server, then the repository, then the file system of pg_wal.

In that order: what the server counts as archived before we list must be in the listing. Nothing is written anywhere.
A part that does not answer leaves an error in the facts, and the others are looked at all the same. What is read of
the repository are roots, names, history files, the watermarks of the last hours and a few info frames: a second's
work, however large the cluster is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from pgvault.config import ClusterConfig, Config
from pgvault.errors import OtherCluster, PgvaultError, ServerUnfit
from pgvault.instants import Clock
from pgvault.logical.request import LogicalRequest
from pgvault.monitor.finding import Finding, worst
from pgvault.monitor.heldwal import read_held
from pgvault.monitor.logicalstatus import (
    ClassPromise,
    LogicalFacts,
    ServerWord,
    ask_server,
    judge_logical,
    read_logical_held,
)
from pgvault.monitor.looking import Watched, look_all
from pgvault.monitor.objectivestatus import judge_objectives
from pgvault.monitor.schedulestatus import promised_age, tell_schedule
from pgvault.monitor.standing import stand
from pgvault.monitor.walfacts import ClusterFacts, DiskFacts, RepositoryFacts, lag_limit, measure_lag
from pgvault.monitor.walstatus import judge
from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.server import Session
from pgvault.postgres.walstate import WalState, read_wal_state
from pgvault.repository.repository import Repository

T = TypeVar("T")
LOOK_AGAIN_SECONDS = 0.5
STREAM_GRACE = timedelta(seconds=5)  # beyond its interval, to store a tail


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster, judged."""

    cluster: str
    findings: tuple[Finding, ...]
    error: PgvaultError | None  # neither the repository nor the server said anything

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        findings = [finding.to_json() for finding in self.findings]
        standing = stand(self.findings)
        return {
            "cluster": self.cluster,
            "level": worst(self.findings).value,
            "state": standing.state.value.lower(),
            "reason": standing.reason,
            "findings": findings,
        }


@dataclass(frozen=True, slots=True)
class _Asking:
    """How clusters are looked at."""

    connect: Callable[[ClusterConfig], Session]
    clock: Clock
    zone: str  # that schedules are read in


def read_statuses(
    clusters: Mapping[str, ClusterConfig],
    *,
    config: Config,
    open_repository: Callable[[], Repository],
    connect: Callable[[ClusterConfig], Session],
    clock: Clock,
) -> Iterator[ClusterStatus]:
    """Look at each cluster and judge it; the repository, which they share, is opened once.

    `config` says in which zone schedules are read, and who is told: then whoever tells is looked at, too.
    """
    repository = _tried(open_repository)
    for name, of in clusters.items():
        look = _look_at_logical if of.source == "logical" else _look_at_physical
        found = look(name, of, repository, _Asking(connect, clock, config.timezone))
        now = clock.now()
        findings = [*found.findings, *tell_schedule(of, zone=config.timezone, now=now)]
        if isinstance(repository, Repository):
            watched = Watched(repository, name, of, now, config.alerts, config.timezone, config.audit.signers)
            findings += look_all(watched)
        yield replace(found, findings=(*findings, *judge_objectives(of.objectives, findings)))


def _look_at_physical(
    name: str, config: ClusterConfig, repository: Repository | PgvaultError, asking: _Asking
) -> ClusterStatus:
    facts = gather(name, config, repository, connect=asking.connect, clock=asking.clock)
    facts = replace(facts, age=promised_age(config, zone=asking.zone))
    is_mute = isinstance(facts.server, PgvaultError) and isinstance(facts.repository, PgvaultError)
    error = facts.repository if is_mute and isinstance(facts.repository, PgvaultError) else None
    return ClusterStatus(name, judge(facts), error)


def _look_at_logical(
    name: str, config: ClusterConfig, repository: Repository | PgvaultError, asking: _Asking
) -> ClusterStatus:
    """Look at a cluster that has neither files nor WAL for us."""
    chosen = config.logical
    request = LogicalRequest(name, config.dsn, None, databases=chosen.databases, exclude=chosen.exclude)

    def ask() -> ServerWord:
        with asking.connect(config) as session:
            return ask_server(session, request)

    server = _tried(ask)
    host_at = asking.clock.now()
    held = repository if isinstance(repository, PgvaultError) else _tried(lambda: read_logical_held(repository, name))
    classes = tuple(
        ClassPromise(each, of.rpo, of.databases) for each, of in config.classes.items() if of.backup or of.rpo
    )
    age = promised_age(config, zone=asking.zone)
    facts = LogicalFacts(host_at, server, held, config.objectives.rpo, classes, age)
    error = held if isinstance(server, PgvaultError) and isinstance(held, PgvaultError) else None
    return ClusterStatus(name, judge_logical(facts), error)


def gather(
    name: str,
    config: ClusterConfig,
    repository: Repository | PgvaultError,
    *,
    connect: Callable[[ClusterConfig], Session],
    clock: Clock,
) -> ClusterFacts:
    """Look at one cluster."""
    asked = _tried(lambda: _ask_server(config, connect))
    primary = _ask_primary(asked, config, connect)
    # The slot is that of whoever is streamed from: the server that the dsn names.
    server = (
        replace(primary, slot=asked.slot) if isinstance(primary, WalState) and isinstance(asked, WalState) else asked
    )
    host_at = clock.now()
    disk = look_at_disk(asked, config.data_directory) if isinstance(asked, WalState) else "the server is not reached"
    known = server if isinstance(server, WalState) else None
    held: RepositoryFacts | PgvaultError
    waited = timedelta(0)
    if isinstance(repository, PgvaultError):
        held = repository
    else:
        held, waited = look_again(known, config, lambda: read_held(repository, name, known, now=host_at), clock=clock)
    return ClusterFacts(
        cluster=name,
        host_at=host_at,
        server=server,
        repository=held,
        disk=disk,
        is_streamed=config.stream is not None,
        rpo=config.objectives.rpo,
        waited=waited,
        standby=asked if isinstance(asked, WalState) and isinstance(primary, WalState) else None,
        primary_error=primary if isinstance(primary, PgvaultError) else None,
    )


def _ask_server(config: ClusterConfig, connect: Callable[[ClusterConfig], Session]) -> WalState:
    with connect(config) as session:
        return read_wal_state(session, slot=None if config.stream is None else config.stream.slot)


def _ask_primary(
    standby: WalState | PgvaultError, config: ClusterConfig, connect: Callable[[ClusterConfig], Session]
) -> WalState | PgvaultError | None:
    """Ask the primary of a standby what only that knows; None where there is no standby, or no way to its primary."""
    way = config.of_primary()
    if way is None or isinstance(standby, PgvaultError) or not standby.is_standby:
        return None
    primary = _tried(lambda: _ask_server(way, connect))
    if isinstance(primary, PgvaultError):
        return primary
    if primary.system_identifier != standby.system_identifier:
        return OtherCluster(f"primary_dsn reaches system {primary.system_identifier}, which is not the standby's")
    if primary.is_standby:
        return ServerUnfit("primary_dsn reaches a standby, which does not know what its primary has written")
    return primary


def look_again(
    server: WalState | None, config: ClusterConfig, look: Callable[[], RepositoryFacts], *, clock: Clock
) -> tuple[RepositoryFacts | PgvaultError, timedelta]:
    """Look at the repository, and once more while a stream may yet bring what seems late; return how long that took.

    A streamed server that was idle for an hour and commits is an hour behind by all that is known, until the next
    tail is stored a few seconds later.
    """
    began = clock.monotonic()
    waited = timedelta(0)
    held = _tried(look)
    while _is_under_way(server, held, config) and config.stream and waited < config.stream.every + STREAM_GRACE:
        sleep(LOOK_AGAIN_SECONDS)
        waited = timedelta(seconds=clock.monotonic() - began)
        held = _tried(look)
    return held, waited


def _is_under_way(server: WalState | None, held: RepositoryFacts | PgvaultError, config: ClusterConfig) -> bool:
    """Tell whether something seems late that an active stream is about to bring."""
    if server is None or server.slot is None or not server.slot.is_active or isinstance(held, PgvaultError):
        return False
    lag = measure_lag(server, held)
    limit = lag_limit(server, config.objectives.rpo)
    return lag is not None and (lag.seconds is None or lag.seconds > limit.total_seconds())


def look_at_disk(server: WalState, configured: Path | None) -> DiskFacts | str:
    """Look at the file system of pg_wal where it is on this host; else say why it is not known."""
    data = configured or server.data_directory
    try:
        control = read_control(data / CONTROL_PATH)
    except PgvaultError as error:
        return f"the data directory is not seen from here: {error}"
    if control.system_identifier != server.system_identifier:
        return f"'{data}' on this host holds another system than the server's"
    if control.checkpoint_lsn < server.checkpoint_lsn:
        return f"'{data}' on this host is a copy: the server's last checkpoint does not show in it"
    try:
        wal = (data / "pg_wal").resolve(strict=True)
        space = os.statvfs(wal)
    except OSError as error:
        return f"'{data / 'pg_wal'}' can not be looked at: {error.strerror}"
    count, size = _waiting(wal)
    return DiskFacts(wal, space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, count, size)


def _waiting(wal: Path) -> tuple[int, int] | tuple[None, None]:
    """Count the files that wait for the archiver, and their bytes; the archiver may take one away meanwhile."""
    count = size = 0
    try:
        for entry in os.scandir(wal / "archive_status"):
            if not entry.name.endswith(".ready"):
                continue
            count += 1
            try:
                size += (wal / entry.name.removesuffix(".ready")).stat().st_size
            except FileNotFoundError:
                continue
    except OSError:
        return None, None
    return count, size


def _tried(look: Callable[[], T]) -> T | PgvaultError:
    """Return what there is to see, or why there is nothing."""
    try:
        return look()
    except PgvaultError as error:
        return error

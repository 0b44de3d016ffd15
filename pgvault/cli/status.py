"""`pgvault status`: is every cluster protected, now? From the repository and the servers, never from a local record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.reading import open_to_read
from pgvault.cli.sessions import connect
from pgvault.cli.statusscreen import brief_line, write_status
from pgvault.config import ClusterConfig, Config
from pgvault.errors import ObjectiveMissed
from pgvault.instants import SystemClock
from pgvault.monitor.finding import Level, worst
from pgvault.monitor.standing import stand
from pgvault.monitor.status import ClusterStatus, read_statuses
from pgvault.repository.repository import Repository
from pgvault.stores.retry import Patience

# Whoever asks how things are wants to hear soon that a store does not answer: two attempts, some 16 s.
PATIENCE = Patience(deadline_seconds=15.0, read_seconds=8.0, answer_seconds=15.0)


def status(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    brief: Annotated[bool, typer.Option("--brief", help="One line per cluster.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether every cluster is protected now: backups and their schedule, WAL, copies, drills, objectives.

    Example: pgvault status --brief
    """
    loaded = source_of(ctx, config).load()
    found = tuple(statuses_of(loaded, chosen(loaded, cluster)))
    if as_json:
        levels = worst(finding for each in found for finding in each.findings)
        render.write_json({"level": levels.value, "clusters": [each.to_json() for each in found]})
    elif brief:
        render.write_lines([brief_line(each) for each in found])
    else:
        for each in found:
            write_status(each)
    raise_if_broken(found)


def statuses_of(
    config: Config, clusters: Mapping[str, ClusterConfig], *, open_repository: Callable[[], Repository] | None = None
) -> Iterator[ClusterStatus]:
    """Look at clusters, for whoever shows what is found; the repository is opened with little patience, once."""
    return read_statuses(
        clusters,
        open_repository=open_repository or (lambda: open_to_read(config, patience=PATIENCE)),
        connect=connect,
        clock=SystemClock(),
        config=config,
    )


def chosen(config: Config, name: str | None) -> dict[str, ClusterConfig]:
    """Return the named cluster, else all. Raises ConfigInvalid where there is none: nothing is never well."""
    if name is None and config.clusters:
        return dict(config.clusters)
    return dict([config.cluster(name)])


def raise_if_broken(found: Sequence[ClusterStatus]) -> None:
    """Raise ObjectiveMissed when anything is red; where nothing at all could be said, what kept us from it."""
    if found and all(each.error is not None for each in found) and found[0].error is not None:
        raise found[0].error
    broken = [each for each in found if worst(each.findings) is Level.RED]
    if broken:
        standings = [(each.cluster, stand(each.findings)) for each in broken]
        raise ObjectiveMissed("; ".join(f"cluster {name!r} is {each.state}: {each.reason}" for name, each in standings))

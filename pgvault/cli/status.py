"""`pgvault status`: is every cluster protected, now? From the repository and the servers, never from a local record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.reading import open_to_read
from pgvault.cli.sessions import connect
from pgvault.config import ClusterConfig, Config
from pgvault.errors import ObjectiveMissed
from pgvault.instants import SystemClock
from pgvault.monitor.finding import Finding, Level, amount, span, worst
from pgvault.monitor.status import ClusterStatus, read_statuses
from pgvault.stores.retry import Patience

# Whoever asks how things are wants to hear soon that a store does not answer: two attempts, some 16 s.
PATIENCE = Patience(deadline_seconds=15.0, read_seconds=8.0, answer_seconds=15.0)
WORDS = {Level.OK: "healthy", Level.WARN: "healthy as far as is known", Level.RED: "BROKEN"}


def status(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    brief: Annotated[bool, typer.Option("--brief", help="One line per cluster.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether every cluster is protected now: backups, WAL lag, gaps, archiver, slot, room for WAL.

    Example: pgvault status --brief
    """
    loaded = source_of(ctx, config).load()
    found = tuple(
        read_statuses(
            chosen(loaded, cluster),
            open_repository=lambda: open_to_read(loaded, patience=PATIENCE),
            connect=connect,
            clock=SystemClock(),
            config=loaded,
        )
    )
    if as_json:
        levels = worst(finding for each in found for finding in each.findings)
        render.write_json({"level": levels.value, "clusters": [each.to_json() for each in found]})
    elif brief:
        render.write_lines([brief_line(each) for each in found])
    else:
        for each in found:
            write_status(each)
    raise_if_broken(found)


def chosen(config: Config, name: str | None) -> dict[str, ClusterConfig]:
    """Return the named cluster, else all. Raises ConfigInvalid where there is none: nothing is never well."""
    if name is None and config.clusters:
        return dict(config.clusters)
    return dict([config.cluster(name)])


def raise_if_broken(found: Sequence[ClusterStatus]) -> None:
    """Raise ObjectiveMissed when anything is red; where nothing at all could be said, what kept us from it."""
    if found and all(each.error is not None for each in found) and found[0].error is not None:
        raise found[0].error
    broken = {each.cluster: _reds(each) for each in found if worst(each.findings) is Level.RED}
    if broken:
        raise ObjectiveMissed("; ".join(f"cluster {name!r}: {', '.join(names)}" for name, names in broken.items()))


def brief_line(found: ClusterStatus) -> str:
    """Return a cluster's line: how it is, its last backup, its lag."""
    level = worst(found.findings)
    said = WORDS[level] + (f" ({', '.join(_reds(found))})" if level is Level.RED else "")
    age = _figure(found, "backup", "age_seconds")
    size, seconds = _figure(found, "WAL lag", "bytes"), _figure(found, "WAL lag", "seconds")
    backup = f"last backup {'unknown' if age is None else f'{span(age)} ago'}"
    if _figure(found, "backup", "count") == 0:
        backup = "no backup"  # which only a repository that answers can say
    bound = "at most " if _figure(found, "WAL lag", "is_upper_bound") else ""
    loss = _figure(found, "data loss", "seconds")
    if loss is not None:  # it has logical backups only
        return f"{found.cluster}: {said}, {backup}, {span(loss)} would be lost"
    lag = "unknown" if size is None or seconds is None else f"{amount(size)}/{bound}{span(seconds)}"
    return f"{found.cluster}: {said}, {backup}, WAL lag {lag}"


def write_status(found: ClusterStatus) -> None:
    """Write a cluster's findings as a table, what to do below those that are not well."""
    rows: list[tuple[str, str, str]] = []
    for finding in found.findings:
        mark = finding.level.value.upper() if finding.level is Level.RED else finding.level.value
        rows.append((mark, finding.name, render.printable(finding.detail)))
        if finding.hint is not None and finding.level is not Level.OK:
            rows.append(("", "", f"hint: {render.printable(finding.hint)}"))
    render.write_table(f"{found.cluster}: {WORDS[worst(found.findings)]}", ("", "what", "how it is"), rows)


def _reds(found: ClusterStatus) -> list[str]:
    return list(dict.fromkeys(finding.name for finding in found.findings if finding.level is Level.RED))


def _figure(found: ClusterStatus, name: str, figure: str) -> float | None:
    finding: Finding | None = next((each for each in found.findings if each.name == name), None)
    value = None if finding is None else finding.figures.get(figure)
    return value if isinstance(value, int | float) else None

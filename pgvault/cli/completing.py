"""What a shell offers behind an option or for an argument, out of the configuration, and of a repository on this host.

A shell asks at every key: nothing here waits for a network, needs a key, or says that something is wrong. Where it is,
nothing is offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer  # noqa: TC002  typer looks at the annotation of ctx

if TYPE_CHECKING:
    from pgvault.config import Config

FILE = "file://"
NEWEST = 50  # labels are offered, newest first


def complete_cluster(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the configured clusters that begin so."""
    config = _config(ctx)
    return [] if config is None else [name for name in config.clusters if name.startswith(incomplete)]


def complete_copy(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the configured copies that begin so."""
    config = _config(ctx)
    return [] if config is None else [name for name in config.repository.copies if name.startswith(incomplete)]


def complete_label(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the labels of backups that begin so, newest first, where a copy is a directory of this host."""
    from pgvault.repository import layout

    config = _config(ctx)
    if config is None:
        return []
    chosen = ctx.params.get("cluster")
    clusters = [chosen] if isinstance(chosen, str) else list(config.clusters)
    roots = [Path(copy.url.removeprefix(FILE)) for copy in config.repository.copies.values() if _is_here(copy.url)]
    found: set[str] = set()
    for cluster in clusters:
        for root in roots:
            found |= _names(root / layout.backups(cluster))
    return sorted((label for label in found if label.startswith(incomplete)), reverse=True)[:NEWEST]


def _is_here(url: str) -> bool:
    return url.startswith(FILE)


def _names(directory: Path) -> set[str]:
    try:
        return {each.name for each in directory.iterdir()}
    except OSError:
        return set()


def _config(ctx: typer.Context) -> Config | None:
    """Read the configuration that the words so far name; None where that fails, whatever the reason."""
    from pgvault.config import find_config, load_config
    from pgvault.errors import PgvaultError

    try:
        named = ctx.params.get("config") or ctx.find_root().params.get("config")
        return load_config(find_config(None if named is None else Path(named)))
    except (OSError, PgvaultError, ValueError):
        return None

"""The options that commands share, and how they become an opened cluster.

What opens is imported when something is opened: --help and completion need the options alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgvault.cli.completing import complete_cluster, complete_copy

if TYPE_CHECKING:
    from pgvault.cli.opening import OpenedCluster, RepositorySource

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Else $PGVAULT_CONFIG, ./pgvault.yaml, /etc/pgvault/."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="Which cluster, where the configuration has several.", autocompletion=complete_cluster
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")]
RepositoryOption = Annotated[
    list[str] | None,
    typer.Option("--repository", help="URL of a copy, for a machine without configuration; once for each copy."),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="In place of the configured key: file:PATH (an escrow sheet, too), env:NAME, …"),
]
OnlyCopyOption = Annotated[
    str | None,
    typer.Option(
        "--only-copy",
        metavar="NAME",
        help="Touch no other copy of the repository than this.",
        autocompletion=complete_copy,
    ),
]
RegionOption = Annotated[str | None, typer.Option("--region", help="With --repository: the bucket's region.")]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint-url", help="With --repository: an S3-compatible store's endpoint.")
]


def global_config(ctx: typer.Context) -> Path | None:
    """Return the --config that was given before the command."""
    found = ctx.find_root().params.get("config")
    return None if found is None else Path(found)


def source_of(
    ctx: typer.Context,
    config: Path | None,
    *,
    repository: Sequence[str] | None = None,
    key: str | None = None,
    region: str | None = None,
    endpoint_url: str | None = None,
) -> RepositorySource:
    """Return the repository that the options name."""
    from pgvault.cli.opening import make_source

    chosen = config or global_config(ctx)
    return make_source(chosen, urls=repository or (), key=key, region=region, endpoint_url=endpoint_url)


def opened(ctx: typer.Context, config: Path | None, cluster: str | None) -> OpenedCluster:
    """Open the configured cluster that the options name."""
    from pgvault.cli.opening import open_cluster

    return open_cluster(source_of(ctx, config), cluster)

"""`pgvault metrics`: what `status` finds, for Prometheus. The alert rules on it are `pgvault metrics rules`."""

from __future__ import annotations

import typer

metrics = typer.Typer(
    name="metrics",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@metrics.callback()
def export(ctx: typer.Context) -> None:
    """Print every metric of every configured cluster, as Prometheus reads them."""

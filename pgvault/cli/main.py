"""The program's entry point: `pgvault` calls `main`."""

from __future__ import annotations

import typer

from pgvault.cli.app import app
from pgvault.errors import PgvaultError


def render_error(error: PgvaultError) -> None:
    """Write one sentence to stderr, and the hint, if there is one, below it."""
    typer.echo(f"error: {error}", err=True)
    if error.hint is not None:
        typer.echo(f"hint: {error.hint}", err=True)


def main() -> None:
    """Run the command line; the only place where an error becomes an exit status."""
    try:
        app()
    except PgvaultError as error:
        render_error(error)
        raise SystemExit(error.exit_code) from error

"""The program's entry point: `pgvault` calls `main`.

`wal push` and `wal fetch` take their own way (archiver.py), since typer alone takes longer than they may.
"""

from __future__ import annotations

import sys

from pgvault.cli import archiver
from pgvault.errors import PgvaultError


def render_error(error: PgvaultError) -> None:
    """Write one sentence to stderr, and the hint, if there is one, below it."""
    import typer

    typer.echo(f"error: {error}", err=True)
    if error.hint is not None:
        typer.echo(f"hint: {error.hint}", err=True)


def main() -> None:
    """Run the command line; with archiver.py the only place where an error becomes an exit status."""
    if archiver.is_wal_command(sys.argv[1:]):
        archiver.main(sys.argv[1:])
    from pgvault.cli.app import app

    try:
        app()
    except PgvaultError as error:
        render_error(error)
        raise SystemExit(error.exit_code) from error

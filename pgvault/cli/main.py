"""The program's entry point: `pgvault` calls `main`.

`wal push` and `wal fetch` take their own way (archiver.py), since typer alone takes longer than they may; a push of
what is stored already and a fetch of what lies ready end before that (fastpath.py, fastfetch.py). So nothing is
imported up here but what all of them need.
"""

from __future__ import annotations

import os
import sys

from pgvault.cli.fastfetch import deliver
from pgvault.cli.fastpath import is_stored

TYPE_CHECKING = False  # typing.TYPE_CHECKING without its import
if TYPE_CHECKING:
    from pgvault.errors import PgvaultError


def render_error(error: PgvaultError) -> None:
    """Write one sentence to stderr, and the hint, if there is one, below it."""
    import typer

    typer.echo(f"error: {error}", err=True)
    if error.hint is not None:
        typer.echo(f"hint: {error.hint}", err=True)


def main() -> None:
    """Run the command line; with archiver.py the only place where an error becomes an exit status."""
    if is_stored(sys.argv[1:]) or deliver(sys.argv[1:]):
        os._exit(0)  # nothing was begun that would have to be ended
    from pgvault.cli import archiver

    if archiver.is_wal_command(sys.argv[1:]):
        archiver.main(sys.argv[1:])
    from pgvault.cli.app import app
    from pgvault.errors import PgvaultError

    try:
        app(prog_name="pgvault")  # also as `python -m pgvault`: shells find their completion by it
    except PgvaultError as error:
        render_error(error)
        raise SystemExit(error.exit_code) from error

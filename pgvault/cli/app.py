"""The command tree.

Commands parse, open, call one operation and render. Judgement lives in the verbs, and how a result looks
in the renderers; nothing here catches errors, since `main` is where an error becomes an exit status.
"""

from __future__ import annotations

from typing import Annotated

import typer

from pgvault import __version__

app = typer.Typer(
    name="pgvault",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a frame's locals may hold a key
)


def print_version(wanted: bool) -> None:
    """Print the version and end the program, before any command is looked at."""
    if wanted:
        typer.echo(f"pgvault {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback()
def pgvault(version: VersionOption = False) -> None:
    """Back up PostgreSQL, archive its WAL, and prove that any moment can be restored."""

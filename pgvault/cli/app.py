"""The command tree.

Commands parse, open, call one operation and render. Judgement lives in the verbs, and how a result looks
in the renderers; nothing here catches errors, since `main` is where an error becomes an exit status.
"""

from __future__ import annotations

from typing import Annotated

import typer

from pgvault import __version__
from pgvault.cli import render
from pgvault.cli.backup import backup
from pgvault.cli.catalog import list_backups, show
from pgvault.cli.demo import demo
from pgvault.cli.drill import drill
from pgvault.cli.options import ConfigOption
from pgvault.cli.restore import adopt, restore
from pgvault.cli.setup import check, init
from pgvault.cli.verify import verify
from pgvault.cli.wal import wal

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
def pgvault(
    config: ConfigOption = None,  # noqa: ARG001  commands read it: see options.global_config
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell on stderr what is being done.")] = False,
    version: VersionOption = False,  # noqa: ARG001  its callback has done the work
) -> None:
    """Back up PostgreSQL, archive its WAL, and prove that any moment can be restored."""
    render.setup_logging(is_verbose=verbose)


app.command()(init)
app.command()(check)
app.command()(backup)
app.command("list")(list_backups)
app.command()(show)
app.command()(restore)
app.command()(adopt)
app.command()(verify)
app.command()(drill)
app.command()(demo)
app.add_typer(wal)

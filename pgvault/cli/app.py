"""The command tree.

Commands parse, open, call one operation and render. Judgement lives in the verbs, and how a result looks
in the renderers; nothing here catches errors, since `main` is where an error becomes an exit status.

A command's module is imported when it is called (tree.py): numpy, psycopg and the rest take a second to load together,
and `pgvault list` needs none of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pgvault import __version__
from pgvault.cli.logs import FORMAT_VARIABLE, JSON, TEXT, setup_logging
from pgvault.cli.options import ConfigOption
from pgvault.cli.tree import LazyGroup

# In the order of a life: what is set up first comes first in --help.
COMMANDS = {
    "init": "pgvault.cli.setup:init",
    "key": "pgvault.cli.key:key",
    "check": "pgvault.cli.setup:check",
    "doctor": "pgvault.cli.doctor:doctor",
    "backup": "pgvault.cli.backup:backup",
    "list": "pgvault.cli.catalog:list_backups",
    "show": "pgvault.cli.catalog:show",
    "schedule": "pgvault.cli.schedule:schedule",
    "status": "pgvault.cli.status:status",
    "alert": "pgvault.cli.alert:alert",
    "report": "pgvault.cli.report:report",
    "metrics": "pgvault.cli.metrics:metrics",
    "restore": "pgvault.cli.restore:restore",
    "adopt": "pgvault.cli.restore:adopt",
    "extract": "pgvault.cli.extract:extract_tables",
    "verify": "pgvault.cli.verify:verify",
    "copy": "pgvault.cli.copy:copy",
    "expire": "pgvault.cli.expire:expire",
    "delete": "pgvault.cli.deleting:delete",
    "undelete": "pgvault.cli.deleting:undelete",
    "hold": "pgvault.cli.holds:hold",
    "release": "pgvault.cli.holds:release",
    "holds": "pgvault.cli.holds:holds",
    "drill": "pgvault.cli.drill:drill_app",
    "drills": "pgvault.cli.drills:drills",
    "runbook": "pgvault.cli.runbook:runbook",
    "schema": "pgvault.cli.schema:schema",
    "audit": "pgvault.cli.audit:audit",
    "checks": "pgvault.cli.checks:checks",
    "demo": "pgvault.cli.demo:demo",
    "wal": "pgvault.cli.wal:wal",
}


class LogFormat(StrEnum):
    """How stderr is written."""

    TEXT = TEXT
    JSON = JSON


class Commands(LazyGroup):
    """Every command, imported when it is run."""

    places = COMMANDS


app = typer.Typer(
    name="pgvault",
    cls=Commands,
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
    log_format: Annotated[  # noqa: ARG001  see logs.choose_format
        LogFormat,
        typer.Option("--log-format", envvar=FORMAT_VARIABLE, help="How stderr is written: for people, or not."),
    ] = LogFormat.TEXT,
    version: VersionOption = False,  # noqa: ARG001  its callback has done the work
) -> None:
    """Back up PostgreSQL, archive its WAL, and prove that any moment can be restored.

    Example: pgvault status --brief
    Example: pgvault --config shop.yaml restore --to "10 minutes ago" /srv/restored
    """
    setup_logging(is_verbose=verbose)

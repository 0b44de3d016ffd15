"""The options of `pgvault restore --logical`, and which of them go with which kind of restore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pgvault.errors import UsageError

JOBS = 2  # production may run on the server that is restored into
COMMAND_LINE = "COMMANDLINE"  # of click's ParameterSource, which typer keeps to itself
ALSO_LOGICAL = frozenset(
    {"jobs", "dry_run", "config", "cluster", "repository", "key", "region", "endpoint_url", "as_json", "timezone"}
    | {"only_copy"}
)

LogicalOption = Annotated[
    str | None, typer.Option("--logical", help="A logical backup's label, or latest: rows, not files.")
]
IntoOption = Annotated[
    str | None, typer.Option("--into", help="--logical: the server, as 'host=… dbname=…'; passwords in ~/.pgpass.")
]
FileOption = Annotated[
    Path | None, typer.Option("--file", help="--logical: write a directory that pg_restore reads, instead.")
]
DatabaseOption = Annotated[list[str] | None, typer.Option("--database", help="--logical: only this; repeatable.")]
SchemaOption = Annotated[list[str] | None, typer.Option("--schema", help="--logical: only this; repeatable.")]
TableOption = Annotated[
    list[str] | None, typer.Option("--table", help="--logical: only schema.table and what belongs to it; repeatable.")
]
ClassOption = Annotated[str | None, typer.Option("--class", help="--logical: only the tables of this data class.")]
CreateOption = Annotated[bool, typer.Option("--create", help="--logical: make databases that are not there.")]
CleanOption = Annotated[bool, typer.Option("--clean", help="--logical: drop first what is in the way.")]
NoGlobalsOption = Annotated[bool, typer.Option("--no-globals", help="--logical: make no roles.")]
NoOwnerOption = Annotated[bool, typer.Option("--no-owner", help="--logical: no owners, no grants.")]
NoCompareOption = Annotated[bool, typer.Option("--no-compare", help="--logical: do not compare the rows afterwards.")]


@dataclass(frozen=True, slots=True)
class LogicalWords:
    """The options of a logical restore, as they were given."""

    label: str
    into: str | None
    directory: Path | None
    databases: tuple[str, ...]
    schemas: tuple[str, ...]
    tables: tuple[str, ...]
    class_name: str | None
    is_created: bool
    is_cleaned: bool
    has_globals: bool
    has_owners: bool
    is_compared: bool
    jobs: int
    is_dry: bool


LOGICAL_ONLY = {
    "into": "--into",
    "file": "--file",
    "database": "--database",
    "schema": "--schema",
    "table": "--table",
    "class_name": "--class",
    "create": "--create",
    "clean": "--clean",
    "no_globals": "--no-globals",
    "no_owner": "--no-owner",
    "no_compare": "--no-compare",
}


def refuse_foreign(ctx: typer.Context, *, is_logical: bool) -> None:
    """Raise UsageError for an option of the other kind of restore."""
    for name in ctx.params:
        is_given = str(getattr(ctx.get_parameter_source(name), "name", "")) == COMMAND_LINE
        if not is_given or name in ALSO_LOGICAL or name == "logical":
            continue
        if is_logical and name not in LOGICAL_ONLY:
            option = "DIRECTORY" if name == "directory" else f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} is of physical restores, and --logical was said",
                hint="A logical backup holds one moment: into a server with --into, into a directory with --file.",
            )
        if not is_logical and name in LOGICAL_ONLY:
            raise UsageError(
                f"{LOGICAL_ONLY[name]} goes with --logical", hint="Say --logical LABEL or --logical latest."
            )

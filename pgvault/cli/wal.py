"""`pgvault wal`: what people see of push and fetch. The commands themselves run in archiver.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgvault.cli import archiver
from pgvault.cli.completing import complete_cluster
from pgvault.cli.stream import stream
from pgvault.cli.wallist import list_wal

wal = typer.Typer(
    name="wal",
    no_args_is_help=True,
    help="Archive WAL and bring it back: what PostgreSQL calls.\n\nExample: pgvault wal list --missing",
)

wal.command("list")(list_wal)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file.")]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", help="Which cluster, where there are several.", autocompletion=complete_cluster),
]
RetryOption = Annotated[
    str | None, typer.Option("--retry-for", help="How long to ride out an outage (90s, 10m) before failing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Say on stdout what was done, as JSON.")]


@wal.command()
def push(
    path: Annotated[Path, typer.Argument(help="The file, %p in archive_command.")],
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    retry_for: RetryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Archive one WAL file: archive_command = 'pgvault wal push %p'.

    Succeeds only when the file is durable in the repository, or was there with the same content. Never
    replaces anything. Every failure ends with a status from 1 to 125.

    Example: pgvault wal push pg_wal/000000010000000000000007
    """
    options = ["--config", config, "--cluster", cluster, "--retry-for", retry_for]
    raise typer.Exit(archiver.run(_words("push", [path], options, as_json=as_json)))


@wal.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The file wanted, %f in restore_command.")],
    path: Annotated[Path, typer.Argument(help="Where to put it, %p in restore_command.")],
    plan: Annotated[Path | None, typer.Option("--plan", help="The plan of the restore this is for.")] = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    retry_for: RetryOption = None,
    ahead: Annotated[
        int | None, typer.Option("--ahead", min=0, help="With a plan: segments to fetch ahead, 8 unless said; 0: none.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring one WAL file back, checked: for restore_command, behind the guard that `pgvault restore` writes.

    With a plan, what it lists is delivered or this fails, and all else is absent; without one, the repository
    is asked. Ends with 0 when delivered and 77 when confirmed absent. PostgreSQL takes any other status up to
    125 for the end of WAL: do not put this command into restore_command without the guard.

    Example: pgvault wal fetch 000000010000000000000007 /srv/restored/pg_wal/RECOVERYXLOG
    """
    options = ["--plan", plan, "--config", config, "--cluster", cluster, "--retry-for", retry_for]
    options += ["--ahead", None if ahead is None else str(ahead)]
    raise typer.Exit(archiver.run(_words("fetch", [name, path], options, as_json=as_json)))


wal.command()(stream)


def _words(command: str, arguments: list[str | Path], options: list[str | Path | None], *, as_json: bool) -> list[str]:
    """Return what was parsed as the words it came from, less what was not said."""
    pairs = zip(options[::2], options[1::2], strict=True)
    said = [str(word) for option, value in pairs if value is not None for word in (option, value)]
    return ["wal", command, *said, *(["--json"] if as_json else []), "--", *map(str, arguments)]

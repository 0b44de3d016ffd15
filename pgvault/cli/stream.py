"""`pgvault wal stream`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pgvault.cli.logs import setup_logging
from pgvault.cli.options import ClusterOption, ConfigOption, source_of


class OnGap(StrEnum):
    """What to do when WAL was lost."""

    BACKUP = "backup"
    RECORD = "record"


def stream(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    every: Annotated[str | None, typer.Option("--every", help="How often the unfinished segment is stored.")] = None,
    beacon: Annotated[
        str | None, typer.Option("--beacon", help="How often an idle server is made to commit: 10s, or off.")
    ] = None,
    on_gap: Annotated[
        OnGap | None, typer.Option("--on-gap", help="When WAL was lost: a full backup at once, or only its record.")
    ] = None,
    spool: Annotated[
        Path | None, typer.Option("--spool", help="Where WAL is received, on a disk that survives restarts.")
    ] = None,
    slot: Annotated[str | None, typer.Option("--slot", help="The replication slot, created when missing.")] = None,
) -> None:
    """Receive WAL as it is written and archive it: finished segments at once, the rest every few seconds.

    Runs in the foreground, for systemd, until SIGTERM. Options override the cluster's `stream:` section.

    Example: pgvault wal stream --cluster main --every 5s
    """
    from pgvault.cli import streaming

    setup_logging(is_verbose=True)  # a service tells what it does
    options = {
        "every": every,
        "beacon": beacon,
        "on_gap": None if on_gap is None else str(on_gap),
        "spool": None if spool is None else str(spool.absolute()),
        "slot": slot,
    }
    streaming.run(source_of(ctx, config), cluster, options)

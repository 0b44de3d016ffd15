"""`pgvault runbook`: what to do on the bad day, written on a good one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pgvault import __version__
from pgvault.cli import render
from pgvault.cli.opening import read_credential
from pgvault.cli.options import ClusterOption, ConfigOption, source_of
from pgvault.cli.reading import open_to_read
from pgvault.cli.writing import write_document
from pgvault.config import Config, find_config
from pgvault.errors import PgvaultError
from pgvault.instants import SystemClock
from pgvault.runbook.document import write_runbook
from pgvault.runbook.facts import ClusterFacts, Facts, with_repository


def runbook(
    ctx: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", help="Write it there; an older one is replaced.")] = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Print the disaster-recovery runbook of this configuration, in Markdown: commands to paste, and what was measured.

    It needs no server, and without the repository says what is not known.

    Example: pgvault runbook --out /media/usb/runbook.md
    """
    source = source_of(ctx, config)
    loaded = source.load()
    names = [loaded.cluster(cluster)[0]] if cluster is not None else list(loaded.clusters)
    clusters = tuple(ClusterFacts(name, loaded.clusters[name]) for name in names)
    facts = Facts(SystemClock().now(), __version__, find_config(source.config).resolve(), loaded, clusters)
    text = write_runbook(_with_repository(facts, loaded))
    if out is None:
        render.write_lines(text.splitlines())
    else:
        write_document(out, text)
        render.write_lines([f"runbook: {out}"])


def _with_repository(facts: Facts, loaded: Config) -> Facts:
    """Add what the repository tells, if it does: a runbook of a repository that is away is worth having, too."""
    try:
        return with_repository(facts, open_to_read(loaded), read_credential(loaded))
    except PgvaultError as error:
        return replace(facts, unread=(str(error),))

"""`pgvault check --print-settings`: what to paste, with the paths of this very program."""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pgvault
from pgvault.cli import render
from pgvault.cli.invoking import quick_program
from pgvault.cli.restore import program as fetch_program
from pgvault.cli.sessions import connect
from pgvault.config import ClusterConfig, Config
from pgvault.errors import PgvaultError
from pgvault.monitor.settings import Host, Invocation, copy_unit, suggest

USUAL_USER = "postgres"


def write_settings(loaded: Config, config: Path, cluster: str, *, as_json: bool) -> None:
    """Print what one cluster's server, a standby of it and systemd shall be told."""
    chosen = loaded.clusters[cluster]
    named = cluster if len(loaded.clusters) > 1 else None
    invocation = Invocation(program(), fetch_program(), quick_program("pushprogram.py"), config.absolute(), named)
    host = find_host(chosen)
    printed = suggest(cluster, chosen, invocation, host=host)
    if len(loaded.repository.copies) > 1:
        printed = replace(printed, copy_unit=copy_unit(invocation, user=host.user))
    if as_json:
        render.write_json(printed.to_json())
    else:
        render.write_lines(printed.lines())


def program() -> tuple[str, ...]:
    """How a server and systemd call us: the installed program, or this interpreter with our source tree.

    -P, since a server's working directory is its data directory.
    """
    source_tree = Path(pgvault.__file__).resolve().parent.parent
    if (source_tree / "pyproject.toml").exists():
        return ("/usr/bin/env", f"PYTHONPATH={source_tree}", sys.executable, "-P", "-m", "pgvault")
    script = Path(sys.executable).parent / "pgvault"
    if script.is_file() and os.access(script, os.X_OK):
        return (str(script),)
    return (sys.executable, "-P", "-m", "pgvault")


def find_host(cluster: ClusterConfig) -> Host:
    """Ask the configuration, or else the server, where the data directory is; neither need know."""
    data = cluster.data_directory
    if data is None:
        with suppress(PgvaultError), connect(cluster) as session:
            data = Path(session.settings(("data_directory",))["data_directory"])
    try:
        return Host(USUAL_USER if data is None else pwd.getpwuid(data.stat().st_uid).pw_name, data)
    except (OSError, KeyError):
        return Host(USUAL_USER, None)

"""`pgvault schedule`: what a host's scheduler is to be told, for this very program and configuration."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.options import ClusterOption, ConfigOption, global_config
from pgvault.cli.printing import USUAL_USER, find_host, program
from pgvault.config import Config, find_config, load_config
from pgvault.errors import PgvaultError, Refused, UsageError
from pgvault.hosts import cron, systemd
from pgvault.hosts.host import HostFile, ScheduleOrder
from pgvault.instants import SystemClock, load_zone, parse_duration

LOCAL_TIME = Path("/etc/localtime")
ROOT = 0
ZONES = "zoneinfo/"  # in its target
UTC_NAMES = ("Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu")
MODE = 0o644

schedule = typer.Typer(
    name="schedule",
    no_args_is_help=True,
    help="Print what starts the jobs of `schedule:` on a host.\n\nExample: pgvault schedule cron",
)

OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the files there; else print them.")]
ForceOption = Annotated[bool, typer.Option("--force", help="With --out: also over a file with other content.")]
UserOption = Annotated[
    str | None,
    typer.Option("--user", help="Who runs it; else whom the data directory, or this configuration, belongs to."),
]
JitterOption = Annotated[
    str | None, typer.Option("--jitter", help="The most by which a fleet is spread: 15m; 0s for not at all.")
]


@schedule.command("systemd")
def print_systemd(
    ctx: typer.Context,
    out: OutOption = None,
    force: ForceOption = False,
    user: UserOption = None,
    jitter: JitterOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Print a service and a timer for each job of each cluster, and the services that run all the time.

    Example: pgvault schedule systemd --out /etc/systemd/system
    """
    loaded, order = _order(config or global_config(ctx), cluster, user, jitter)
    files = systemd.unit_files(loaded, order, now=SystemClock().now())
    _deliver(files, out, where=systemd.DIRECTORY, is_forced=force)


@schedule.command("cron")
def print_cron(
    ctx: typer.Context,
    out: OutOption = None,
    force: ForceOption = False,
    user: UserOption = None,
    jitter: JitterOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Print a file for /etc/cron.d with a line for each job of each cluster.

    Example: pgvault schedule cron --out /etc/cron.d
    """
    loaded, order = _order(config or global_config(ctx), cluster, user, jitter)
    _deliver([cron.cron_file(loaded, order, now=SystemClock().now())], out, where=cron.DIRECTORY, is_forced=force)


def _order(
    given: Path | None, cluster: str | None, user: str | None, jitter: str | None
) -> tuple[Config, ScheduleOrder]:
    path = find_config(given).absolute()
    loaded = load_config(path)
    names = list(loaded.clusters) if cluster is None else [loaded.cluster(cluster)[0]]
    if not names:
        raise UsageError("the configuration has no clusters: there is nothing to schedule")
    return loaded, ScheduleOrder(
        program(),
        path,
        {name: user or _user(loaded, name, path) for name in names},
        host=socket.gethostname(),
        zone=_host_zone(),
        jitter=None if jitter is None else parse_duration(jitter),
    )


def _user(loaded: Config, name: str, path: Path) -> str:
    """Return who reads the files of a cluster; where they are not here, whoever keeps the configuration."""
    cluster, owner = loaded.clusters[name], path.stat().st_uid
    if cluster.source != "local" and owner != ROOT:
        with suppress(KeyError):
            return pwd.getpwuid(owner).pw_name
    return find_host(cluster).user if cluster.source == "local" else USUAL_USER


def _host_zone() -> str:
    """Return the name of the host's time zone, UTC where it has none."""
    target = os.path.realpath(LOCAL_TIME)
    name = target.partition(ZONES)[2] or "UTC"
    try:
        load_zone(name)
    except PgvaultError:
        return "UTC"
    return "UTC" if name in UTC_NAMES else name


def _deliver(files: Sequence[HostFile], out: Path | None, *, where: str, is_forced: bool) -> None:
    for file in files:
        if file.warning is not None:
            render.write_warning(*file.warning)
    if out is None:
        for number, file in enumerate(files):
            render.write_lines([*([""] if number else []), f"# {where}/{file.name}", *file.content.splitlines()])
        return
    _write(files, out, is_forced=is_forced)
    render.write_lines([str(out / file.name) for file in files])


def _write(files: Sequence[HostFile], out: Path, *, is_forced: bool) -> None:
    """Write them all, or none where one would be lost. Raises Refused, UsageError."""
    try:
        other = [path for file in files if (path := out / file.name).exists() and path.read_text() != file.content]
        if other and not is_forced:
            raise Refused(
                f"{str(other[0])!r} is there with other content", hint="Nothing was written. --force writes over it."
            )
        for file in files:
            temporary = out / f".{file.name}.new"  # neither cron nor systemd reads a name like that
            temporary.write_text(file.content)
            temporary.chmod(MODE)
            temporary.replace(out / file.name)
    except OSError as error:
        raise UsageError(f"{str(out)!r} can not be written to: {error.strerror}") from error

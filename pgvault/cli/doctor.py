"""`pgvault doctor`: the usual mistakes, over everything that is configured."""

from __future__ import annotations

import getpass
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import psycopg
import typer  # noqa: TC002  typer looks at the annotation of ctx
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgvault.cli import render
from pgvault.cli.isolation import isolation_of
from pgvault.cli.opening import make_copies, read_credential
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, global_config
from pgvault.cli.reading import open_to_read
from pgvault.cli.sessions import connect
from pgvault.cli.status import chosen, statuses_of
from pgvault.cli.statusscreen import GROUPS
from pgvault.config import SEARCH_PATH, ClusterConfig, Config, find_config, load_config
from pgvault.doctor.examine import Once, Told, examine, is_well
from pgvault.doctor.gather import Means, looks
from pgvault.doctor.host import ConfigFacts, HostFacts
from pgvault.errors import ObjectiveMissed, PgvaultError
from pgvault.instants import SystemClock
from pgvault.keyring.listing import KeyListing, list_keys
from pgvault.monitor.finding import Level, worst
from pgvault.monitor.status import ClusterStatus
from pgvault.repository.repository import Repository
from pgvault.stores.retry import Patience

# Whoever asks what is wrong wants to hear it before the coffee is cold.
PATIENCE = Patience(deadline_seconds=3.0, connect_seconds=2.0, read_seconds=3.0, answer_seconds=5.0)
CONNECT_SECONDS = 4
WORDS = {Level.OK: "ok", Level.WARN: "warning", Level.RED: "wrong"}


def doctor(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for the usual mistakes, on this host, in the configuration, the stores and the servers. Changes nothing.

    A line each: ok, warning or wrong, with a hint. What does not answer within 9 s is wrong, and the rest is told
    all the same. Ends with 51 when something is wrong, 10 to 12 when it is the configuration.

    Example: pgvault doctor
    Example: pgvault doctor --cluster main --json
    """
    means = _means(config or global_config(ctx), cluster)
    told = examine(list(looks(means)))
    if as_json:
        level = worst(each.finding for each in told)
        render.write_json({"level": level.value, "findings": [each.to_json() for each in told]})
    else:
        render.write_lines([line for each in told for line in _lines(each)])
    if isinstance(means.config, PgvaultError):
        raise means.config
    if not is_well(told):
        raise ObjectiveMissed(_summary(told))


def _lines(told: Told) -> list[str]:
    finding = told.finding
    word = WORDS[finding.level] if finding.is_judged else "-"
    line = f"{word:<7}  {told.where}: {finding.name}: {render.printable(finding.detail)}"
    is_hinted = finding.hint is not None and finding.level is not Level.OK
    return [line, f"{'':<9}hint: {render.printable(finding.hint or '')}"] if is_hinted else [line]


def _summary(told: Sequence[Told]) -> str:
    wrong = [f"{each.where}: {each.finding.name}" for each in told if each.finding.level is Level.RED]
    return f"{len(wrong)} wrong: {'; '.join(dict.fromkeys(wrong))}"


def _means(explicit: Path | None, cluster: str | None) -> Means:
    """Return how everything is reached; a configuration that can not be read is a finding, too."""
    loaded, used = _load(explicit)
    clusters: dict[str, ClusterConfig] = {}
    if not isinstance(loaded, PgvaultError) and (cluster is not None or loaded.clusters):
        clusters = chosen(loaded, cluster)

    def readable() -> Config:
        if isinstance(loaded, PgvaultError):
            raise loaded
        return loaded

    def status(name: str, of: ClusterConfig) -> ClusterStatus:
        (found,) = statuses_of(readable(), {name: _hurried(of)}, open_repository=repository)
        return found

    def keys(opened: Repository) -> tuple[KeyListing, str]:
        credential = read_credential(readable())
        return list_keys(opened, credential), credential.kind

    repository = Once(lambda: open_to_read(readable(), patience=PATIENCE))
    return Means(
        host=_host(),
        choice=_choice(explicit, used),
        config=loaded,
        clusters=clusters,
        stores=lambda: make_copies(readable(), patience=PATIENCE),
        repository=repository,
        keys=keys,
        connect=lambda of: connect(_soon(of)),
        status=status,
        wish=lambda of: isolation_of(of.drill),
        names=tuple(chain.from_iterable(GROUPS.values())),
        clock=SystemClock(),
    )


def _load(explicit: Path | None) -> tuple[Config | PgvaultError, Path | None]:
    used: Path | None = None
    try:
        used = find_config(explicit)
        return load_config(used), used
    except PgvaultError as error:
        return error, used


def _choice(explicit: Path | None, used: Path | None) -> ConfigFacts:
    named = os.environ.get("PGVAULT_CONFIG")
    present = tuple(path for path in SEARCH_PATH if path.exists())
    return ConfigFacts(used, explicit is not None, Path(named) if named else None, present)


def _host() -> HostFacts:
    return HostFacts(
        user=getpass.getuser(),
        uid=os.geteuid(),
        python=platform.python_version(),
        libpq=psycopg.pq.version(),
        encoding=sys.getfilesystemencoding(),
        offset=datetime.now().astimezone().utcoffset() or timedelta(0),
    )


def _soon(of: ClusterConfig) -> ClusterConfig:
    """Return a cluster whose server must answer soon, unless its dsn says how long it may take."""
    try:
        if "connect_timeout" in conninfo_to_dict(of.dsn):
            return of
        return of.model_copy(update={"dsn": make_conninfo(of.dsn, connect_timeout=CONNECT_SECONDS)})
    except psycopg.Error:
        return of  # whoever connects says what is wrong with it


def _hurried(of: ClusterConfig) -> ClusterConfig:
    """Return a cluster for whose stream nobody waits: how far behind it is at this moment is not asked here."""
    of = _soon(of)
    if of.stream is None:
        return of
    return of.model_copy(update={"stream": of.stream.model_copy(update={"every": timedelta(0)})})

"""`pgvault alert`: tell whoever must know what `status` finds, and try whether they would be told."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.alerts.alert import Alert
from pgvault.alerts.deliver import Delivery, deliver
from pgvault.alerts.memory import Memory
from pgvault.alerts.message import Voice
from pgvault.alerts.plan import Event, Look, Sending
from pgvault.alerts.receivers import make_receiver
from pgvault.alerts.routing import Router
from pgvault.alerts.run import Notified, Notifier, notify, ping
from pgvault.checks.live import LiveRun
from pgvault.cli import render
from pgvault.cli.logs import setup_logging
from pgvault.cli.opening import RepositorySource
from pgvault.cli.options import ConfigOption, JsonOption, source_of
from pgvault.cli.reading import open_to_read
from pgvault.cli.signals import setting_on_signals
from pgvault.cli.status import PATIENCE, chosen, statuses_of
from pgvault.config import AlertsConfig, Config
from pgvault.config.audit import default_key_file
from pgvault.errors import ConfigInvalid, KeyUnusable, PgvaultError, StoreUnreachable, UsageError
from pgvault.instants import SystemClock, iso, parse_duration
from pgvault.monitor.checkstatus import Expected, Results, find_live, judge_checks
from pgvault.monitor.finding import Level
from pgvault.monitor.status import ClusterStatus
from pgvault.repository.repository import Repository
from pgvault.stores import retry

logger = logging.getLogger(__name__)

# What a program that is a receiver gets of our environment: not the keys that are there for us.
PASSED_ON = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TZ", "USER")
TEST_NAME = "alert test"

alert = typer.Typer(
    name="alert",
    no_args_is_help=True,
    help="Tell whoever must know what `status` finds.\n\nExample: pgvault alert test",
)


@alert.command()
def run(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look at all clusters as `status` does, and tell what is new, worse, still red or over. For cron.

    A thing is told once, whichever host looks. Exit 0: everybody who was to be told was; what is red is told by
    `status`. 30: a receiver did not take it; the next look tries again. 40: another host is telling just now.

    Example: pgvault alert run
    """
    loaded = source_of(ctx, config).load()
    told = look_and_tell(loaded, make_notifier(loaded))
    if as_json:
        render.write_json(document(told))
    else:
        (render.write_lines if told.failed or told.notes else render.write_success)(lines(told))
    told.require_told()
    if told.busy is not None:
        raise told.busy  # whether everybody was told is not known here


@alert.command()
def watch(
    ctx: typer.Context,
    config: ConfigOption = None,
    every: Annotated[str, typer.Option("--every", help="The pause between two looks.")] = "1m",
) -> None:
    """Do what `alert run` does again and again, until SIGTERM.

    Example: pgvault alert watch --every 1m
    """
    source = source_of(ctx, config)
    loaded = source.load()
    notifier = make_notifier(loaded)
    pause = parse_duration(every)
    setup_logging(is_verbose=True)  # a service tells what it does
    logging.getLogger(retry.__name__).setLevel(logging.WARNING)
    with setting_on_signals(otherwise="stopped without an answer; the next look tells what this one did not") as stop:
        while not stop.is_set():
            loaded, notifier = read_anew(source, loaded, notifier)
            _watch_once(loaded, notifier)
            stop.wait(pause.total_seconds())


@alert.command(name="test")
def try_receivers(
    ctx: typer.Context,
    receiver: Annotated[str | None, typer.Argument(metavar="RECEIVER", help="Only this one; else all.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message that says it is a test to every receiver, and tell how that went. Exit 30: one did not take it.

    Example: pgvault alert test pager
    """
    loaded = source_of(ctx, config).load()
    alerts = _configured(loaded)
    if receiver is not None and receiver not in alerts.receivers:
        raise UsageError(f"receiver {receiver!r} is not configured", hint="Known: " + ", ".join(alerts.receivers))
    notifier = make_notifier(loaded)
    deliveries = send_test(notifier, [receiver] if receiver else list(alerts.receivers))
    found = {each.receiver: each.error for each in deliveries}
    if receiver is None and alerts.ping is not None:
        found["ping"] = ping(notifier)
    if as_json:
        render.write_json({"receivers": [_receiver_document(name, error) for name, error in found.items()]})
    else:
        render.write_lines(
            [f"{name}: {'told' if error is None else f'NOT told: {error}'}" for name, error in found.items()]
        )
    if failed := [f"{name!r}: {error}" for name, error in found.items() if error is not None]:
        raise StoreUnreachable(f"not everybody was told: {'; '.join(failed)}")


def read_anew(source: RepositorySource, loaded: Config, notifier: Notifier) -> tuple[Config, Notifier]:
    """Return what the configuration says now, so that an added cluster is watched without a restart.

    Where it can not be read any more, what it said before: somebody must go on telling.
    """
    try:
        now = source.load()
        return (loaded, notifier) if now == loaded else (now, make_notifier(now))
    except PgvaultError as error:
        logger.warning("what the configuration said before is watched on: %s", error)
        return loaded, notifier


def look_and_tell(loaded: Config, notifier: Notifier) -> Notified:
    """Look at all clusters and tell what is new; ask the dead man's switch when that went well."""
    opened: list[Repository | PgvaultError] = []

    def open_once() -> Repository:
        try:
            opened.append(open_to_read(loaded, patience=PATIENCE))
        except PgvaultError as error:
            opened.append(error)
        if isinstance(opened[-1], PgvaultError):
            raise opened[-1]
        return opened[-1]

    statuses = tuple(statuses_of(loaded, chosen(loaded, None), open_repository=open_once))
    told = notify(Look(statuses, SystemClock().now()), notifier, opened[-1])
    if told.is_alive and told.busy is None and (unasked := ping(notifier)) is not None:
        told.notes.append(f"ping: {unasked}")
    return told


def tell_run(loaded: Config, found: LiveRun, repository: Repository | PgvaultError) -> None:
    """Tell what a run of checks found at once, where alerts are configured; the next look knows that it was told.

    What hinders that is a warning: the run has its own outcome, and the next look tells it.
    """
    if loaded.alerts is None:
        return
    ran = {result.name for result in found.results}
    checks = [check for check in loaded.clusters[found.cluster].checks if check.name in ran]
    now = SystemClock().now()
    findings = judge_checks(Expected(checks, now), Results(find_live([found.to_json()], checks), {}))
    status = ClusterStatus(found.cluster, tuple(findings), None)
    told = notify(Look((status,), now, is_whole=False), make_notifier(loaded), repository)
    for each in told.failed:
        render.write_warning(f"receiver {each.receiver!r} was not told: {each.error}", "The next look tries again.")


def make_notifier(loaded: Config) -> Notifier:
    """Return who tells, as the configuration says. Raises ConfigInvalid where it says nothing."""
    alerts = _configured(loaded)
    place = next(iter(loaded.repository.copies.values())).place
    name = hashlib.sha256(repr(place).encode()).hexdigest()[:8]
    environment = {key: value for key, value in os.environ.items() if key in PASSED_ON}
    voice = Voice(socket.gethostname(), name, Router(alerts, loaded.clusters), SystemClock().now)
    receivers = {key: make_receiver(each, environment=environment) for key, each in alerts.receivers.items()}
    return Notifier(voice, receivers, Memory(alerts.state or _state_directory() / f"alerts-{name}.json"))


def send_test(notifier: Notifier, names: list[str]) -> tuple[Delivery, ...]:
    """Tell receivers that this is a test; an incident that this opens is closed again."""
    now = notifier.voice.clock()
    sent = Alert(f"test/{iso(now)}", "none", TEST_NAME, Level.WARN, "this is a test, nothing is wrong", severity="info")
    events = [Sending(name, event, sent, now) for name in names for event in (Event.TRIGGER, Event.RESOLVE)]
    kept = [each for each in events if each.event is Event.TRIGGER or notifier.receivers[each.receiver].has_incidents]
    return deliver(kept, notifier.receivers, notifier.voice)


def document(told: Notified) -> dict[str, Any]:
    """What came of a look, for machines."""
    return {
        "told": [{"receiver": each.receiver, "event": each.event.value, "key": each.alert.key} for each in told.told],
        "failed": [_receiver_document(each.receiver, each.error) for each in told.failed],
        "open": told.open_count,
        "recorded": told.is_recorded,
        "busy": None if told.busy is None else str(told.busy),
        "notes": told.notes,
    }


def lines(told: Notified) -> list[str]:
    """What came of a look, for people: nothing, where there was nothing to tell."""
    said = [f"{each.receiver}: {each.event.value} {render.printable(each.alert.key)}" for each in told.told]
    said += [f"{each.receiver}: NOT told: {each.error}" for each in told.failed]
    if told.busy is not None:
        said.append(f"left to another notifier: {told.busy}")
    return [*said, *(f"note: {render.printable(note)}" for note in told.notes)]


def _state_directory() -> Path:
    """Where this host remembers what it told; it tells without a memory, too, as in a container whose user has none."""
    try:
        return default_key_file().parent
    except KeyUnusable:
        return Path("/var/lib/pgvault")


def _watch_once(loaded: Config, notifier: Notifier) -> None:
    try:
        told = look_and_tell(loaded, notifier)
    except PgvaultError as error:
        logger.warning("%s", error)
        return
    for line in lines(told):
        logger.info("%s", line)


def _configured(loaded: Config) -> AlertsConfig:
    if loaded.alerts is None:
        raise ConfigInvalid("no alerts are configured", hint="Say under `alerts:` who is told, and how.")
    return loaded.alerts


def _receiver_document(name: str, error: PgvaultError | None) -> dict[str, Any]:
    return {"receiver": name, "error": None if error is None else str(error)}

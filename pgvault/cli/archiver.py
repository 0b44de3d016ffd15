"""`pgvault wal push` and `pgvault wal fetch` as PostgreSQL calls them: quick to start, strict in how they end.

    push     0 archived · 1 to 125 not archived
    fetch    0 delivered · 77 confirmed absent · any other: not known; the guard in restore_command makes it 255

A server runs one process for every 16 MiB of WAL, so this module is reached before typer is imported, and
imports what it needs only once it knows what that is. PostgreSQL's archiver does not count a status above 125, nor a
death by signal, as a failure: signals end us with 1, and so does whatever nobody thought of.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pgvault.cli import logs
from pgvault.cli.fastpath import notes_of
from pgvault.errors import PgvaultError

if TYPE_CHECKING:
    import argparse

    from pgvault.cli.opening import OpenedCluster, RepositorySource
    from pgvault.stores.retry import Patience

FAILED = 1
STATUS_MAX = 125
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 2.0  # for removing temporary files after a signal
GLOBAL_OPTIONS = ("--config", "--cluster", logs.FORMAT_OPTION)  # each with a value
AHEAD = 8  # segments that a fetch looks ahead
STORE_DEADLINE_SECONDS = 60.0  # of one operation on the store; a fetch begins anew until its own budget is used up


def is_wal_command(arguments: Sequence[str]) -> bool:
    """Tell whether `arguments` (without the program) are a `wal push` or `wal fetch` to be run here.

    Global options may stand before either word. Questions for help are for typer.
    """
    rest = _skip_options(arguments)
    if rest[:1] != ["wal"]:
        return False
    return _skip_options(rest[1:])[:1] in (["push"], ["fetch"]) and "--help" not in rest


def main(arguments: Sequence[str]) -> NoReturn:
    """Run one WAL command and end the process, whatever happens, with a status PostgreSQL understands."""
    _arm_signals()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some takes 10 ms
    try:
        status = run(arguments)
    except SystemExit as stop:  # argparse, or a signal
        status = stop.code if isinstance(stop.code, int) else FAILED
    except BaseException as error:  # noqa: BLE001  a traceback for us, a plain failure for the server
        import traceback

        if logs.is_json():
            logs.complain(
                "critical", f"{error}", None, exception=type(error).__name__, traceback=traceback.format_exc()
            )
        else:
            with suppress(OSError, ValueError):
                traceback.print_exc()
        status = FAILED
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # Not sys.exit: a stream that can not be flushed or a thread that hangs must not change how we end.
    os._exit(status if 0 <= status <= STATUS_MAX else FAILED)


def run(arguments: Sequence[str]) -> int:
    """Run one WAL command and return its exit status; errors of ours are said on stderr."""
    logging.raiseExceptions = False  # a log that can not be written is no reason to fail
    logging.basicConfig(format="pgvault wal: %(message)s")
    if logs.is_json():
        logging.getLogger().handlers[0].setFormatter(logs.JsonFormatter())
    logging.getLogger("pgvault").setLevel(logging.INFO)
    try:
        options = make_parser().parse_args(list(arguments))
        if options.command == "push":
            return push(options)
        from pgvault.cli.fetching import fetch

        return fetch(options)
    except PgvaultError as error:
        complain(error)
        return error.exit_code


def push(options: argparse.Namespace) -> int:
    """Archive one file, and those that wait behind it."""
    from pgvault.instants import SystemClock
    from pgvault.wal.batch import Batch, push_ready

    config = getattr(options, "config", None)
    # Before the configuration is read: whatever changes in it from now on, the notes are void.
    notes = notes_of(None if config is None else str(config), getattr(options, "cluster", None))
    opened = open_to_push(options)
    batch = Batch(SystemClock(), jobs=opened.config.jobs, notes=notes)
    outcome = push_ready(opened.repository, opened.name, options.path, batch=batch)
    if options.json:
        say_json({"name": options.path.name, "outcome": str(outcome)})
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of both commands; cli/wal.py shows the same to people."""
    import argparse

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, default=argparse.SUPPRESS)
    shared.add_argument("--cluster", default=argparse.SUPPRESS)
    shared.add_argument(logs.FORMAT_OPTION, choices=logs.FORMATS, default=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(prog="pgvault", parents=[shared], add_help=False, allow_abbrev=False)
    groups = parser.add_subparsers(required=True)
    group = groups.add_parser("wal", parents=[shared], add_help=False, allow_abbrev=False)
    commands = group.add_subparsers(dest="command", required=True)
    pushing = commands.add_parser("push", parents=[shared], add_help=False, allow_abbrev=False)
    fetching = commands.add_parser("fetch", parents=[shared], add_help=False, allow_abbrev=False)
    fetching.add_argument("name")
    fetching.add_argument("--plan", type=Path)
    fetching.add_argument("--ahead", type=int, default=AHEAD)
    for each in (pushing, fetching):
        each.add_argument("path", type=Path)
        each.add_argument("--retry-for", type=_seconds)
        each.add_argument("--json", action="store_true")
    return parser


def named_source(options: argparse.Namespace) -> RepositorySource:
    """Return the configuration that the options, or the environment, name."""
    from pgvault.cli.opening import make_source

    return make_source(getattr(options, "config", None))


def open_to_push(options: argparse.Namespace) -> OpenedCluster:
    """Open the configured cluster, with the copies that a push waits for."""
    from pgvault.cli.opening import name_cluster, open_from, with_copies_for_wal

    source = named_source(options)
    config = with_copies_for_wal(source.load())
    repository = open_from(config, patience=patience(options))
    return name_cluster(source, config, repository, getattr(options, "cluster", None))


def patience(options: argparse.Namespace) -> Patience:
    """Return how long one store operation may take: never longer than the whole command."""
    from pgvault.stores.retry import Patience

    wanted = options.retry_for
    return Patience(deadline_seconds=STORE_DEADLINE_SECONDS if wanted is None else min(wanted, STORE_DEADLINE_SECONDS))


def complain(error: PgvaultError) -> None:
    """Say what went wrong on stderr, if anybody can hear it."""
    logs.complain("error", str(error), error.hint, exception=type(error).__name__, exit_code=error.exit_code)


def say_json(document: dict[str, str]) -> None:
    """Print one JSON document. What was done is done, and stays a success where nobody can read of it."""
    import json

    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.write(json.dumps(document) + "\n")


def _skip_options(words: Sequence[str]) -> list[str]:
    rest = list(words)
    while rest and rest[0].split("=")[0] in GLOBAL_OPTIONS:
        rest = rest[1 if "=" in rest[0] else 2 :]
    return rest


def _seconds(text: str) -> float:
    from pgvault.instants import parse_duration

    return parse_duration(text).total_seconds()


def _arm_signals() -> None:
    """End at once, but not by the signal: temporary files are removed on the way, and that may not take long."""

    def leave(_number: int, _frame: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        raise SystemExit(FAILED)

    signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(FAILED))
    for each in SIGNALS:
        signal.signal(each, leave)

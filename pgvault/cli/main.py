"""The program's entry point: `pgvault` calls `main`.

`wal push` and `wal fetch` take their own way (archiver.py), since typer alone takes longer than they may; a push of
what is stored already and a fetch of what lies ready end before that (fastpath.py, fastfetch.py). So nothing is
imported up here but what all of them need.
"""

from __future__ import annotations

import os
import sys

from pgvault.cli.fastfetch import deliver
from pgvault.cli.fastpath import is_stored

TYPE_CHECKING = False  # typing.TYPE_CHECKING without its import
if TYPE_CHECKING:
    from pgvault.errors import PgvaultError


def render_error(error: PgvaultError) -> None:
    """Write one sentence to stderr, and the hint, if there is one, below it."""
    from contextlib import suppress

    from pgvault.cli.logs import complain
    from pgvault.errors import AlreadyRunning

    # What was printed so far comes first, also where both go to one place; without a stdout nothing was.
    with suppress(OSError, AttributeError):
        sys.stdout.flush()
    # cron mails it whenever a run meets another: one line will do.
    is_met = isinstance(error, AlreadyRunning) and not sys.stderr.isatty()
    hint = None if is_met else error.hint
    complain("error", str(error), hint, exception=type(error).__name__, exit_code=error.exit_code)


def run_for_machines() -> None:
    """Run the command line where stderr is JSON: also what typer, or Python, would have said in its own way."""
    import traceback

    import typer

    from pgvault.cli.app import app
    from pgvault.cli.logs import complain
    from pgvault.errors import PgvaultError, UsageError

    try:
        status = app(prog_name="pgvault", standalone_mode=False)
    except PgvaultError:
        raise
    except typer.Abort:
        complain("error", "aborted", None, exit_code=1)
        raise SystemExit(1) from None
    except Exception as error:  # noqa: BLE001  whatever it is, its reader is a machine
        if hasattr(error, "format_message"):  # typer's own: the command line does not make sense
            complain("error", error.format_message(), None, exception="UsageError", exit_code=UsageError.exit_code)
            raise SystemExit(UsageError.exit_code) from None
        kind, told = type(error).__name__, traceback.format_exc()
        complain("critical", f"{error}", None, exception=kind, traceback=told, exit_code=1)
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)


def main() -> None:
    """Run the command line; with archiver.py the only place where an error becomes an exit status."""
    if is_stored(sys.argv[1:]) or deliver(sys.argv[1:]):
        os._exit(0)  # nothing was begun that would have to be ended
    from pgvault.cli import archiver, logs

    logs.choose_format(sys.argv[1:])
    if archiver.is_wal_command(sys.argv[1:]):
        archiver.main(sys.argv[1:])
    from pgvault.cli.app import app
    from pgvault.errors import PgvaultError

    try:
        if logs.is_json():
            run_for_machines()
        app(prog_name="pgvault")  # also as `python -m pgvault`: shells find their completion by it
    except PgvaultError as error:
        render_error(error)
        raise SystemExit(error.exit_code) from error

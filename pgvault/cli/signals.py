"""Being told to end: by a terminal, by systemd, by a cron that was told to stop."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from pgvault.cli.logs import complain

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 9.0  # to end in order, after the first signal


@contextmanager
def leaving_in_order(status: int) -> Iterator[None]:
    """Turn signals into an orderly end with `status`: what was begun is cleared away on the way out, and that is said.

    A second signal does not cut that short; SIGKILL does.
    """
    told: list[int] = []

    def leave(number: int, _frame: object) -> None:
        told.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(status)

    before = {each: signal.signal(each, leave) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in told:
            complain("error", f"ended by {signal.Signals(number).name}", None, exit_code=status)


@contextmanager
def setting_on_signals(*, otherwise: str, grace_seconds: float = GRACE_SECONDS) -> Iterator[Event]:
    """Give an event that is set by the signals that ask a service to end.

    Whatever still waits for a store or a server `grace_seconds` later is left behind, with 0, and `otherwise` is said:
    only for what loses nothing by that.
    """
    stop = Event()

    def ask(_number: int, _frame: object) -> None:
        if not stop.is_set():
            signal.setitimer(signal.ITIMER_REAL, grace_seconds)
        stop.set()

    def leave(_number: int, _frame: object) -> None:
        logger.warning(otherwise)
        os._exit(0)

    handlers = dict.fromkeys(SIGNALS, ask) | {signal.SIGALRM: leave}
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, earlier in before.items():
            signal.signal(each, earlier)

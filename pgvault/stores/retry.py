"""How long we wait for a store, and what we do with a failed attempt. The one retry policy.

Three clocks run. Each read or write on a socket has its timeout; each attempt has a time limit that grows with
the bytes it moves, since a server that sends one byte a second never meets a socket timeout; and no
attempt begins after the deadline, except the second: one long first attempt must not be the only one.
boto3's own retries are off: nested retries multiply.

Only whole, repeatable operations go in here: their input is `bytes`, never a stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from pgvault.errors import PgvaultError

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

T = TypeVar("T")
KIB = 1024


class Transient(Exception):
    """An attempt failed in a way that the next may not; `error` is what it amounts to if none succeeds."""

    def __init__(self, error: PgvaultError) -> None:
        super().__init__(str(error))
        self.error = error


class Overdue(Exception):
    """An attempt took longer than its limit."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store may take, in seconds."""

    deadline_seconds: float = 60.0  # no new attempt after this, the second excepted
    connect_seconds: float = 5.0
    read_seconds: float = 30.0  # of silence on a socket
    answer_seconds: float = 60.0  # a whole attempt, plus what its bytes take at ...
    least_bytes_per_second: float = 256 * KIB  # ... this pace; slower counts as dead
    first_wait_seconds: float = 0.2  # upper bound of the first random wait; doubles
    longest_wait_seconds: float = 10.0

    def limit_seconds(self, moved_bytes: int) -> float:
        """How long one attempt that moves so many bytes may take."""
        return self.answer_seconds + moved_bytes / self.least_bytes_per_second

    def persist(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it does not raise Transient; raises the last one's error when time is up."""
        import tenacity

        def is_over(state: RetryCallState) -> bool:
            elapsed = (state.seconds_since_start or 0.0) + state.upcoming_sleep
            return state.attempt_number >= 2 and elapsed > self.deadline_seconds

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            wait=tenacity.wait_random_exponential(multiplier=self.first_wait_seconds, max=self.longest_wait_seconds),
            stop=is_over,
            before_sleep=log_attempt,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except Transient as failure:
            raise failure.error from failure.__cause__


def log_attempt(state: RetryCallState) -> None:
    """Say that an attempt failed and when the next comes."""
    failure = state.outcome.exception() if state.outcome is not None else None
    logger.info("attempt %d: %s; again in %.1f s", state.attempt_number, failure, state.upcoming_sleep)


def within(seconds: float, operation: Callable[[], T], *, discard: Callable[[T], object] | None = None) -> T:
    """Return what `operation` returns, or raise what it raises, or Overdue after `seconds`.

    It runs in a thread of its own, which is left behind when overdue: a blocked socket can't be interrupted from
    outside. Being a daemon, it does not keep the process alive. What it returns too late goes to `discard`.
    """
    outcome: Future[T] = Future()
    Thread(target=settle, args=(outcome, operation, discard), name="store-request", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():  # the operation's own
            raise
        if not outcome.cancel():  # it came in after all
            return outcome.result()
        raise Overdue(f"no answer within {seconds:.0f} s") from None


def settle(outcome: Future[T], operation: Callable[[], T], discard: Callable[[T], object] | None) -> None:
    """Give `outcome` what `operation` returns or raises, unless nobody waits for it any more."""
    try:
        result = operation()
    except BaseException as error:  # noqa: BLE001  handed over whole, raised by the thread that waits
        if outcome.set_running_or_notify_cancel():
            outcome.set_exception(error)
    else:
        if outcome.set_running_or_notify_cancel():
            outcome.set_result(result)
        elif discard is not None:
            discard(result)
    finally:
        # The error's traceback holds this frame: with `outcome` in it, sockets would wait for the cycle collector.
        del outcome

"""One patience for every store."""

from __future__ import annotations

import time
from queue import Queue
from threading import Event

import pytest

from pgvault.errors import StoreUnreachable
from pgvault.stores.retry import Overdue, Patience, Transient, within

BRIEF = Patience(deadline_seconds=0.2, first_wait_seconds=0.01, longest_wait_seconds=0.05)


def test_a_long_first_attempt_is_not_the_only_one() -> None:
    """An attempt that used up the deadline by itself is followed by one more, and no third."""
    attempts = []

    def attempt() -> None:
        attempts.append(time.monotonic())
        time.sleep(0.3)
        raise Transient(StoreUnreachable("told to"))

    with pytest.raises(StoreUnreachable):
        BRIEF.persist(attempt)

    assert len(attempts) == 2


def test_an_attempt_is_repeated_until_it_succeeds() -> None:
    """The result of the first success is returned."""
    outcomes = iter([Transient(StoreUnreachable("1")), Transient(StoreUnreachable("2")), None])

    def attempt() -> str:
        if (failure := next(outcomes)) is not None:
            raise failure
        return "done"

    assert BRIEF.persist(attempt) == "done"


def test_the_last_error_is_reported_with_its_cause() -> None:
    """What the operator reads is the store's error, and what caused it stays attached."""
    cause = TimeoutError("socket")

    def attempt() -> None:
        raise Transient(StoreUnreachable("no answer")) from cause

    with pytest.raises(StoreUnreachable, match="no answer") as caught:
        BRIEF.persist(attempt)

    assert caught.value.__cause__ is cause


def test_other_errors_are_not_repeated() -> None:
    """Only what may pass is tried again."""
    attempts = []

    def attempt() -> None:
        attempts.append(1)
        raise StoreUnreachable("for good")

    with pytest.raises(StoreUnreachable):
        BRIEF.persist(attempt)

    assert len(attempts) == 1


def test_a_blocked_operation_is_left_behind() -> None:
    """Waiting ends in time although the operation does not."""
    release = Event()
    begun = time.monotonic()

    with pytest.raises(Overdue):
        within(0.1, release.wait)

    assert time.monotonic() - begun < 2
    release.set()


def test_what_comes_too_late_is_discarded() -> None:
    """An answer nobody waits for is handed over to be closed."""
    release, discarded = Event(), Queue[str]()

    def answer() -> str:
        release.wait()
        return "late"

    with pytest.raises(Overdue):
        within(0.05, answer, discard=discarded.put)
    release.set()

    assert discarded.get(timeout=10) == "late"


def test_within_its_limit_an_operation_is_as_if_called() -> None:
    """Results and errors come through, its own timeouts included."""

    def fail() -> None:
        raise TimeoutError("its own")

    assert within(5, lambda: 42) == 42
    with pytest.raises(TimeoutError, match="its own"):
        within(5, fail)


def test_the_limit_grows_with_the_bytes() -> None:
    """A gigabyte over a slow but living line is not cut off."""
    patience = Patience(answer_seconds=60, least_bytes_per_second=256 * 1024)

    assert patience.limit_seconds(0) == 60
    assert patience.limit_seconds(1024**3) == 60 + 4096

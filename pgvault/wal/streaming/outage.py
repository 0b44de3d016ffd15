"""How failures are told and retried by something that runs for months: said once, tried at growing intervals."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock, Thread

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0


class Backoff:
    """How long to wait after a failure: 1, 2, 4 … 30 seconds; from the beginning after a success."""

    def __init__(self, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def next(self) -> float:
        """Return the seconds to wait after one more failure."""
        seconds = self._next
        self._next = min(self._next * 2, self._longest)
        return seconds


class Condition:
    """Whether something works, told when it changes: never once per attempt. For several threads."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._kind: str | None = None  # of the trouble, None while all is well
        self._lock = Lock()

    @property
    def is_bad(self) -> bool:
        return self._kind is not None

    def fails(self, why: str, *, kind: str = "", level: int = logging.WARNING) -> None:
        """Note a failure, and say so if it is another than before: by `kind`, where `why` differs each time."""
        with self._lock:
            is_news = self._kind != (kind or why)
            self._kind = kind or why
        if is_news:
            self._logger.log(level, "%s: %s", self._what, why)

    def works(self, how: str = "works again") -> None:
        """Note a success; say so if it did not work before."""
        with self._lock:
            was_bad = self._kind is not None
            self._kind = None
        if was_bad:
            self._logger.info("%s: %s", self._what, how)


class Crew:
    """Threads that must not die unnoticed: whatever one of them raises, `check` raises for the main thread.

    They are daemons: one that waits for a store that does not answer must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._threads: list[Thread] = []
        self._failures: list[BaseException] = []

    def start(self, work: Callable[[], object], *, name: str) -> None:
        """Run `work` in a thread of its own."""
        self._threads.append(self.start_endless(work, name=name))

    def start_endless(self, work: Callable[[], object], *, name: str) -> Thread:
        """Run `work` in a thread that nobody waits for."""

        def watch() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  raised again by check, in the main thread
                self._failures.append(error)

        thread = Thread(target=watch, name=name, daemon=True)
        thread.start()
        return thread

    def check(self) -> None:
        """Raise what a thread ended with, if one did."""
        if self._failures:
            raise self._failures[0]

    def join(self, *, seconds: float) -> bool:
        """Wait for all of them; tell whether they have ended."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

"""Ask everything at once, each in a thread of its own, and wait for nobody for long.

A look that fails is a finding, and so is one that does not answer in time; what it asked is left behind, since a
blocked socket can not be interrupted. The others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Semaphore, Thread
from typing import Any, Generic, TypeVar

from pgvault.errors import PgvaultError
from pgvault.monitor.finding import Finding, Level, red, worst
from pgvault.stores.retry import settle

T = TypeVar("T")
AT_ONCE = 16  # looks: a fleet must not be asked by a thousand threads
DEADLINE_SECONDS = 9.0


@dataclass(frozen=True, slots=True)
class Look:
    """One thing to look at, by itself."""

    where: str  # host, repository, or cluster NAME
    name: str  # of the finding, when it fails
    ask: Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Told:
    """A finding, and what it is about."""

    where: str
    finding: Finding

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"where": self.where, **self.finding.to_json()}


def examine(looks: Sequence[Look], *, deadline_seconds: float = DEADLINE_SECONDS) -> list[Told]:
    """Return what every look found, in their order."""
    turns = Semaphore(AT_ONCE)
    until = time.monotonic() + deadline_seconds
    asked = [(look, _begin(look, turns)) for look in looks]
    told: list[Told] = []
    for look, outcome in asked:
        told += [Told(look.where, each) for each in _answer(look, outcome, until, deadline_seconds)]
    return told


def _begin(look: Look, turns: Semaphore) -> Future[list[Finding]]:
    def ask() -> list[Finding]:
        with turns:
            return list(look.ask())

    outcome: Future[list[Finding]] = Future()
    Thread(target=settle, args=(outcome, ask, None), name=f"doctor-{look.name}", daemon=True).start()
    return outcome


def _answer(look: Look, outcome: Future[list[Finding]], until: float, deadline_seconds: float) -> list[Finding]:
    try:
        return outcome.result(max(0.0, until - time.monotonic()))
    except TimeoutError as error:
        if outcome.done():  # its own
            return [red(look.name, str(error))]
        hint = "Is the network there, and a store or server not overloaded? Where there are many, say --cluster."
        return [red(look.name, f"no answer within {deadline_seconds:.0f} s", hint=hint)]
    except PgvaultError as error:
        return [red(look.name, str(error), hint=error.hint)]
    except OSError as error:
        return [red(look.name, str(error))]


def is_well(told: Iterable[Told]) -> bool:
    """Tell whether nothing is wrong; nothing looked at is not well."""
    return worst(each.finding for each in told) is not Level.RED


class Once(Generic[T]):
    """Asks once, for whoever asks first, and gives all the same answer or error."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._outcome: Future[T] = Future()

    def __call__(self) -> T:
        """Return the answer. Raises what the one asking raised."""
        with self._lock:
            if not self._outcome.done():
                settle(self._outcome, self._ask, None)
        return self._outcome.result()

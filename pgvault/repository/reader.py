"""All copies of a repository read as one: what one copy lacks, or holds damaged, comes from the next.

    read    the first copy whose bytes pass the caller's check; what was wrong with those before is kept as *damage*
    names   of all copies together: what one lost, another still lists

A copy that does not answer is left alone for a minute: a dead region may cost one wait, not one for each object.
Absence is what the first copy says: an object is missing when the first copy answered that it is, and no other has
it; while the first copy does not answer, nobody knows. Nothing is repaired here (`verify --repair` does that).
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from threading import Lock
from typing import TypeVar

from pgvault.errors import (
    FormatUnsupported,
    ObjectCorrupt,
    ObjectMissing,
    PgvaultError,
    StoreDenied,
    StoreUnreachable,
    WrongKey,
)
from pgvault.repository.copies import Copy
from pgvault.stores.base import ObjectEntry, ObjectStore

logger = logging.getLogger(__name__)

T = TypeVar("T")
Check = Callable[[bytes], T]  # opens what was read; raises one of DAMAGE
DAMAGE = (FormatUnsupported, ObjectCorrupt, WrongKey)
SILENCE = (StoreDenied, StoreUnreachable)
REST_SECONDS = 60.0  # for which a copy that did not answer is not asked again


@dataclass(frozen=True, slots=True)
class Damage:
    """An object that one copy lacks or holds damaged, and that another copy gave."""

    copy: str
    path: str
    error: PgvaultError
    taken_from: str


class Reader:
    """Reads objects from whichever copy has them whole. May be used from several threads."""

    def __init__(self, copies: Sequence[Copy], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._copies = tuple(copies)
        self._monotonic = monotonic
        self._lock = Lock()
        self._silent: dict[str, tuple[float, PgvaultError]] = {}  # copy → until when it is not asked, and why
        self._damages: dict[tuple[str, str], Damage] = {}

    @property
    def damages(self) -> tuple[Damage, ...]:
        """What was read from another copy than it should have been, so far."""
        with self._lock:
            return tuple(self._damages.values())

    @property
    def silent(self) -> dict[str, PgvaultError]:
        """The copies that did not answer when they were last asked, and what they said."""
        with self._lock:
            return {name: error for name, (_, error) in self._silent.items()}

    def read(self, path: str, check: Check[T]) -> T:
        """Return what `check` makes of an object.

        Raises what was wrong in the first copy that answered: ObjectMissing, or what `check` raised; StoreUnreachable
        or StoreDenied when none did.
        """
        return self._first(path, lambda store: check(store.get(path)))

    def read_range(self, path: str, start: int, length: int, check: Check[T]) -> T:
        """As `read`, of `length` bytes from offset `start`."""
        return self._first(path, lambda store: check(store.get_range(path, start, length)))

    def size(self, path: str) -> int:
        """Return an object's length in bytes, in the first copy that has it. Raises as `read`."""
        return self._first(path, lambda store: store.size(path))

    def names(self, prefix: str) -> list[str]:
        """Return, sorted, the names one level under `prefix`, of all copies that answer. Raises when none does."""
        return sorted({name for names in self._each(lambda store: store.children(prefix)) for name in names})

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yield every object under `prefix`, sorted by key, of all copies that answer; sizes are the first one's."""
        listings = self._each(lambda store: list(store.list(prefix)))
        merged = heapq.merge(*listings, key=lambda entry: entry.key)  # stable: equal keys in the order of copies
        return (next(same) for _, same in groupby(merged, key=lambda entry: entry.key))

    def _first(self, path: str, look: Callable[[ObjectStore], T]) -> T:
        failed: list[tuple[Copy, PgvaultError]] = []
        first_silent: PgvaultError | None = None
        for position, copy in enumerate(self._copies):
            try:
                found = look(self._awake(copy))
            except SILENCE as error:
                self._note_silence(copy, error)
                first_silent = first_silent or error
                if position == 0:
                    failed.append((copy, error))  # what it holds is not known: others may not say "absent" for it
            except (ObjectMissing, *DAMAGE) as error:
                failed.append((copy, error))
            else:
                self._note_damages(path, failed, taken_from=copy)
                return found
        reason = failed[0][1] if failed else first_silent
        assert reason is not None
        raise reason

    def _each(self, ask: Callable[[ObjectStore], T]) -> list[T]:
        answers: list[T] = []
        silent: PgvaultError | None = None
        for copy in self._copies:
            try:
                answers.append(ask(self._awake(copy)))
            except SILENCE as error:
                self._note_silence(copy, error)
                silent = silent or error
        if silent is not None and not answers:
            raise silent
        return answers

    def _awake(self, copy: Copy) -> ObjectStore:
        """Return the copy's store. Raises what it said the last time while it is left alone."""
        with self._lock:
            until, error = self._silent.get(copy.name, (0.0, None))
        # The only one is asked each time: there is nothing to be had elsewhere.
        if error is not None and len(self._copies) > 1 and self._monotonic() < until:
            raise error
        return copy.store

    def _note_silence(self, copy: Copy, error: PgvaultError) -> None:
        with self._lock:
            _, known = self._silent.get(copy.name, (0.0, None))
            if known is error:
                return
            self._silent[copy.name] = (self._monotonic() + REST_SECONDS, error)
        if known is None and len(self._copies) > 1:
            logger.warning("copy %r does not answer, reading goes on without it: %s", copy.name, error)

    def _note_damages(self, path: str, failed: Sequence[tuple[Copy, PgvaultError]], *, taken_from: Copy) -> None:
        for copy, error in failed:
            if isinstance(error, SILENCE):
                continue
            with self._lock:
                is_new = (copy.name, path) not in self._damages
                self._damages[copy.name, path] = Damage(copy.name, path, error, taken_from.name)
            if is_new:
                logger.warning("%s; taken from copy %r", error, taken_from.name)

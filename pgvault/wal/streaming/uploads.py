"""What leaves the spool: finished segments and history files at once, tails of unfinished ones every few seconds.

    .partial ── every few seconds ──► tail          (TailKeeper, one thread)
    segment ── as soon as it is there ──► segment   (Uploads, several threads) ──► its tails go, older files go

Both go on for ever: while the store is away the spool grows, and that is said once. A file that the repository refuses
(other content under its name, another cluster's) is said loudly, tried again now and then, never removed, and stands
in nobody else's way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from typing import Protocol

from pgvault.errors import (
    DiskFull,
    PgvaultError,
    RepositoryForeign,
    RepositoryMissing,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
)
from pgvault.postgres.walname import WalSegment
from pgvault.wal.streaming.outage import Backoff, Condition, Crew
from pgvault.wal.streaming.spooldir import SpoolDirectory
from pgvault.wal.streaming.start import SpoolFile

logger = logging.getLogger(__name__)

# The store's trouble, not one file's.
OUTAGE = (StoreUnreachable, StoreDenied, StoreUnfit, DiskFull, RepositoryMissing, RepositoryForeign)
SCAN_SECONDS = 0.2
LONGEST_SECONDS = 10.0  # between two attempts while the store is away
REFUSED_SECONDS = 60.0  # until a refused file is tried again
MANY = 8  # segments waiting: said once


class TailStore(Protocol):
    """What wal/tail.py does."""

    def store(self, partial: Path, segment: WalSegment) -> object:
        """Store what is new in a .partial; return None where nothing is."""

    def forget(self, segment: WalSegment) -> None:
        """Remove a segment's tails: it is durable as a whole."""


@dataclass(slots=True)
class _Found:
    """A file of the spool that is to be archived."""

    path: Path
    segment: WalSegment | None  # None: a history file


class Uploads:
    """Archives whatever is finished in a spool directory."""

    def __init__(
        self,
        directory: SpoolDirectory,
        push: Callable[[Path], object],
        *,
        jobs: int,
        store: Condition,
        when_durable: Callable[[WalSegment], None],
    ) -> None:
        self._directory = directory
        self._push = push
        self._jobs = jobs
        self._store = store
        self._when_durable = when_durable
        self._queue: SimpleQueue[_Found] = SimpleQueue()
        self._lock = Lock()
        self._under_way: set[Path] = set()
        self._durable: set[WalSegment] = set()
        self._histories: set[str] = set()
        self._refused: dict[Path, tuple[str, float]] = {}  # what was said, and when to try again
        self._backoff = Backoff(longest=LONGEST_SECONDS)
        self._pause_until = 0.0
        self._said_behind = False

    def start(self, crew: Crew, stop: Event) -> None:
        """Look and upload in threads of `crew` until `stop` is set, and then until all that is there was tried."""
        crew.start(lambda: self._look(stop), name="stream-spool")
        for number in range(self._jobs):
            # Daemons without an end: they wait in the queue when the process goes.
            crew.start_endless(self._work, name=f"stream-upload-{number}")

    def durable(self) -> frozenset[WalSegment]:
        """The segments that were archived since the start, as far as they are still in the spool."""
        with self._lock:
            return frozenset(self._durable)

    def waiting(self) -> list[Path]:
        """The files that are not archived yet, in the order in which they go."""
        with self._lock:
            return [found.path for found in self._found() if not self._is_done(found)]

    def _look(self, stop: Event) -> None:
        while True:
            is_last = stop.wait(SCAN_SECONDS)
            self._offer()
            self._clear()
            if is_last and self._is_idle():
                return

    def _offer(self) -> None:
        now = time.monotonic()
        with self._lock:
            ready = [found for found in self._found() if not self._is_done(found)]
            self._tell_behind(len(ready))
            if now < self._pause_until:
                return
            for found in ready:
                _, again_at = self._refused.get(found.path, ("", 0.0))
                if found.path not in self._under_way and now >= again_at:
                    # Few at a time, so that an outage is met by few; one, until the store answers again.
                    if len(self._under_way) >= (1 if self._store.is_bad else 2 * self._jobs):
                        break
                    self._under_way.add(found.path)
                    self._queue.put(found)

    def _clear(self) -> None:
        gone = self._directory.forget_old(self.durable())
        with self._lock:
            self._durable.difference_update(gone)

    def _is_idle(self) -> bool:
        """Nothing is under way, and nothing could be begun now."""
        with self._lock:
            tried = all(self._is_done(found) or found.path in self._refused for found in self._found())
            return not self._under_way and (tried or self._store.is_bad)

    def _work(self) -> None:
        while True:
            found = self._queue.get()
            try:
                self._upload(found)
            finally:
                with self._lock:
                    self._under_way.discard(found.path)

    def _upload(self, found: _Found) -> None:
        try:
            self._push(found.path)
        except OUTAGE as error:
            with self._lock:
                now = time.monotonic()
                if now >= self._pause_until:  # several at a time may meet the same outage: it is one failure
                    self._pause_until = now + self._backoff.next()
            self._store.fails(
                f"{error}; what is received stays in the spool until it answers", kind=type(error).__name__
            )
        except PgvaultError as error:
            self._refuse(found, error)
        else:
            with self._lock:
                self._backoff.reset()
                self._pause_until = 0.0
                self._refused.pop(found.path, None)
                if found.segment is None:
                    self._histories.add(found.path.name)
                else:
                    self._durable.add(found.segment)
            self._store.works("answers again")
            if found.segment is not None:
                self._when_durable(found.segment)
            else:
                logger.info("archived %s: the server went on to that timeline", found.path.name)

    def _refuse(self, found: _Found, error: PgvaultError) -> None:
        if not found.path.exists():
            return  # taken aside meanwhile, and found there
        with self._lock:
            said, _ = self._refused.get(found.path, ("", 0.0))
            self._refused[found.path] = (str(error), time.monotonic() + REFUSED_SECONDS)
        if said != str(error):
            hint = f" ({error.hint})" if error.hint else ""
            logger.error("%s can not be archived: %s%s", found.path.name, error, hint)

    def _found(self) -> list[_Found]:
        directory = self._directory
        here, aside = directory.listing(), directory.listing_aside()
        found = [_Found(directory.path / file.name, None) for file in here.histories]
        found += [_Found(directory.aside / segment.name, segment) for segment in aside.segments]
        return found + [_Found(directory.path / segment.name, segment) for segment in here.segments]

    def _is_done(self, found: _Found) -> bool:
        return found.segment in self._durable if found.segment is not None else found.path.name in self._histories

    def _tell_behind(self, count: int) -> None:
        if (count >= MANY) != self._said_behind:
            self._said_behind = count >= MANY
            if self._said_behind:
                logger.warning("%d segments wait for their upload", count)
            else:
                logger.info("the uploads have caught up")


@dataclass(slots=True)
class TailKeeper:
    """Stores the tails of what is unfinished, and removes those of what is finished; works in one thread."""

    directory: SpoolDirectory
    tails: TailStore
    every_seconds: float
    store: Condition
    wake: Event = field(default_factory=Event)  # set: do not wait for the next round
    _may_have: set[WalSegment] = field(default_factory=set)  # tails in the repository
    _finished: SimpleQueue[WalSegment] = field(default_factory=SimpleQueue)
    _unforgotten: set[WalSegment] = field(default_factory=set)
    _refused: Condition = field(default_factory=lambda: Condition(logger, "tails"))

    @property
    def is_refused(self) -> bool:
        """Whether something could not be stored the last time, for a reason that is not the store's."""
        return self._refused.is_bad

    def expect(self, segment: WalSegment) -> None:
        """Note that an earlier run may have left tails of that segment."""
        self._may_have.add(segment)

    def finished(self, segment: WalSegment) -> None:
        """Note that a segment is durable: its tails are to go. For any thread."""
        self._finished.put(segment)

    def run(self, stop: Event) -> None:
        """Work until `stop` is set, and once more then."""
        while True:
            is_last = stop.is_set()
            self.wake.clear()
            self.round()
            if is_last:
                return
            self.wake.wait(self.every_seconds)

    def round(self) -> None:
        """Store what is new, then remove what is not needed any more."""
        try:
            refusals = self._store_all()
            self._forget_all()
        except OUTAGE as error:
            self.store.fails(f"{error}; no tail is stored until it answers", kind=type(error).__name__)
            return
        if refusals:
            self._refused.fails("; ".join(map(str, refusals)), level=logging.ERROR)
        else:
            self._refused.works("stored again")

    def _store_all(self) -> list[PgvaultError]:
        """Store what is new; return what was refused, which must not stand in the way of the rest."""
        partials = [(self.directory.aside, segment) for segment in self.directory.listing_aside().partials]
        partials += [(self.directory.path, segment) for segment in self.directory.listing().partials]
        refusals: list[PgvaultError] = []
        for directory, segment in partials:
            path = directory / SpoolFile(segment, is_partial=True).name
            try:
                self._store(path, segment)
            except OUTAGE:
                raise
            except PgvaultError as error:
                if path.exists():  # else it was finished meanwhile
                    refusals.append(error)
                continue
            if directory == self.directory.aside:
                path.unlink(missing_ok=True)
            elif segment != partials[-1][1]:
                self.directory.retire(segment)  # the end of a timeline that the server has left
        return refusals

    def _store(self, path: Path, segment: WalSegment) -> None:
        self._may_have.add(segment)
        try:
            if path.stat().st_size and self.tails.store(path, segment) is not None:
                self.store.works("answers again")  # an idle server may finish no segment for hours
        except FileNotFoundError:
            return  # finished meanwhile

    def _forget_all(self) -> None:
        while not self._finished.empty():
            segment = self._finished.get()
            if segment in self._may_have:
                self._unforgotten.add(segment)
        for segment in sorted(self._unforgotten):
            self.tails.forget(segment)
            self._unforgotten.discard(segment)
            self._may_have.discard(segment)

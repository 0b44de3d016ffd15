"""Leases: who does what at the moment, decided by put-if-absent in the deciding copy.

    acquire ─► entry n (the token) ─► a heartbeat entry every quarter of the time to live ─► a last one: released

Whoever finds a lease held waits until it knows: a new number means that the holder lives (AlreadyRunning); none for the
time to live means that it is dead, as does a process of this host that is gone. A dead holder's backup is aborted
before its lease is taken: a record is put where the root would go, so that one who only slept can not commit. He also
learns it himself: `require_held` appends an entry, and that name is taken.

Old entries are removed, so a name that was taken once may be free again: after each entry that must decide something
the series is listed, and only the highest number counts. Nothing of this uses a wall clock.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Event, RLock, Thread
from typing import Self

from pgvault.errors import AlreadyRunning, ObjectExists, ObjectMissing, PgvaultError, StoreDenied
from pgvault.instants import Clock, SystemClock
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.leaseentry import (
    Claim,
    LeaseEntry,
    State,
    Verdict,
    Watch,
    encode_entry,
    judge,
    look_again,
    read_or_guess,
    unreadable_entry,
)
from pgvault.repository.repository import Repository
from pgvault.repository.who import Holder, Presence, look_for, this_process
from pgvault.stores.commit import put_object

logger = logging.getLogger(__name__)

TTL_SECONDS = 120.0
BEATS_PER_TTL = 4
LOOKS_PER_TTL = 16
LOOKS_AT_VANISHING = 5  # an entry that was listed may be removed before it is read; then there is a newer one
KEPT_ENTRIES = 16  # of a series, beside those of the present holder


@dataclass(frozen=True, slots=True)
class Terms:
    """How leases are kept; all of it is passed in, so that tests neither wait nor depend on their host."""

    ttl_seconds: float = TTL_SECONDS
    clock: Clock = SystemClock()  # noqa: RUF009 - it holds nothing
    sleep: Callable[[float], None] = time.sleep
    who: Callable[[str], Holder] = this_process
    look_for: Callable[[Holder], Presence] = look_for

    @property
    def beat_seconds(self) -> float:
        """How often a holder says that it is alive."""
        return self.ttl_seconds / BEATS_PER_TTL


USUAL_TERMS = Terms()


class Lease:
    """A lease that this process holds; at the end of a `with` it is released. May be used from several threads."""

    def __init__(
        self, repository: Repository, entry: LeaseEntry, terms: Terms, *, predecessor: LeaseEntry | None = None
    ) -> None:
        self._repository = repository
        self._entry = entry
        self.predecessor = predecessor  # who held it and is dead; None: nobody did
        self._terms = terms
        self._lock = RLock()
        self._is_over = Event()
        self._lost: AlreadyRunning | None = None
        self._beats: list[int] = []  # numbers of ours that may be removed one day
        self._can_prune = True
        self._thread = Thread(target=self._keep, name=f"lease {entry.lease}", daemon=True)

    @property
    def entry(self) -> LeaseEntry:
        """The last entry that was put."""
        with self._lock:
            return self._entry

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def require_not_lost(self) -> None:
        """Raise AlreadyRunning when a heartbeat has found the lease taken over; nothing is asked or waited for."""
        lost = self._lost  # without the lock: a heartbeat holds it for as long as the store lets it wait
        if lost is not None:
            raise lost

    def require_held(self) -> None:
        """See that the lease is still ours, as of now. Raises AlreadyRunning when somebody has taken it over."""
        with self._lock:
            self.beat()
            newest = read_newest(self._repository, self._entry.lease, ttl_seconds=self._terms.ttl_seconds)
            if newest is not None and newest.number > self._entry.number:
                raise self._lose(newest)

    def beat(self) -> None:
        """Say that we live. Raises AlreadyRunning when the lease is not ours any more, or what the store raises."""
        with self._lock:
            self._append(State.HELD)

    def release(self) -> None:
        """Give it back; what hinders that is only logged: the lease dies by itself."""
        self._end(State.RELEASED)

    def leave(self, until: datetime) -> None:
        """End as `release` does, and ask that what is pinned stays pinned until an instant."""
        self._end(State.LEFT, until)

    def _end(self, state: State, until: datetime | None = None) -> None:
        if self._is_over.is_set():
            return
        self._is_over.set()
        with self._lock:
            if self._lost is not None:
                return
            try:
                self._append(state, until)
            except PgvaultError as error:
                logger.warning("lease %r was not released, it ends by itself: %s", self._entry.lease, error)

    def _keep(self) -> None:
        """Append heartbeats until it is over; a failing one is tried again the next time."""
        while not self._is_over.wait(self._terms.beat_seconds):
            try:
                with self._lock:
                    if self._is_over.is_set():
                        return
                    self.beat()
            except AlreadyRunning as error:
                logger.warning("%s", error)
                return
            except PgvaultError as error:
                logger.warning("no heartbeat of lease %r was stored: %s", self._entry.lease, error)

    def _append(self, state: State, until: datetime | None = None) -> None:
        if self._lost is not None:
            raise self._lost
        while True:
            entry = replace(
                self._entry, number=self._entry.number + 1, state=state, until=until, at=self._terms.clock.now()
            )
            if self._is_put(entry):
                break
        self._prune()

    def _is_put(self, entry: LeaseEntry) -> bool:
        """Put an entry and tell whether it is there; if not, an earlier one of ours is. Raises AlreadyRunning."""
        try:
            _put(self._repository, entry)
        except ObjectExists:
            found = _read(self._repository, entry.lease, entry.number, ttl_seconds=entry.ttl_seconds)
            if found is None or found.id != entry.id:
                raise self._lose(found or replace(entry, holder=None)) from None
            self._note(found)  # stored before, its answer was lost
            return False
        self._note(entry)
        return True

    def _note(self, entry: LeaseEntry) -> None:
        self._beats.append(entry.number)
        self._entry = entry

    def _lose(self, taken: LeaseEntry) -> AlreadyRunning:
        self._lost = AlreadyRunning(
            f"lease {taken.lease!r} was taken over meanwhile, by {taken.described}",
            hint=f"This process stood still, or the store did not answer it, for {self._terms.ttl_seconds:g} s.",
        )
        return self._lost

    def _prune(self) -> None:
        """Remove heartbeats of ours, all but the last two; never the token, at which one before us would notice."""
        while self._can_prune and len(self._beats) > 2:
            self._can_prune = _is_removed(self._repository, self._entry.lease, self._beats.pop(0))


def acquire(repository: Repository, name: str, claim: Claim, *, command: str, terms: Terms = USUAL_TERMS) -> Lease:
    """Take a lease; enter it (`with`) at once, so that it is kept.

    Waits for as long as a holder on another host may still be alive and was not heard of, at most its time to live.
    Raises AlreadyRunning when somebody holds it, StoreDenied when it can not be written, StoreUnreachable.
    """
    wanted = LeaseEntry(
        name, 0, 0, os.urandom(8).hex(), State.HELD, terms.ttl_seconds, terms.clock.now(), terms.who(command), claim
    )
    while True:
        newest = _wait_until_free(repository, name, terms)
        number = 0 if newest is None else newest.number + 1
        entry = replace(wanted, number=number, token=number, at=terms.clock.now())
        try:
            _put(repository, entry)
        except ObjectExists:
            continue  # somebody was faster
        except StoreDenied as error:
            raise StoreDenied(f"lease {name!r} can not be written: {error}", hint=error.hint) from error
        numbers = _numbers(repository, name)
        if max(numbers, default=number) == number:
            _prune_old(repository, name, numbers)
            dead = None if newest is None or newest.state is not State.HELD else newest
            return Lease(repository, entry, terms, predecessor=dead)
        _is_removed(repository, name, number)  # we slept: this number was taken, and removed, long ago


def read_newest(repository: Repository, name: str, *, ttl_seconds: float = TTL_SECONDS) -> LeaseEntry | None:
    """Return the newest entry of a lease, None when there is none.

    One that can not be read counts as held, by somebody unknown. Raises StoreUnreachable, StoreDenied.
    """
    number = -1
    for _ in range(LOOKS_AT_VANISHING):
        numbers = _numbers(repository, name)
        if not numbers:
            return None
        number = max(numbers)
        found = _read(repository, name, number, ttl_seconds=ttl_seconds)
        if found is not None:
            return found
    return unreadable_entry(name, number, ttl_seconds=ttl_seconds)


def read_verdict(
    repository: Repository, name: str, watch: Watch | None, terms: Terms
) -> tuple[LeaseEntry | None, Watch | None, Verdict]:
    """Look at a lease once more; return its newest entry, what was seen of it so far, and what that means."""
    asked = terms.clock.monotonic()
    newest = read_newest(repository, name, ttl_seconds=terms.ttl_seconds)
    if newest is not None:
        watch = look_again(watch, newest.number, answered=terms.clock.monotonic())
    holder = None if newest is None else newest.holder
    presence = Presence.UNKNOWN if holder is None else terms.look_for(holder)
    return newest, watch, judge(newest, watch, asked=asked, now=terms.clock.now(), presence=presence)


def _wait_until_free(repository: Repository, name: str, terms: Terms) -> LeaseEntry | None:
    """Return the newest entry once nobody holds the lease any more. Raises AlreadyRunning."""
    watch: Watch | None = None
    while True:
        is_first = watch is None
        newest, watch, verdict = read_verdict(repository, name, watch, terms)
        if newest is None or verdict is Verdict.FREE:
            return newest
        if verdict is Verdict.LIVE:
            raise AlreadyRunning(
                f"lease {name!r} is held by {newest.described}",
                hint="Wait for it; if it hangs, end that process: its lease ends with it.",
            )
        if verdict is Verdict.DEAD:
            logger.warning("lease %r is taken over from %s, which is gone", name, newest.described)
            _abort(repository, newest)
            return newest
        if is_first:
            logger.info("lease %r: watching whether %s is alive", name, newest.described)
        terms.sleep(newest.ttl_seconds / LOOKS_PER_TTL)


def _abort(repository: Repository, dead: LeaseEntry) -> None:
    """See to it that the backup of a dead holder can not be committed any more, unless it is already."""
    if dead.claim.label and dead.claim.cluster:
        with suppress(ObjectExists):
            abort_label(repository, dead.claim.cluster, dead.claim.label, reason=f"taken over from {dead.described}")


def _put(repository: Repository, entry: LeaseEntry) -> None:
    """Put an entry into the copy that decides, and into no other. Raises ObjectExists."""
    put_object(repository.deciding.store, layout.lease(entry.lease, entry.number), encode_entry(repository, entry))


def _read(repository: Repository, name: str, number: int, *, ttl_seconds: float) -> LeaseEntry | None:
    """Return an entry, None when it is absent."""
    try:
        body = repository.deciding.store.get(layout.lease(name, number))
    except ObjectMissing:
        return None
    return read_or_guess(repository, name, number, body=body, ttl_seconds=ttl_seconds)


def _numbers(repository: Repository, name: str) -> list[int]:
    names = repository.deciding.store.children(layout.lease_series(name))
    return sorted(int(each) for each in names if layout.is_number(each))


def _prune_old(repository: Repository, name: str, numbers: list[int]) -> None:
    for number in numbers[:-KEPT_ENTRIES]:
        if not _is_removed(repository, name, number):
            return


def _is_removed(repository: Repository, name: str, number: int) -> bool:
    """Remove an entry that counts no more; where that is not allowed it stays."""
    try:
        repository.deciding.store.delete(layout.lease(name, number))
    except PgvaultError as error:
        logger.debug("entry %d of lease %r stays: %s", number, name, error)
        return not isinstance(error, StoreDenied)
    return True

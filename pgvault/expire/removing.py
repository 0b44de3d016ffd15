"""Remove objects of one copy for good: where older versions are kept, all of them, and what hides them.

    key   v1 ── v2 ── marker        oldest first, so that what was the newest stays it until the last one goes

An object that is locked stays until its lock ends; that is what locks are for, and no error. One that may not be
removed is told of by its key, and the others go on; where many are denied, the rest is not tried. What is gone
already is removed: every removal can be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from threading import Lock

from pgvault.errors import ObjectMissing, StoreDenied
from pgvault.repository.copies import Copy
from pgvault.stores.base import ObjectStore, ObjectVersion, VersionedStore

logger = logging.getLogger(__name__)

REMOVERS = 8  # a removal takes its round trip, so several go at a time
MOST_DENIED = 20  # keys after which no other is tried: it is the rights, not the keys


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is to go."""

    key: str
    stored_bytes: int  # of all its versions
    versions: tuple[ObjectVersion, ...] = ()  # oldest first; empty: the store keeps none, or does not tell


@dataclass(slots=True)
class Tally:
    """What was removed from one copy, and what was not."""

    copy: str
    object_count: int = 0
    stored_bytes: int = 0
    locked_count: int = 0  # objects that the store guards
    locked_until: datetime | None = None  # the last of them
    denied: list[str] = field(default_factory=list)  # keys, at most MOST_DENIED and as many as were under way
    first_denial: StoreDenied | None = None


class Remover:
    """Removes objects of one copy. Its verbs may raise StoreUnreachable; what was removed by then is tallied."""

    def __init__(self, copy: Copy) -> None:
        self.tally = Tally(copy.name)
        self._store = copy.store
        self._lock = Lock()

    @property
    def store(self) -> ObjectStore:
        """Where it removes."""
        return self._store

    def find(self, prefix: str) -> list[Found]:
        """Return everything under a prefix, sorted by key, hidden keys too where older versions are kept."""
        if isinstance(self._store, VersionedStore):
            try:
                return list(_by_key(self._store.versions(prefix)))
            except StoreDenied as error:
                logger.warning("copy %r: older versions are not removed: %s", self.tally.copy, error)
        return [Found(entry.key, entry.size) for entry in self._store.list(prefix)]

    def guarded_until(self, objects: Iterable[Found]) -> datetime | None:
        """Return until when the store guards the last of these objects; None: it guards none."""
        until = [self._locked(found.key, version) for found in objects for version in found.versions]
        return max((at for at in until if at is not None), default=None)

    def remove(self, objects: Iterable[Found]) -> bool:
        """Remove objects, in no order; tell whether all of them are gone."""
        with ThreadPoolExecutor(REMOVERS) as removers:
            return all(list(removers.map(self._remove, objects)))

    def _remove(self, found: Found) -> bool:
        if len(self.tally.denied) >= MOST_DENIED:
            return False
        try:
            if not self._is_gone(found):
                return False
        except StoreDenied as error:
            with self._lock:
                self.tally.denied.append(found.key)
                self.tally.first_denial = self.tally.first_denial or error
            return False
        with self._lock:
            self.tally.object_count += 1
            self.tally.stored_bytes += found.stored_bytes
        return True

    def _is_gone(self, found: Found) -> bool:
        """Remove each version; tell whether none is left. Raises StoreDenied for what is denied and not locked."""
        if not isinstance(self._store, VersionedStore) or not found.versions:
            self._store.delete(found.key)
            return True
        is_gone = True
        for version in found.versions:
            try:
                self._store.delete_version(found.key, version.id)
            except StoreDenied:
                until = self._locked(found.key, version)
                if until is None:
                    raise
                self._note_locked(until)
                is_gone = False
        return is_gone

    def _locked(self, key: str, version: ObjectVersion) -> datetime | None:
        if version.is_delete_marker or not isinstance(self._store, VersionedStore):
            return None
        try:
            return self._store.locked_until(key, version.id)
        except ObjectMissing:
            return None

    def _note_locked(self, until: datetime) -> None:
        with self._lock:
            self.tally.locked_count += 1
            self.tally.locked_until = max(until, self.tally.locked_until or until)


def _by_key(versions: Iterable[ObjectVersion]) -> Iterator[Found]:
    for key, same in groupby(versions, key=lambda version: version.key):
        found = tuple(same)
        yield Found(key, sum(version.size for version in found), found)

"""Judge whether a store that should lock objects does: by the newest backup of each such copy.

Looked at are its root, its refs and a few of its packs, each a request of its own: whoever forgets to lock forgets it
for all. A lock protects a version and not its key, so it is the version that readers see that must be locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgvault.errors import ObjectMissing, PgvaultError
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, moment, ok, red, warn
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, Root
from pgvault.repository.copies import Copy
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.stores.base import LockingStore, VersionedStore

NAME = "object_lock"
PACKS_SHOWN = 3  # the first, one in the middle, the last
HINT = "Does the bucket still have object lock, and may these credentials set it? See: pgvault check"


@dataclass(frozen=True, slots=True)
class LockFact:
    """Until when one object is locked."""

    path: str
    until: datetime | None  # None: it is not locked, or not there


def look_at_locks(repository: Repository, catalog: Catalog, *, now: datetime) -> Iterator[Finding]:
    """Judge every copy whose objects should be locked; those that are not read are told of elsewhere."""
    newest = max(catalog.roots, key=lambda root: root.stopped_at, default=None)
    for copy in repository.copies:
        store = copy.store
        if copy.name in repository.unread or not isinstance(store, LockingStore) or store.lock is None:
            continue
        if newest is None:
            yield warn(NAME, f"unknown: {copy.name}: there is no backup to look at", {"copy": copy.name})
            continue
        try:
            facts = list(read_locks(copy, _paths(newest)))
        except PgvaultError as error:
            yield warn(NAME, f"unknown: {copy.name}: {error}", {"copy": copy.name}, hint=error.hint)
        else:
            yield judge_locks(copy.name, newest.label, facts, now=now)


def judge_locks(copy: str, label: str, facts: Sequence[LockFact], *, now: datetime) -> Finding:
    """Judge what was looked at of a backup in a copy."""
    unlocked = [fact.path for fact in facts if fact.until is None or fact.until <= now]
    until = min((fact.until for fact in facts if fact.until is not None), default=None)
    figures: Figures = {
        "copy": copy,
        "backup": label,
        "checked": len(facts),
        "unlocked": len(unlocked),
        "locked_until_at": None if until is None else iso(until),
    }
    if not facts:
        return warn(NAME, f"unknown: {copy}: nothing of backup {label} was looked at", figures)
    if unlocked:
        said = f"{copy}: {len(unlocked)} of {len(facts)} objects of backup {label} are not locked: {unlocked[0]}"
        return red(NAME, said, figures, hint=HINT)
    assert until is not None
    return ok(NAME, f"{copy}: backup {label} is locked until {moment(until)}", figures)


def _paths(root: Root) -> Iterator[str]:
    yield layout.manifest(root.cluster, root.label)
    yield root.refs.path
    if isinstance(root, Manifest) and root.packs:
        places = {0, len(root.packs) // 2, len(root.packs) - 1}
        yield from (root.packs[place].path for place in sorted(places)[:PACKS_SHOWN])


def read_locks(copy: Copy, paths: Iterable[str]) -> Iterator[LockFact]:
    """Yield the locks of the versions that readers see; none of an object that the copy does not have yet.

    Raises what asking a store raises.
    """
    store = copy.store
    if not isinstance(store, VersionedStore):
        return
    for path in paths:
        latest = next((each for each in store.versions(path) if each.key == path and each.is_latest), None)
        if latest is None or latest.is_delete_marker:
            continue
        try:
            yield LockFact(path, store.locked_until(path, latest.id))
        except ObjectMissing:
            continue  # it went since it was listed

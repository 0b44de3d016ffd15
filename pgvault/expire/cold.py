"""Move what is seldom read to a cheaper class of storage: packs of old backups, and WAL that only those need.

    label   packs 0 1 2 … n        the last one last: where it lies there, all of them do, and no other is asked for
    WAL     a directory of segments at a time, likewise

Roots, refs, file lists and maps stay where they are: they are small, and `list`, `copy` and every plan read them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.errors import ObjectMissing, StoreUnfit, UsageError
from pgvault.expire.carrying import Run
from pgvault.expire.copyroots import CopyRoots
from pgvault.expire.facts import PhysicalBackup
from pgvault.postgres.walname import SegmentFile, parse_wal_name
from pgvault.repository import layout
from pgvault.stores.base import ColdStore

logger = logging.getLogger(__name__)

MOVERS = 8


@dataclass(frozen=True, slots=True)
class ColdRule:
    """What one copy's configuration says."""

    after: timedelta  # since a backup's stop
    storage_class: str


def move_old(run: Run, rules: Mapping[str, ColdRule]) -> None:
    """Move what is old enough, in each copy that has a rule. What a store does not do is noted, and is no error."""
    for name, rule in rules.items():
        roots = run.gathered.roots.get(name)
        if roots is None:
            continue
        store = roots.copy.store
        if not isinstance(store, ColdStore):
            run.report.notes.append(f"copy {name!r} knows no classes of storage: archive_after does nothing there")
            continue
        try:
            moved = sum(
                _move(store, keys, rule.storage_class) for keys in _old(roots, run.terms.clock.now() - rule.after)
            )
        except StoreUnfit as error:
            run.report.notes.append(f"copy {name!r}: {error}" + ("" if error.hint is None else f". {error.hint}"))
            continue
        if moved:
            run.report.notes.append(f"copy {name!r}: {moved} objects were moved to {rule.storage_class}")


def _old(roots: CopyRoots, before: datetime) -> Iterator[Sequence[str]]:
    """Yield groups of keys that are to be moved together."""
    for label, backup in sorted(roots.backups.items()):
        if backup.stopped_at < before:
            yield [entry.key for entry in roots.copy.store.list(f"{layout.backup(roots.cluster, label)}/packs")]
    for system, size in sorted(roots.segment_sizes.items()):
        first = _first_needed(roots, system, size, before)
        if first is not None:
            yield from old_wal(roots, system, size, first)


def _first_needed(roots: CopyRoots, system: int, size: int, before: datetime) -> int | None:
    """Return the number of the first segment that a younger backup may need; None where there is no such backup."""
    own = [each for each in roots.backups.values() if isinstance(each, PhysicalBackup)]
    young = [each for each in own if each.system_identifier == system and each.stopped_at >= before]
    return min((each.start_lsn.value // size for each in young), default=None)


def old_wal(roots: CopyRoots, system: int, size: int, first: int) -> Iterator[Sequence[str]]:
    """Yield the keys of each directory whose segments all come before number `first`; not tails, which come and go."""
    directories: dict[str, dict[str, int]] = {}
    for entry in roots.copy.store.list(layout.wal(roots.cluster, system)):
        directory, _, name = entry.key.rpartition("/")
        number = None if directory.endswith(layout.TAIL) else _number(name, size)
        if number is not None:
            directories.setdefault(directory, {})[entry.key] = number
    for numbers in directories.values():
        if max(numbers.values()) < first:
            yield list(numbers)


def _number(name: str, size: int) -> int | None:
    """Return a segment's number; None for what is no whole segment."""
    try:
        file = parse_wal_name(name)
    except UsageError:
        return None
    return file.segment(size).number if isinstance(file, SegmentFile) else None


def _move(store: ColdStore, keys: Sequence[str], storage_class: str) -> int:
    """Move objects, the last one last; return how many had to be. Raises StoreUnfit."""
    if not keys or store.state(keys[-1]).storage_class == storage_class:
        return 0

    def move(key: str) -> bool:
        try:
            return store.transition(key, storage_class)
        except ObjectMissing:
            return False

    with ThreadPoolExecutor(MOVERS) as movers:
        moved = sum(movers.map(move, keys[:-1]))
    return moved + move(keys[-1])

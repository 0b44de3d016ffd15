"""Measure a backup right before it is committed, by what is stored of it and of the one before it.

The server is not asked: what is read are this backup's inventory and block maps, those of the one before, and roots.
A measure that can not be taken is absent. Where the others can not be seen at all the backup goes without: the next one
goes on where the last measured one was. Nothing here fails a backup.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from pgvault.anomaly.changed import changed_share
from pgvault.anomaly.judge import COMPARED, Course, Taken, course_behind
from pgvault.anomaly.kind import kind_of
from pgvault.config.anomaly import AnomalyConfig
from pgvault.errors import PgvaultError
from pgvault.postgres.inventory import RelationEntry, UnreadEntry
from pgvault.repository.catalog import Root, read_catalog
from pgvault.repository.inventory import read_inventory
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.measures import Measures, Past
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

T = TypeVar("T")
SHORTEST = timedelta(minutes=30)  # between two backups, for a rate: each forces segments of its own
HOUR = timedelta(hours=1)


def measure(repository: Repository, root: Root, config: AnomalyConfig, *, kind: str | None = None) -> Measures | None:
    """Return what stands in a root that is complete otherwise; None where the other backups can not be seen."""
    try:
        roots = read_catalog(repository, root.cluster).roots
    except PgvaultError as error:
        logger.warning("backup %s is not measured: %s", root.label, error)
        return None
    found = kind or kind_of(root)
    course = _course(root, roots, found, config)
    values = plain_values(root)
    if isinstance(root, Manifest):
        values |= dict(_looked_up(repository, root, roots))
    return Measures(found, values, course.before, course.since, course.suspects)


def plain_values(root: Root) -> dict[str, float]:
    """Return what a root says by itself."""
    values: dict[str, float] = {
        "size": root.total_bytes,
        "stored": root.stored_bytes,
        "files": root.file_count,
        "databases": len(root.databases),
    }
    if root.stored_bytes:
        values["compression"] = root.total_bytes / root.stored_bytes
    if isinstance(root, LogicalManifest):
        values["relations"] = sum(each.table_count for each in root.databases)
        values["rows"] = sum(each.row_count for each in root.databases)
    return values


def _course(root: Root, roots: Sequence[Root], kind: str, config: AnomalyConfig) -> Course:
    """Go on behind the newest one of its kind that was measured, or begin with those that an older pgvault took."""
    same = sorted((each for each in roots if kind_of(each) == kind), key=lambda each: (each.started_at, each.label))
    for last in reversed(same):
        if last.measures is not None:
            return course_behind(Taken(last.label, last.started_at, last.measures), config, now=root.started_at)
    return Course(tuple(Past(each.label, each.started_at, plain_values(each)) for each in same[-COMPARED:]))


def _looked_up(repository: Repository, root: Manifest, roots: Sequence[Root]) -> Iterator[tuple[str, float]]:
    """Yield what is read of the repository."""
    relations = _tried(root, "relations", lambda: _relations(repository, root))
    if relations is not None:
        yield "relations", relations
    of_system = [
        each
        for each in roots
        if isinstance(each, Manifest) and each.system_identifier == root.system_identifier and each.label != root.label
    ]
    earlier = max(of_system, key=lambda each: (each.started_at, each.label), default=None)
    if earlier is None:
        return
    rate = wal_rate(earlier, root)
    if rate is not None:
        yield "wal", rate
    changed = _tried(root, "changed share", lambda: changed_share(repository, earlier, root))
    if changed is not None:
        yield "changed", changed


def wal_rate(earlier: Manifest, later: Manifest) -> float | None:
    """Return bytes of WAL an hour between the starts of two backups of a system; None where they say nothing."""
    span = later.started_at - earlier.started_at
    if span < SHORTEST or later.start_lsn < earlier.start_lsn:
        return None
    return (later.start_lsn - earlier.start_lsn) / (span / HOUR)


def _relations(repository: Repository, root: Manifest) -> int | None:
    """Count the relations of users; None where a database was not read, or nothing was noted."""
    count = 0
    for entry in read_inventory(repository, root):
        if isinstance(entry, UnreadEntry):
            return None
        count += isinstance(entry, RelationEntry)
    return count if root.inventory else None


def _tried(root: Root, what: str, look: Callable[[], T]) -> T | None:
    try:
        return look()
    except PgvaultError as error:
        logger.warning("the %s of backup %s is not known: %s", what, root.label, error)
        return None

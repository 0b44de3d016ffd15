"""The catalog: every backup of a cluster, from its roots and nothing else.

A label without a root is unfinished, one whose root is an *aborted* record never will be finished; neither is ever
listed as a backup. A root that does not open is reported beside the others, never skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey, did_you_mean
from pgvault.pipeline.header import HEADER, Kind, ObjectHeader
from pgvault.pooling import map_bounded
from pgvault.repository import layout
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import open_json, seal_json
from pgvault.repository.repository import Repository
from pgvault.repository.writing import put_decision, put_last

Root = Manifest | LogicalManifest
LOGICAL_TYPES = tuple(LogicalType)
READERS = 8  # a small read takes its round trip, so several go at a time


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A label whose root is there and does not open."""

    label: str
    error: PgvaultError


@dataclass(frozen=True, slots=True)
class Catalog:
    """The backups of one cluster."""

    cluster: str
    backups: tuple[Manifest, ...]  # physical ones; oldest first, by system, timeline and start LSN
    logical: tuple[LogicalManifest, ...]  # logical and schema backups, oldest first
    unreadable: tuple[Unreadable, ...]
    unfinished: tuple[str, ...]  # labels without a root: running, or killed
    aborted: tuple[str, ...]

    @property
    def roots(self) -> tuple[Root, ...]:
        """Every backup, physical ones first."""
        return (*self.backups, *self.logical)

    def find(self, label: str) -> Manifest:
        """Return the physical backup with that label. Raises ObjectMissing, or why its root does not open."""
        found = self.find_any(label)
        if isinstance(found, Manifest):
            return found
        raise ObjectMissing(
            f"backup {label!r} of cluster {self.cluster!r} is a {found.type} one: no WAL goes with it",
            hint=f"See: pgvault restore --logical {label}",
        )

    def find_logical(self, label: str) -> LogicalManifest:
        """Return the logical or schema backup with that label. Raises as `find` does."""
        found = self.find_any(label)
        if isinstance(found, LogicalManifest):
            return found
        raise ObjectMissing(
            f"backup {label!r} of cluster {self.cluster!r} is a physical one", hint="See: pgvault restore --backup"
        )

    def find_any(self, label: str) -> Root:
        """Return the backup with that label. Raises ObjectMissing, or why its root does not open."""
        for root in self.roots:
            if root.label == label:
                return root
        for entry in self.unreadable:
            if entry.label == label:
                raise entry.error
        meant = did_you_mean(label, (root.label for root in self.roots))
        raise ObjectMissing(
            f"there is no backup {label!r} of cluster {self.cluster!r}", hint=f"{meant}See: pgvault list"
        )


def read_catalog(repository: Repository, cluster: str) -> Catalog:
    """Open every root of a cluster. Raises StoreUnreachable, StoreDenied: never half a list."""
    backups: list[Manifest] = []
    logical: list[LogicalManifest] = []
    unreadable: list[Unreadable] = []
    unfinished: list[str] = []
    aborted: list[str] = []
    for label, root in _read_roots(repository, cluster, repository.reader.names(layout.backups(cluster))):
        match root:
            case None:
                aborted.append(label)
            case Manifest():
                backups.append(root)
            case LogicalManifest():
                logical.append(root)
            case ObjectMissing():
                unfinished.append(label)
            case PgvaultError():
                unreadable.append(Unreadable(label, root))
    logical.sort(key=lambda backup: (backup.started_at, backup.label))
    return Catalog(cluster, _ordered(backups), tuple(logical), tuple(unreadable), tuple(unfinished), tuple(aborted))


def _read_roots(
    repository: Repository, cluster: str, labels: Sequence[str]
) -> Iterator[tuple[str, Root | PgvaultError | None]]:
    """Yield each label with its root, or why there is none. Raises StoreUnreachable, StoreDenied."""

    def attempt(label: str) -> Root | PgvaultError | None:
        try:
            return read_root(repository, cluster, label)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            return error  # a store that does not answer is no root gone bad: that error passes

    if len(labels) <= READERS:  # no threads for a few
        yield from ((label, attempt(label)) for label in labels)
        return
    with ThreadPoolExecutor(READERS) as readers:
        yield from zip(labels, map_bounded(readers, attempt, labels, ahead=2 * READERS), strict=True)


def clusters(repository: Repository) -> list[str]:
    """Return the names of all clusters in the repository."""
    return repository.reader.names(layout.CLUSTERS)


def read_root(repository: Repository, cluster: str, label: str) -> Root | None:
    """Open one root; None when it is an aborted record. Raises ObjectMissing, ObjectCorrupt."""
    path = layout.manifest(cluster, label)

    def opened(body: bytes) -> Root | None:
        return _open_root(repository, body, cluster, label)

    return repository.reader.read(path, opened)


def _open_root(repository: Repository, body: bytes, cluster: str, label: str) -> Root | None:
    path = layout.manifest(cluster, label)
    if ObjectHeader.decode(body[: HEADER.size], where=path).kind is Kind.ABORTED:
        open_json(repository, path, Kind.ABORTED, body=body)
        return None
    document = open_json(repository, path, Kind.MANIFEST, body=body)
    manifest: Root
    if document.get("type") in LOGICAL_TYPES:
        manifest = LogicalManifest.from_json(document, where=path)
    else:
        manifest = Manifest.from_json(document, where=path)
    if manifest.label != label or manifest.cluster != cluster:
        raise ObjectCorrupt(f"manifest {path!r} says it is {manifest.label!r} of {manifest.cluster!r}")
    return manifest


def commit_manifest(repository: Repository, manifest: Root) -> None:
    """Put the root, into the deciding copy last: from here on the backup exists.

    Raises ObjectExists when the label was aborted. A sync copy that has the root then loses it to the aborted record
    by `pgvault copy`.
    """
    path = layout.manifest(manifest.cluster, manifest.label)
    put_last(repository, path, seal_json(repository, path, Kind.MANIFEST, document=manifest.to_json()))


def abort_label(repository: Repository, cluster: str, label: str, *, reason: str) -> None:
    """Put an aborted record where the root would go: that label can never be committed any more.

    The deciding copy's is what counts: one of its roots that a sync copy holds already is no backup.
    """
    document: dict[str, Any] = {"aborted": 1, "label": label, "reason": reason}
    path = layout.manifest(cluster, label)
    put_decision(repository, path, seal_json(repository, path, Kind.ABORTED, document=document))


def _ordered(backups: list[Manifest]) -> tuple[Manifest, ...]:
    """Order by timeline and start LSN within a system, systems by their first backup; never by label."""
    first = {
        system: min(b.started_at for b in backups if b.system_identifier == system)
        for system in {b.system_identifier for b in backups}
    }
    return tuple(sorted(backups, key=lambda b: (first[b.system_identifier], b.timeline, b.start_lsn)))

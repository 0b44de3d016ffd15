"""What one copy's roots need, read from that copy alone: nothing is removed below a label that another root names.

A root names every object that its backup needs (`packs`, `parts`, `maps`, WAL), so `refs` need not be read. Only names
below *other* labels are remembered: of a full backup none, of an incremental the objects that it shares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.expire.facts import BackupFacts, LogicalBackup, PhysicalBackup
from pgvault.repository import layout
from pgvault.repository.catalog import Root, read_root
from pgvault.repository.copies import Copy
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository


@dataclass(slots=True)
class CopyRoots:
    """The labels of a cluster in one copy, and what is at each one's root."""

    cluster: str
    repository: Repository  # that sees this copy alone
    backups: dict[str, BackupFacts] = field(default_factory=dict)
    segment_sizes: dict[int, int] = field(default_factory=dict)  # by system
    unreadable: dict[str, PgvaultError] = field(default_factory=dict)
    aborted: set[str] = field(default_factory=set)
    unfinished: set[str] = field(default_factory=set)  # without a root
    foreign: dict[str, frozenset[str]] = field(default_factory=dict)  # names below other labels that a root needs

    @classmethod
    def of(cls, repository: Repository, cluster: str, copy: Copy) -> CopyRoots:
        """Return what is there now. Raises what the store raises."""
        roots = cls(cluster, replace(repository, copies=(copy,)))
        roots.refresh()
        return roots

    @property
    def copy(self) -> Copy:
        """The copy."""
        return self.repository.deciding

    def refresh(self) -> None:
        """Look again: open roots that came, forget those that went."""
        labels = set(self.repository.reader.names(layout.backups(self.cluster)))
        known = {label for label in (*self.backups, *self.aborted) if label in labels}
        for mapping in (self.backups, self.foreign, self.unreadable):
            for label in set(mapping) - known:
                del mapping[label]
        self.aborted &= known
        self.unfinished.clear()
        for label in sorted(labels - known):
            self._look(label)

    def forget(self, label: str) -> None:
        """A root was removed by us."""
        self.backups.pop(label, None)
        self.foreign.pop(label, None)
        self.aborted.discard(label)
        self.unfinished.add(label)

    def needed_below(self, label: str) -> frozenset[str]:
        """Return the names below a label that other roots of this copy need."""
        prefix = f"{layout.backup(self.cluster, label)}/"
        return frozenset(name for names in self.foreign.values() for name in names if name.startswith(prefix))

    def aborted_bytes(self, label: str) -> int:
        """Return the length of a label's aborted record, 0 where this copy has none."""
        if label not in self.aborted:
            return 0
        try:
            return self.copy.store.size(layout.manifest(self.cluster, label))
        except ObjectMissing:
            return 0

    def _look(self, label: str) -> None:
        try:
            root = read_root(self.repository, self.cluster, label)
        except ObjectMissing:
            self.unfinished.add(label)
        except (FormatUnsupported, ObjectCorrupt, WrongKey) as error:
            self.unreadable[label] = error
        else:
            if root is None:
                self.aborted.add(label)
                return
            self.foreign[label] = _foreign(root)
            self.backups[label] = describe(root, self.foreign[label])
            if isinstance(root, Manifest):
                self.segment_sizes[root.system_identifier] = root.wal_segment_size


def describe(root: Root, foreign: Iterable[str]) -> BackupFacts:
    """Return what planning needs to know of a root."""
    needs = frozenset(name.split("/")[3] for name in foreign)
    if isinstance(root, LogicalManifest):
        return LogicalBackup(
            label=root.label,
            is_schema=root.type is LogicalType.SCHEMA,
            started_at=root.started_at,
            stopped_at=root.stopped_at,
            class_name=root.class_name,
            needs=needs,
            stored_bytes=root.stored_bytes,
            measures=root.measures,
        )
    return PhysicalBackup(
        label=root.label,
        is_full=root.type == "full",
        system_identifier=root.system_identifier,
        timeline=root.timeline,
        start_lsn=root.start_lsn,
        stop_lsn=root.stop_lsn,
        started_at=root.started_at,
        stopped_at=root.stopped_at,
        has_page_errors=root.page_errors.count > 0,
        needs=needs,
        wal_names=frozenset(stored.path.rpartition("/")[2] for stored in root.wal),
        time_zone=root.time_zone,
        log_time_zone=root.log_time_zone,
        stored_bytes=root.stored_bytes,
        total_bytes=root.total_bytes,
        measures=root.measures,
        is_from_standby=root.is_from_standby,
    )


def _foreign(root: Root) -> frozenset[str]:
    """Return the names that a root needs below other labels."""
    own = f"{layout.backup(root.cluster, root.label)}/"
    everything = f"{layout.backups(root.cluster)}/"
    stored = (*root.packs, *root.parts, *root.maps, *root.inventory)
    names = (each.path for each in stored)
    return frozenset(name for name in names if name.startswith(everything) and not name.startswith(own))

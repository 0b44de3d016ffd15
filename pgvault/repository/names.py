"""What an object's name tells: where it belongs, without opening it.

    keys/<n>, pgvault.json                               clear documents
    clusters/<cluster>/wal/…                             WAL
    clusters/<cluster>/backups/<label>/<rest>            of one backup
    clusters/<cluster>/<anything else>/…                 of the cluster
    audit/…                                              what was done: of the whole repository
    leases/… notices/… probes/… quarantine/…             of one copy alone: never brought to another

A name says nothing of what the object holds: a manifest may be a root or an *aborted* record.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgvault.repository import layout

LOCAL = (layout.LEASES, layout.NOTICES, layout.PROBES, layout.QUARANTINE)
ROOT = "manifest"
REFS = "refs"
TOMBSTONES = "tombstones"
VERIFIED = "verified"
DRILLED = "drilled"
MARKS = frozenset({TOMBSTONES, VERIFIED, DRILLED})  # they tell about a backup without being part of it


@dataclass(frozen=True, slots=True)
class BackupName:
    """The parts of a name that belongs to a backup."""

    cluster: str
    label: str
    rest: str  # below the backup: "manifest", "packs/00000000"


def is_local(path: str) -> bool:
    """Tell whether an object is of one copy alone."""
    return path.split("/", 1)[0] in LOCAL


def is_document(path: str) -> bool:
    """Tell whether an object is a clear document: the identity, or a key document."""
    return path == layout.IDENTITY or path.startswith(f"{layout.KEYS}/")


def is_wal(path: str) -> bool:
    """Tell whether an object counts as WAL, tails and histories included."""
    parts = path.split("/", 3)
    return len(parts) == 4 and parts[0] == layout.CLUSTERS and parts[2] == "wal"


def is_audit(path: str) -> bool:
    """Tell whether an object is an entry of an audit chain."""
    return path.startswith(f"{layout.AUDIT}/")


def parse_backup(path: str) -> BackupName | None:
    """Return the parts of a backup's object; None for any other name."""
    parts = path.split("/", 4)
    if len(parts) != 5 or parts[0] != layout.CLUSTERS or parts[2] != "backups":
        return None
    return BackupName(parts[1], parts[3], parts[4])


def is_refs(path: str) -> bool:
    """Tell whether an object is a backup's clear list of what it needs."""
    name = parse_backup(path)
    return name is not None and name.rest == REFS


def tailed_segment(path: str) -> str | None:
    """Return the name of the segment's object whose tail `path` is; None for what is no tail."""
    directory, _, _ = path.rpartition("/")
    return directory.removesuffix(layout.TAIL) if is_wal(path) and directory.endswith(layout.TAIL) else None

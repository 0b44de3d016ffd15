"""The end of a backup: its root, after everything the root names was seen in the store, or an aborted record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pgvault.errors import ObjectCorrupt, PgvaultError
from pgvault.repository import layout
from pgvault.repository.catalog import Root, abort_label, commit_manifest, read_root
from pgvault.repository.copies import Copy
from pgvault.repository.leases import Lease
from pgvault.repository.lengths import lengths_of
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository
from pgvault.repository.writing import bring_to, decided, sync_copies

logger = logging.getLogger(__name__)


def commit_checked(repository: Repository, manifest: Root, *, lease: Lease | None = None) -> None:
    """See everything that the backup needs in each copy that it waits for, then put the root (pitfall 17).

    A copy that is sync for backups and not for WAL is brought the WAL of this one first. Raises ObjectCorrupt,
    AlreadyRunning when the lease was lost, ObjectExists when the label was aborted: whoever took the lease over has
    put an aborted record in the root's place, or will lose to our root.
    """
    wal = manifest.wal if isinstance(manifest, Manifest) else ()
    needed = (*manifest.packs, *manifest.parts, *manifest.maps, *manifest.inventory, *wal, manifest.refs)
    missing = _lacking(repository.deciding, needed)
    if missing:
        raise ObjectCorrupt(f"{len(missing)} objects of the backup are not as they were stored, first {missing[0]}")
    for copy in sync_copies(repository, layout.manifest(manifest.cluster, manifest.label)):
        _complete(repository, copy, needed)
    if lease is not None:
        lease.require_held()
    commit_manifest(repository, manifest)


def _complete(repository: Repository, copy: Copy, needed: Sequence[Stored]) -> None:
    """Bring a sync copy what it lacks of a backup. Raises what keeps it from being whole there."""
    for missing in _lacking(copy, needed):
        bring_to(repository, copy, missing.stored.path)
    still = _lacking(copy, needed)
    if still:
        raise ObjectCorrupt(
            f"sync copy {copy.name!r} lacks {len(still)} objects of the backup, first {still[0]}",
            hint=f"See: pgvault verify --copy {copy.name} --repair. "
            f"To go on without it: copies.{copy.name}.backups: async",
        )


@dataclass(frozen=True, slots=True)
class _Lack:
    """An object that a copy does not hold as it should."""

    stored: Stored
    length: int | None  # in that copy; None: not there

    def __str__(self) -> str:
        return f"{self.stored.path!r}: it should have {self.stored.length} bytes and has {self.length}"


def _lacking(copy: Copy, needed: Sequence[Stored]) -> list[_Lack]:
    """Return what a copy does not hold with the right length."""
    lengths = lengths_of(copy.store, [stored.path for stored in needed])
    found = [_Lack(stored, lengths.get(stored.path)) for stored in needed]
    return [lack for lack in found if lack.length != lack.stored.length]


def require_root(repository: Repository, manifest: Root) -> None:
    """Read a committed root back from the deciding copy. Raises ObjectCorrupt when it is not as it was written."""
    if read_root(decided(repository), manifest.cluster, manifest.label) != manifest:
        raise ObjectCorrupt(f"the root of backup {manifest.label!r} does not read back as it was written")


def abort_after(error: BaseException, repository: Repository, cluster: str, label: str) -> None:
    """Make sure that this label is never committed; what hinders that is only logged, `error` counts."""
    try:
        abort_label(repository, cluster, label, reason=f"{type(error).__name__}: {error}")
    except PgvaultError as second:
        logger.warning("backup %s could not be marked as aborted: %s", label, second)

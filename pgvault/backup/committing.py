"""The end of a backup: its root, after everything the root names was seen in the store, or an aborted record."""

from __future__ import annotations

import logging

from pgvault.errors import ObjectCorrupt, PgvaultError
from pgvault.repository import layout
from pgvault.repository.catalog import Root, abort_label, commit_manifest, read_root
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)


def commit_checked(repository: Repository, manifest: Root) -> None:
    """See every object of the backup in the store, with its length, then put the root that says so (pitfall 17).

    Raises ObjectCorrupt, ObjectExists when the label was aborted.
    """
    prefix = layout.backup(manifest.cluster, manifest.label)
    lengths = {entry.key: entry.size for entry in repository.deciding.store.list(prefix)}
    for stored in (*manifest.packs, *manifest.parts, *manifest.maps, manifest.refs):
        if lengths.get(stored.path) != stored.length:
            raise ObjectCorrupt(
                f"object {stored.path!r} should have {stored.length} bytes and has {lengths.get(stored.path)}"
            )
    commit_manifest(repository, manifest)


def require_root(repository: Repository, manifest: Root) -> None:
    """Read a committed root back. Raises ObjectCorrupt when it is not as it was written."""
    if read_root(repository, manifest.cluster, manifest.label) != manifest:
        raise ObjectCorrupt(f"the root of backup {manifest.label!r} does not read back as it was written")


def abort_after(error: BaseException, repository: Repository, cluster: str, label: str) -> None:
    """Make sure that this label is never committed; what hinders that is only logged, `error` counts."""
    try:
        abort_label(repository, cluster, label, reason=f"{type(error).__name__}: {error}")
    except PgvaultError as second:
        logger.warning("backup %s could not be marked as aborted: %s", label, second)

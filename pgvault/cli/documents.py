"""The JSON that commands print; fields are only ever added."""

from __future__ import annotations

from typing import Any

from pgvault.instants import iso
from pgvault.repository.manifest import Manifest
from pgvault.restore.windowparts import WindowRange


def backup_document(manifest: Manifest) -> dict[str, Any]:
    """One backup, as `list` and `backup` print it."""
    return {
        "label": manifest.label,
        "type": manifest.type,
        "cluster": manifest.cluster,
        "started_at": iso(manifest.started_at),
        "stopped_at": iso(manifest.stopped_at),
        "start_lsn": str(manifest.start_lsn),
        "stop_lsn": str(manifest.stop_lsn),
        "timeline": manifest.timeline,
        "size_bytes": manifest.total_bytes,
        "stored_bytes": manifest.stored_bytes,
        "page_errors": manifest.page_errors.count,
        "system_identifier": str(manifest.system_identifier),
        "postgres_major": manifest.postgres_major,
    }


def window_document(found: WindowRange) -> dict[str, Any]:
    """One run of the recovery window."""
    return {
        "timeline": found.timeline,
        "starts_at": iso(found.starts_at),
        "proven_until": iso(found.proven_until),
        "start_lsn": str(found.start_lsn),
        "end_lsn": str(found.end_lsn),
        "labels": list(found.labels),
        "has_gap_behind": found.has_gap_behind,
    }

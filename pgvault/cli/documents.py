"""The JSON that commands print, whose fields are only ever added, and the recovery window in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pgvault.cli import render
from pgvault.instants import iso
from pgvault.recovery.window import RecoveryWindow
from pgvault.recovery.windowparts import Standing, WindowGap, WindowRange
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest


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


def logical_document(manifest: LogicalManifest) -> dict[str, Any]:
    """One logical or schema backup, as `list` and `backup` print it."""
    identifier = manifest.system_identifier
    return {
        "label": manifest.label,
        "type": str(manifest.type),
        "cluster": manifest.cluster,
        "started_at": iso(manifest.started_at),
        "stopped_at": iso(manifest.stopped_at),
        "class": manifest.class_name,
        "databases": [
            {
                "oid": database.oid,
                "name": readable(database.name),
                "encoding": database.encoding,
                "snapshot_at": iso(database.snapshot_at),
                "lsn": None if database.lsn is None else str(database.lsn),
                "tables": database.table_count,
                "rows": database.row_count,
                "schema_sha256": database.schema_sha256.hex(),
            }
            for database in manifest.databases
        ],
        "tables": sum(database.table_count for database in manifest.databases),
        "rows": sum(database.row_count for database in manifest.databases),
        "has_globals": manifest.has_globals,
        "has_passwords": manifest.has_passwords,
        "loaded": manifest.is_loaded,
        "size_bytes": manifest.total_bytes,
        "stored_bytes": manifest.stored_bytes,
        "system_identifier": None if identifier is None else str(identifier),
        "postgres_major": manifest.postgres_major,
        "dump_version": manifest.dump_version,
    }


def readable(name: str) -> str:
    """A name that may be no text: what is none is spelt out, since JSON and terminals take only text."""
    return name.encode("utf-8", "backslashreplace").decode()


def window_document(found: WindowRange, system_identifier: int) -> dict[str, Any]:
    """One range of the recovery window."""
    return {
        "system_identifier": str(system_identifier),
        "timeline": found.timeline,
        "starts_at": iso(found.starts_at),
        "proven_until": iso(found.proven_until),
        "last_write_at": _iso(found.last_write_at),
        "start_lsn": str(found.start_lsn),
        "own_start_lsn": str(found.own_start_lsn),
        "end_lsn": str(found.end_lsn),
        "labels": list(found.labels),
        "branch": None if found.branch is None else {"timeline": found.branch.timeline, "lsn": str(found.branch.lsn)},
        "standing": str(found.standing),
        "is_tail": found.is_tail,
        "has_gap_behind": found.has_gap_behind,
        "has_expired_behind": found.has_expired_behind,
    }


def gap_document(gap: WindowGap, system_identifier: int) -> dict[str, Any]:
    """One gap in the recovery window."""
    return {
        "system_identifier": str(system_identifier),
        "timeline": gap.timeline,
        "start_lsn": str(gap.start_lsn),
        "end_lsn": str(gap.end_lsn),
        "segment_count": gap.segment_count,
        "before": None if gap.before is None else gap.before.name,
        "before_at": _iso(gap.before_at),
        "behind": None if gap.behind is None else gap.behind.name,
        "behind_at": _iso(gap.behind_at),
        "reachable_again_lsn": None if gap.reachable_again_lsn is None else str(gap.reachable_again_lsn),
        "cause": gap.cause,
        "noticed_at": _iso(gap.noticed_at),
    }


def window_lines(window: RecoveryWindow) -> list[str]:
    """A recovery window for people, a line each: ranges, gaps, backups that can not be restored."""
    has_expired = window.begins_at is not None and any(found.has_expired_behind for found in window.ranges)
    return [
        *([f"the window begins at {render.instant(window.begins_at)}"] if has_expired and window.begins_at else []),
        *map(_range_line, window.ranges),
        *map(gap_line, window.gaps),
        *(f"not restorable: backup {lost.label}: {lost.reason}" for lost in window.lost),
    ]


def gap_line(gap: WindowGap) -> str:
    """A gap for people."""
    segments = "1 segment" if gap.segment_count == 1 else f"{gap.segment_count} segments"
    sides = [(text, at) for text, at in (("after", gap.before_at), ("before", gap.behind_at)) if at is not None]
    times = f", written {' and '.join(f'{text} {render.instant(at)}' for text, at in sides)}" if sides else ""
    again = (
        "no backup behind it" if gap.reachable_again_lsn is None else f"restorable again from {gap.reachable_again_lsn}"
    )
    return (
        f"gap: timeline {gap.timeline}, WAL {gap.start_lsn} to {gap.end_lsn} ({segments}{times}): {gap.cause}; {again}"
    )


def _range_line(found: WindowRange) -> str:
    branch = "" if found.branch is None else f" (from timeline {found.branch.timeline} at {found.branch.lsn})"
    way = {Standing.FOLLOWED: "", Standing.CONTESTED: ", contested", Standing.LEFT: ""}[found.standing]
    if found.standing is not Standing.FOLLOWED:
        way += f", only with --timeline {found.timeline}"
    times = f"{render.instant(found.starts_at)} to at least {render.instant(found.proven_until)}"
    written = "" if found.last_write_at is None else f", last written {render.instant(found.last_write_at)}"
    tail = " with a streamed tail" if found.is_tail else ""
    gap = "; then WAL is missing" if found.has_gap_behind else ""
    gap += "; what followed has expired" if found.has_expired_behind else ""
    return f"restorable: timeline {found.timeline}{branch}{way}, {times} (WAL to {found.end_lsn}{tail}{written}{gap})"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else iso(at)

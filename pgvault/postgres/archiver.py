"""What a server says of its archiver."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgvault.postgres.connection import Connection, read_instant, read_number, read_text


@dataclass(frozen=True, slots=True)
class ArchiverStatistics:
    """What the server counts of its archive_command since the statistics were reset; it does not know the archive."""

    archived_count: int
    last_archived_name: str | None
    last_archived_at: datetime | None
    failed_count: int
    last_failed_name: str | None
    last_failed_at: datetime | None


def read_archiver_statistics(connection: Connection) -> ArchiverStatistics:
    """Return what the server counts of its archive_command."""
    archived, archived_name, archived_at, failed, failed_name, failed_at = connection.row(
        "SELECT archived_count, last_archived_wal, (extract(epoch FROM last_archived_time) * 1000000)::bigint,"
        " failed_count, last_failed_wal, (extract(epoch FROM last_failed_time) * 1000000)::bigint"
        " FROM pg_stat_archiver"
    )
    return ArchiverStatistics(
        archived_count=read_number(archived),
        last_archived_name=None if archived_name is None else read_text(archived_name),
        last_archived_at=None if archived_at is None else read_instant(archived_at),
        failed_count=read_number(failed),
        last_failed_name=None if failed_name is None else read_text(failed_name),
        last_failed_at=None if failed_at is None else read_instant(failed_at),
    )

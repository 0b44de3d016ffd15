"""Tell a new timeline that continues what is archived from a second future beside it.

    archived on timeline 1    ── 05 ── 06 ── 07            a restored copy promoted at 06 pushes its 00000002.history:
    00000002.history: 1 until 0/6000060                    06 and 07 hold bytes behind that: another future

A server that was promoted because the old one died leaves the old timeline behind everything archived on it. One
that leaves it earlier was restored to an earlier moment, or lost WAL in a failover; if its history were archived
unasked, "latest" would lead into the copy from then on. An operator may say so (`pgvault adopt`); that pushes the
history file, and an archived history is never judged again.
"""

from __future__ import annotations

from pgvault.errors import ObjectMissing, Refused
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import (
    LOG_BYTES,
    SegmentFile,
    TimelineHistoryFile,
    WalSegment,
    format_timeline,
    parse_wal_name,
)
from pgvault.repository import layout
from pgvault.repository.repository import Repository


def refuse_fork(
    repository: Repository, cluster: str, system_identifier: int, *, history: TimelineHistory, segment_size: int
) -> None:
    """Raise Refused when `history` leaves an ancestor before WAL that is archived on it.

    Ancestors count as far back as their own child is not archived: what was archived before is settled.
    """
    child = history.timeline
    for entry in reversed(history.entries):
        if child != history.timeline and is_archived(repository, cluster, system_identifier, timeline=child):
            return
        prefix = layout.wal(cluster, system_identifier)
        last = last_segment(repository, prefix, entry.timeline, since=entry.switch_lsn, segment_size=segment_size)
        if last is not None and last.end_lsn > entry.switch_lsn:
            raise Refused(
                f"timeline {child} leaves timeline {entry.timeline} at {entry.switch_lsn}, "
                f"but {last.name} is archived already: it is another future of the same cluster",
                hint="If this server replaces the old one: pgvault adopt DIR. If it is a copy: archive_mode = off.",
            )
        child = entry.timeline


def is_archived(repository: Repository, cluster: str, system_identifier: int, *, timeline: int) -> bool:
    """Tell whether the history file of `timeline` is in the repository."""
    name = TimelineHistoryFile(timeline).name
    try:
        repository.deciding.store.size(layout.wal_file(cluster, system_identifier, name))
    except ObjectMissing:
        return False
    return True


def last_segment(
    repository: Repository, prefix: str, timeline: int, *, since: Lsn, segment_size: int
) -> WalSegment | None:
    """Return the last archived segment of a timeline among the 4 GiB that hold `since` and those behind them."""
    store = repository.deciding.store
    digits = format_timeline(timeline)
    first = f"{digits}{since.value // LOG_BYTES:08X}"
    directories = [name for name in store.children(prefix) if name[:8] == digits and len(name) == 16 and name >= first]
    for directory in sorted(directories, reverse=True):
        files = [parse_wal_name(name) for name in store.children(f"{prefix}/{directory}")]
        segments = [file for file in files if isinstance(file, SegmentFile)]
        if segments:
            return max(segments).segment(segment_size)
    return None

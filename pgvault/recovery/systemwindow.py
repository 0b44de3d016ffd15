"""Read what the recovery window is made of, a system at a time: the one way for `list`, `wal list` and `status`.

Costs a listing of the WAL, the histories, the watermarks since the oldest backup, and for each end of a range or gap
one small read: the times when the segments there were written. At most MOST_READS of these, the newest first, so
that an archive full of holes is told of as fast as a whole one; where a time was not read it is None.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.pipeline.header import Kind
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.window import RecoveryWindow, recovery_window
from pgvault.repository import layout
from pgvault.repository.gaps import read_gaps
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.tails import TailInfo
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.repository.walinfo import read_first_frame, read_info
from pgvault.repository.watermark import read_watermarks

logger = logging.getLogger(__name__)

Fact = TypeVar("Fact")

MOST_READS = 64
READERS = 8  # a small read takes its round trip, so several go at a time


@dataclass(frozen=True, slots=True)
class SystemWindow:
    """What one system of a cluster can be restored to, and from which WAL files that was told."""

    system_identifier: int
    inventory: WalInventory
    window: RecoveryWindow


def read_windows(
    repository: Repository,
    cluster: str,
    backups: Sequence[Manifest],
    *,
    passed_over: Callable[[str, PgvaultError], None],
) -> tuple[SystemWindow, ...]:
    """Return the window of each system that has a backup; `passed_over` is told of histories that do not open."""
    systems = dict.fromkeys(backup.system_identifier for backup in backups)
    return tuple(
        read_window(
            repository,
            cluster,
            [backup for backup in backups if backup.system_identifier == system],
            passed_over=passed_over,
        )
        for system in systems
    )


def read_window(
    repository: Repository,
    cluster: str,
    backups: Sequence[Manifest],
    *,
    passed_over: Callable[[str, PgvaultError], None],
) -> SystemWindow:
    """Return the window of the one system that `backups`, at least one, are of."""
    system, size = backups[0].system_identifier, backups[0].wal_segment_size
    inventory = read_inventory(repository, cluster, system, segment_size=size, passed_over=passed_over)
    since = min(backup.stopped_at for backup in backups)
    marks = read_watermarks(repository, cluster, system, since=since)
    window = recovery_window(backups, inventory, marks, read_gaps(repository, cluster, system))
    times = read_times(repository, cluster, inventory, edges(window))
    return SystemWindow(system, inventory, with_times(window, times))


def edges(window: RecoveryWindow) -> tuple[WalSegment, ...]:
    """Return the segments at the ends of ranges and gaps, the newest first."""
    found = [each.last_segment for each in window.ranges]
    found += [segment for gap in window.gaps for segment in (gap.before, gap.behind) if segment is not None]
    return tuple(sorted(set(found), key=lambda segment: (segment.number, segment.timeline), reverse=True))


def with_times(window: RecoveryWindow, times: Mapping[WalSegment, datetime]) -> RecoveryWindow:
    """Return the window with the times at which its edges were last written."""
    ranges = {each: replace(each, last_write_at=times.get(each.last_segment)) for each in window.ranges}
    gaps = (
        replace(
            gap,
            before_at=None if gap.before is None else times.get(gap.before),
            behind_at=None if gap.behind is None else times.get(gap.behind),
        )
        for gap in window.gaps
    )
    ways = {way: tuple(ranges.get(each, each) for each in on_way) for way, on_way in window.ways.items()}
    return replace(window, ranges=tuple(ranges.values()), gaps=tuple(gaps), ways=ways)


def read_times(
    repository: Repository, cluster: str, inventory: WalInventory, segments: Sequence[WalSegment]
) -> dict[WalSegment, datetime]:
    """Return when the first MOST_READS of `segments` were last written, or streamed, by the archiving host's clock."""
    return read_each(segments, lambda segment: _written_at(repository, cluster, inventory, segment))


def read_each(segments: Sequence[WalSegment], read: Callable[[WalSegment], Fact]) -> dict[WalSegment, Fact]:
    """Return what `read` says of the first MOST_READS of `segments`, less those whose object does not open."""

    def attempt(segment: WalSegment) -> Fact | None:
        try:
            return read(segment)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            logger.warning("when %s was written is not known: %s", segment, error)
            return None

    wanted = segments[:MOST_READS]
    with ThreadPoolExecutor(READERS) as readers:
        found = zip(wanted, readers.map(attempt, wanted), strict=True)
        return {segment: fact for segment, fact in found if fact is not None}


def _written_at(repository: Repository, cluster: str, inventory: WalInventory, segment: WalSegment) -> datetime:
    system, spans = inventory.system_identifier, inventory.tail_spans.get(segment)
    if segment in inventory.segments or not spans:
        return read_info(repository, cluster, system, segment.name).last_write_at
    last = spans[-1]
    path = layout.tail(cluster, system, segment.name, start=last.start, end=last.end)
    return TailInfo.decode(read_first_frame(repository, path, Kind.TAIL), segment, where=path).read_at

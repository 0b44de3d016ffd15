"""Tell a new timeline that continues what is archived from a second future beside it.

    archived on timeline 1    ── 05 ── 06 ── 07            a server promoted at 06 archives its 00000002.history:
    00000002.history: 1 until 0/6000060                    06 and 07 hold bytes behind that: another future

A server that was promoted because the old one died leaves the old timeline behind everything archived on it. One that
leaves it earlier lost WAL in a failover, or was restored to an earlier moment. Its history is archived all the same: to
refuse it stops the archiver of what is likely the new primary, until its pg_wal is full. But from then on it is open
which future `latest` means. A restore refuses to guess between contested timelines (recovery/path.py), and a fork
counts as open until a backup lies on it: taking one says that the cluster goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

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

SEGMENT_DIGITS = 24


@dataclass(frozen=True, slots=True)
class Fork:
    """A timeline that leaves an ancestor before WAL that is archived on it."""

    timeline: int
    parent: int  # the timeline that was left
    switch_lsn: Lsn  # where
    last: WalSegment  # of the parent, archived, and reaching behind that

    def __str__(self) -> str:
        return (
            f"timeline {self.timeline} leaves timeline {self.parent} at {self.switch_lsn}, "
            f"but {self.last.name} is archived: they are two futures of one cluster"
        )


class Inventory(Protocol):
    """The archived WAL of one system."""

    @property
    def system_identifier(self) -> int: ...
    @property
    def segment_size(self) -> int: ...
    @property
    def segments(self) -> frozenset[WalSegment]: ...
    @property
    def histories(self) -> Mapping[int, TimelineHistory]: ...


class Backup(Protocol):
    """A committed backup."""

    @property
    def system_identifier(self) -> int: ...
    @property
    def timeline(self) -> int: ...


def forks(inventory: Inventory, backups: Iterable[Backup]) -> tuple[Fork, ...]:
    """Return the forks that no backup has settled: none lies on that timeline, or on one that came from it."""
    lasts: dict[int, WalSegment] = {}
    for segment in inventory.segments:
        lasts[segment.timeline] = max(segment, lasts.get(segment.timeline, segment))
    settled: set[int] = set()
    for timeline in {b.timeline for b in backups if b.system_identifier == inventory.system_identifier}:
        history = inventory.histories.get(timeline)
        settled |= {timeline} | {entry.timeline for entry in (history.entries if history else ())}
    found = (
        fork_of(history, is_archived=inventory.histories.__contains__, last_segment=lambda left, _: lasts.get(left))
        for timeline, history in sorted(inventory.histories.items())
        if timeline not in settled
    )
    return tuple(fork for fork in found if fork is not None and fork.timeline not in settled)


def find_fork(
    repository: Repository, cluster: str, system_identifier: int, *, history: TimelineHistory, segment_size: int
) -> Fork | None:
    """Ask the repository, by a few listings, where a timeline leaves an ancestor too early."""

    def is_archived(timeline: int) -> bool:
        name = TimelineHistoryFile(timeline).name
        return repository.deciding.has(layout.wal_file(cluster, system_identifier, name))

    def last(timeline: int, since: Lsn) -> WalSegment | None:
        prefix = layout.wal(cluster, system_identifier)
        return last_segment(repository, prefix, timeline, since=since, segment_size=segment_size)

    return fork_of(history, is_archived=is_archived, last_segment=last)


def fork_of(
    history: TimelineHistory,
    *,
    is_archived: Callable[[int], bool],
    last_segment: Callable[[int, Lsn], WalSegment | None],
) -> Fork | None:
    """Return where `history` leaves an ancestor before WAL archived on it; the nearest ancestor if there are several.

    Ancestors count as far back as their own child's history is not archived: that was judged for itself.
    `last_segment` returns the last archived one of a timeline, if it lies behind an LSN; it may return earlier ones.
    """
    child = history.timeline
    for entry in reversed(history.entries):
        if child != history.timeline and is_archived(child):
            return None
        last = last_segment(entry.timeline, entry.switch_lsn)
        if last is not None and last.end_lsn > entry.switch_lsn:
            return Fork(child, entry.timeline, entry.switch_lsn, last)
        child = entry.timeline
    return None


def last_segment(
    repository: Repository, prefix: str, timeline: int, *, since: Lsn, segment_size: int
) -> WalSegment | None:
    """Return the last archived segment of a timeline among the 4 GiB that hold `since` and those behind them."""
    store = repository.deciding.store
    digits = format_timeline(timeline)
    first = f"{digits}{since.value // LOG_BYTES:08X}"
    directories = [name for name in store.children(prefix) if name[:8] == digits and len(name) == 16 and name >= first]
    for directory in sorted(directories, reverse=True):
        names = store.children(f"{prefix}/{directory}")
        files = [parse_wal_name(name) for name in names if len(name) == SEGMENT_DIGITS]  # not what else lies there
        segments = [file for file in files if isinstance(file, SegmentFile)]
        if segments:
            return max(segments).segment(segment_size)
    return None

"""What the repository holds of a server's WAL, as far as streaming must know it.

Names from the store, roots of backups, gap records. Kept while the process runs: when the server comes back while the
store is away, streaming goes on from what was known and what was archived since.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from pgvault.errors import PgvaultError, StoreUnreachable, UsageError
from pgvault.instants import Clock
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.walname import LOG_BYTES, SegmentFile, WalSegment, parse_timeline, parse_wal_name
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog
from pgvault.repository.gaps import GapRecord, put_gap, read_gaps
from pgvault.repository.repository import Repository, require_unchanged
from pgvault.repository.tails import covered_to, list_tails
from pgvault.wal.push import push_wal
from pgvault.wal.streaming.source import Source
from pgvault.wal.streaming.start import Hole, Kept, SpoolFile, StartFacts
from pgvault.wal.tail import TailWriter
from pgvault.wal.walfile import WalOwner

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What is archived of one system."""

    system_identifier: int
    segments: frozenset[WalSegment]
    backups: tuple[Kept, ...]
    holes: tuple[Hole, ...]

    def facts(self, source: Source, spool: Iterable[SpoolFile]) -> StartFacts:
        """Return what the beginning depends on."""
        return StartFacts(
            history=source.history,
            current_lsn=source.current_lsn,
            reserved_lsn=source.reserved_lsn,
            segment_size=source.segment_size,
            archived=self.segments,
            spool=tuple(spool),
            backups=self.backups,
            holes=self.holes,
        )


class Ranges:
    """A growing set of segments, small as long as they are contiguous: a stream archives millions of them."""

    def __init__(self) -> None:
        self._stops: dict[WalSegment, WalSegment] = {}  # first of a range → behind its last
        self._starts: dict[WalSegment, WalSegment] = {}  # the other way round

    def add(self, segment: WalSegment) -> None:
        """Add a segment; once is enough."""
        if any(start <= segment < stop for start, stop in self._stops.items()):
            return
        start = self._starts.pop(segment, segment)
        stop = self._stops.pop(segment.next(), segment.next())
        self._stops[start], self._starts[stop] = stop, start

    def __iter__(self) -> Iterator[WalSegment]:
        for start, stop in self._stops.items():
            segment = start
            while segment != stop:
                yield segment
                segment = segment.next()

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._stops)


class ArchiveView:
    """Looks into the repository, and remembers."""

    def __init__(self, repository: Repository, cluster: str, *, clock: Clock) -> None:
        self._repository = repository
        self._cluster = cluster
        self._clock = clock
        self._known: Known | None = None
        self._noted = Ranges()  # archived by us since that was read
        self._lock = Lock()

    def note(self, segment: WalSegment) -> None:
        """Remember that a segment has been archived. For any thread."""
        with self._lock:
            self._noted.add(segment)

    def look(self, source: Source) -> Known:
        """Return what is archived; from memory, with what was archived since, while the store does not answer.

        Raises StoreUnreachable when nothing of this system is known yet.
        """
        before = self._known
        with self._lock:
            archived_since, self._noted = self._noted, Ranges()
        try:
            self._known = self._read(source)
        except StoreUnreachable as error:
            if before is None or before.system_identifier != source.system_identifier:
                raise
            logger.debug("streaming goes on from what was known: %s", error)
            self._known = replace(before, segments=before.segments | set(archived_since))
        return self._known

    def record(self, source: Source, hole: Hole, *, cause: str) -> GapRecord:
        """Put a gap record for a hole, less what streamed tails cover of its first segment."""
        first = WalSegment(hole.timeline, hole.start_lsn.value // source.segment_size, source.segment_size)
        tails = list_tails(self._repository, self._cluster, source.system_identifier, first)
        start_lsn = min(first.start_lsn + covered_to(tails), hole.end_lsn + -1)
        gap = GapRecord(source.system_identifier, hole.timeline, start_lsn, hole.end_lsn, cause, self._clock.now())
        put_gap(self._repository, self._cluster, gap)
        return gap

    def open_gaps(self, system_identifier: int) -> tuple[GapRecord, ...]:
        """Return the recorded gaps behind which no backup has begun: the recovery window has not healed there.

        Behind is: later on the same timeline, or on a later timeline, which either left before the gap or came after.
        """
        gaps = read_gaps(self._repository, self._cluster, system_identifier)
        starts = [(b.timeline, b.start_lsn) for b in self._backups(system_identifier)] if gaps else []
        return tuple(gap for gap in gaps if not any(start >= (gap.timeline, gap.end_lsn) for start in starts))

    def _read(self, source: Source) -> Known:
        system = source.system_identifier
        backups = self._backups(system)
        gaps = read_gaps(self._repository, self._cluster, system)
        holes = tuple(Hole(gap.timeline, gap.start_lsn, gap.end_lsn) for gap in gaps)
        on_path = [b.start_lsn.value for b in backups if source.history.holds_timeline(b.timeline)]
        segments = frozenset(self._segments(source, source.history, since=max(on_path, default=0)))
        return Known(system, segments, backups, holes)

    def _backups(self, system_identifier: int) -> tuple[Kept, ...]:
        backups = read_catalog(self._repository, self._cluster).backups
        return tuple(
            Kept(b.timeline, b.start_lsn, b.stop_lsn) for b in backups if b.system_identifier == system_identifier
        )

    def _segments(self, source: Source, history: TimelineHistory, *, since: int) -> Iterable[WalSegment]:
        """List the segments of the timelines that lead here, directory by directory of 4 GiB each."""
        store = self._repository.deciding.store
        prefix = layout.wal(self._cluster, source.system_identifier)
        for directory in store.children(prefix):
            try:
                timeline, log = parse_timeline(directory[:8]), int(directory[8:], 16)
            except (PgvaultError, ValueError):
                continue  # history files
            if len(directory) != 16 or not history.holds_timeline(timeline) or log < since // LOG_BYTES:
                continue
            for name in store.children(f"{prefix}/{directory}"):
                try:
                    file = parse_wal_name(name)
                except UsageError:
                    continue  # tails
                if isinstance(file, SegmentFile):
                    yield file.segment(source.segment_size)


@dataclass(frozen=True, slots=True)
class Outlet:
    """Stores finished segments, once it is sure that this is still the repository that was opened.

    Before: nothing goes into the directory under a disk that is not mounted, or into another repository that our key
    does not open. And after: only then may the spool let the segment go.
    """

    repository: Repository
    cluster: str
    owner: WalOwner
    clock: Clock

    def push(self, path: Path) -> None:
        """Archive a segment or a history file."""
        require_unchanged(self.repository)
        push_wal(self.repository, self.cluster, path, clock=self.clock, owner=self.owner)
        require_unchanged(self.repository)


@dataclass(slots=True)
class TailOutlet:
    """Stores tails where it is sure of the same; an idle server's .partial does not change, and asks nothing."""

    repository: Repository
    writer: TailWriter
    _changed_at: dict[WalSegment, int] = field(default_factory=dict)  # st_mtime_ns

    def store(self, partial: Path, segment: WalSegment) -> object:
        """Store what is new in a .partial; return None where nothing is."""
        changed_at = partial.stat().st_mtime_ns
        if self._changed_at.get(segment) != changed_at:
            self._changed_at.clear()
            require_unchanged(self.repository)
        stored = self.writer.store(partial, segment)
        self._changed_at[segment] = changed_at
        return stored

    def forget(self, segment: WalSegment) -> None:
        """Remove a segment's tails: it is durable as a whole."""
        self.writer.forget(segment)

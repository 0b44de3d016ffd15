"""Read from the repository what a cluster's status rests on; nothing else is asked, and nothing local.

The system is the server's; where that does not answer, the newest backup's. Timelines likewise: WAL that lies beside
the way to the server's own timeline protects nothing that the server writes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.monitor.logicalstatus import LogicalFact, facts_of
from pgvault.monitor.walfacts import (
    HOUR,
    BackupFact,
    GapFact,
    RepositoryFacts,
    StoredEnd,
    TimedPosition,
)
from pgvault.pipeline.header import Kind
from pgvault.postgres.walname import TimelineHistoryFile, WalSegment
from pgvault.postgres.walstate import QuietPoint, WalState
from pgvault.recovery.path import RecoveryPath, find_path
from pgvault.recovery.stretches import Stretch, find_runs, find_stretches, stretch_with
from pgvault.recovery.window import RecoveryWindow, recovery_window
from pgvault.recovery.windowparts import WindowGap
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog
from pgvault.repository.gaps import read_gaps
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.systems import known_systems
from pgvault.repository.tails import TailInfo, chain, list_tails
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.repository.walinfo import read_first_frame, read_info
from pgvault.repository.walobjects import WalInfo
from pgvault.repository.watermark import StoredWatermark, read_watermarks
from pgvault.restore.adopt import find_unprotected
from pgvault.wal.fork import Fork, forks

RECENT = timedelta(hours=3)  # watermarks before that tell nothing that the rest does not
TRIES = 3
UNREADABLE = (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey)


def read_held(repository: Repository, cluster: str, server: WalState | None, *, now: datetime) -> RepositoryFacts:
    """Read what is held of the server's system, or of the newest backup's. Raises what reading a store raises."""
    catalog = read_catalog(repository, cluster)
    known = known_systems(repository, cluster)
    unreadable = [f"backup {entry.label} ({entry.error})" for entry in catalog.unreadable]
    newest = max(catalog.backups, key=lambda backup: backup.stopped_at, default=None)
    if server is not None:
        system, segment_size = server.system_identifier, server.segment_size
    elif newest is not None:
        system, segment_size = newest.system_identifier, newest.wal_segment_size
    else:
        return _nothing(tuple(unreadable), facts_of(catalog))
    inventory = read_inventory(
        repository,
        cluster,
        system,
        segment_size=segment_size,
        passed_over=lambda name, error: unreadable.append(f"{name} ({error})"),
    )
    backups = [backup for backup in catalog.backups if backup.system_identifier == system]
    marks = read_watermarks(repository, cluster, system, since=now - RECENT)
    window = recovery_window(backups, inventory, marks, read_gaps(repository, cluster, system))
    timeline = server.timeline if server is not None else _likeliest(window, backups)
    search = _Search(repository, cluster, inventory, backups)
    path = _path(inventory, timeline)
    end = None if path is None else search.stored_end(path)
    found = forks(inventory, backups)
    is_primary = server is not None and not server.is_standby
    strays = tuple(fork for fork in found if is_primary and path is not None and search.is_left_behind(fork, path))
    open_forks = tuple(fork for fork in found if fork not in strays)
    lost = {each.label: each.reason for each in window.lost}
    return RepositoryFacts(
        backups=tuple(_fact(b, is_whole=b.label not in lost) for b in backups),
        unreadable=tuple(unreadable),
        lost=tuple(f"{label}: {reason}" for label, reason in lost.items()),
        is_system_known=system in known or not known,
        unprotected=find_unprotected(catalog, known, inventory, timeline=None if server is None else timeline),
        forks=_futures(open_forks, strays, window),
        timeline=timeline,
        is_timeline_known=path is not None,
        end=end,
        names=_names(inventory),
        gaps=() if path is None else tuple(_gaps_on(path, window.gaps)),
        positions=() if path is None else tuple(search.positions(path, end, marks, since=now - HOUR)),
        quiet=() if path is None else tuple(_quiet(path, marks)),
        begins_at=window.begins_at,
        has_expired=any(found.has_expired_behind for found in window.ranges),
        strays=tuple(map(str, strays)),
        logical=facts_of(catalog),
    )


def _fact(backup: Manifest, *, is_whole: bool) -> BackupFact:
    return BackupFact(backup.label, backup.stopped_at, backup.page_errors.count, is_whole, backup.started_at)


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks along one system's archived WAL."""

    repository: Repository
    cluster: str
    inventory: WalInventory
    backups: Sequence[Manifest]

    def stretch(self, path: RecoveryPath) -> Stretch | None:
        """The stretch that the newest backup lies in, else the last one: what recovery would read to its end."""
        runs = find_runs(self.inventory.segments)
        stretches = find_stretches(path, runs, tails=self.inventory.tails)
        held = [backup for backup in self.backups if path.holds(backup)]
        newest = max(held, key=lambda backup: backup.stop_lsn, default=None)
        found = None
        if newest is not None:
            found = stretch_with(stretches, newest.start_lsn.value // path.segment_size)
        return found or (stretches[-1] if stretches else None)

    def stored_end(self, path: RecoveryPath) -> StoredEnd | None:
        """How far WAL is stored, and what the last of it says of itself."""
        stretch = self.stretch(path)
        if stretch is None:
            return None
        segment = path.segment(stretch.last_number)
        try:
            for _ in range(TRIES if stretch.has_tail else 0):
                # Tails are merged, and go when the segment is in: between our listing and our reading, too.
                try:
                    tail = self.tail(segment)
                    return StoredEnd(segment, stretch.end_lsn, True, tail.server_at or tail.read_at, tail.read_at)
                except ObjectMissing:
                    continue
            info = self.info(segment.name)
        except UNREADABLE as error:
            return StoredEnd(segment, stretch.end_lsn, stretch.has_tail, None, None, error)
        return StoredEnd(segment, segment.end_lsn, False, info.last_write_at, info.pushed_at)

    def positions(
        self, path: RecoveryPath, end: StoredEnd | None, marks: Sequence[StoredWatermark], *, since: datetime
    ) -> Iterator[TimedPosition]:
        """What is known of when WAL stood where, on a path."""
        if end is not None and end.written_at is not None:
            yield TimedPosition(end.end_lsn, end.written_at)
        for mark in marks:
            if path.timeline_of(mark.lsn) == mark.timeline:
                yield TimedPosition(mark.lsn, mark.server_at)
        for backup in self.backups:
            if path.holds(backup) and not backup.is_from_standby:
                yield TimedPosition(backup.stop_lsn, backup.stopped_at)
        stretch = self.stretch(path)
        if stretch is not None:
            yield from self._written_before(path, stretch, since)

    def _written_before(self, path: RecoveryPath, stretch: Stretch, at: datetime) -> Iterator[TimedPosition]:
        """The last segment that was written before a moment, else the first of all; by a few small reads."""
        numbers = range(stretch.first, stretch.last + 1)
        try:
            behind = bisect_right(numbers, at, key=lambda number: self.info(path.segment(number).name).last_write_at)
            if numbers:
                segment = path.segment(numbers[max(behind - 1, 0)])
                yield TimedPosition(segment.end_lsn, self.info(segment.name).last_write_at)
        except UNREADABLE:
            return  # which segment does not open, verify says; a pace is not worth a failing status

    def is_left_behind(self, fork: Fork, path: RecoveryPath) -> bool:
        """Tell whether a backup on this way, behind the fork, was taken since the other timeline appeared.

        One from before does not tell: the failover that made that timeline may have been what lost it.
        """
        if path.history.holds_timeline(fork.timeline):
            return False
        try:
            appeared_at = self.info(TimelineHistoryFile(fork.timeline).name).pushed_at
        except UNREADABLE:
            return False
        behind = [b for b in self.backups if path.holds(b) and b.stop_lsn > fork.switch_lsn]
        return any(backup.started_at > appeared_at for backup in behind)

    def info(self, name: str) -> WalInfo:
        """What a stored file says of itself."""
        return read_info(self.repository, self.cluster, self.inventory.system_identifier, name)

    def tail(self, segment: WalSegment) -> TailInfo:
        """What the last of a segment's tails says of itself. Raises ObjectMissing when they went meanwhile."""
        system = self.inventory.system_identifier
        links = chain(list_tails(self.repository, self.cluster, system, segment))
        if not links:
            raise ObjectMissing(f"the tails of {segment} are there no more")
        path = layout.tail(self.cluster, system, segment.name, start=links[-1].start, end=links[-1].end)
        return TailInfo.decode(read_first_frame(self.repository, path, Kind.TAIL), segment, where=path)


def _nothing(unreadable: tuple[str, ...], logical: tuple[LogicalFact, ...]) -> RepositoryFacts:
    """No server answers and there is no backup: nothing says which WAL to look at."""
    return RepositoryFacts(
        backups=(),
        unreadable=unreadable,
        lost=(),
        is_system_known=True,
        unprotected=None,
        forks=(),
        timeline=None,
        is_timeline_known=False,
        end=None,
        names=frozenset(),
        gaps=(),
        positions=(),
        quiet=(),
        logical=logical,
    )


def _likeliest(window: RecoveryWindow, backups: Sequence[Manifest]) -> int:
    """The timeline that the story goes on with, as far as the repository tells."""
    return window.leading[0] if window.leading else max(backups, key=lambda backup: backup.stopped_at).timeline


def _path(inventory: WalInventory, timeline: int) -> RecoveryPath | None:
    try:
        return find_path(timeline, inventory)
    except PgvaultError:
        return None


def _futures(found: Sequence[Fork], strays: Sequence[Fork], window: RecoveryWindow) -> tuple[str, ...]:
    """Several futures are archived, and no backup says yet which one the cluster goes on in."""
    if found or strays or len(window.leading) <= 1:
        return tuple(map(str, found))
    return (f"timelines {', '.join(map(str, window.leading))} all go on, and no backup tells which is production's",)


def _names(inventory: WalInventory) -> frozenset[str]:
    histories = {TimelineHistoryFile(timeline).name for timeline in (*inventory.histories, *inventory.unreadable)}
    return frozenset({segment.name for segment in inventory.segments} | histories)


def _gaps_on(path: RecoveryPath, gaps: Sequence[WindowGap]) -> Iterator[GapFact]:
    """The gaps on the way to a timeline; those beside it lead nowhere that the server is."""
    for gap in gaps:
        if not path.history.holds_timeline(gap.timeline):
            continue
        left_at = path.history.end_of(gap.timeline)
        if left_at is None or gap.start_lsn < left_at:
            yield GapFact(
                timeline=gap.timeline,
                start_lsn=gap.start_lsn,
                end_lsn=gap.end_lsn,
                first_name=path.segment(gap.start_lsn.value // path.segment_size).name,
                segment_count=gap.segment_count,
                cause=gap.cause,
                is_recorded=gap.noticed_at is not None,
                is_healed=gap.reachable_again_lsn is not None,
            )


def _quiet(path: RecoveryPath, marks: Sequence[StoredWatermark]) -> Iterator[QuietPoint]:
    for mark in marks:
        if mark.is_idle and mark.next_xid is not None and path.timeline_of(mark.lsn) == mark.timeline:
            yield QuietPoint(mark.lsn, mark.next_xid)

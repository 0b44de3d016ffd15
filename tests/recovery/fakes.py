"""An archive made up in memory: segments, records at chosen positions, histories, backups, watermarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pgvault.errors import ObjectCorrupt, PgvaultError
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.waldump import Changes
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.covered import CoveredWal, RememberingReader
from pgvault.recovery.facts import RestoreFacts, RestorePoint, Transaction
from pgvault.recovery.path import RecoveryPath, cover
from pgvault.recovery.proofs import Proof
from pgvault.repository.tails import Span

SIZE = 16 * MIB
START = datetime(2025, 10, 25, 8, 0, tzinfo=UTC)
SYSTEM = 7400000000000000001


def minute(count: float) -> datetime:
    """So many minutes after START."""
    return START + timedelta(minutes=count)


def lsn_in(number: int, offset: int = 0) -> Lsn:
    """A position in segment `number`."""
    return Lsn(number * SIZE + offset)


@dataclass(frozen=True, slots=True)
class Record:
    """A commit or abort record."""

    lsn: Lsn
    xid: int
    at: datetime
    is_commit: bool = True
    timeline: int = 1


@dataclass(frozen=True, slots=True)
class FakeBackup:
    """The fields of a manifest that planning reads."""

    label: str
    start_lsn: Lsn
    stop_lsn: Lsn
    stopped_at: datetime
    timeline: int = 1
    system_identifier: int = SYSTEM
    time_zone: str = "UTC"
    log_time_zone: str = "UTC"
    stored_bytes: int = 1000
    total_bytes: int = 3000
    is_from_standby: bool = False


@dataclass(frozen=True, slots=True)
class FakeInventory:
    """The fields of a WAL inventory."""

    segments: frozenset[WalSegment]
    histories: Mapping[int, TimelineHistory]
    segment_size: int = SIZE
    system_identifier: int = SYSTEM
    unreadable: Mapping[int, PgvaultError] = field(default_factory=dict)
    tails: Mapping[WalSegment, Lsn] = field(default_factory=dict)

    @property
    def tail_spans(self) -> Mapping[WalSegment, tuple[Span, ...]]:
        return {segment: (Span(0, end - segment.start_lsn),) for segment, end in self.tails.items()}


@dataclass(frozen=True, slots=True)
class FakeWatermark:
    """The fields of a stored watermark."""

    server_at: datetime
    lsn: Lsn
    timeline: int = 1
    is_idle: bool = True
    next_xid: int | None = None


@dataclass(slots=True)
class Archive:
    """Everything that is archived, and a reader of it that counts."""

    segments: set[WalSegment] = field(default_factory=set)
    all: list[Record] = field(default_factory=list)
    points: list[RestorePoint] = field(default_factory=list)
    histories: dict[int, TimelineHistory] = field(default_factory=dict)
    backups: list[FakeBackup] = field(default_factory=list)
    watermarks: list[FakeWatermark] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    unreadable: dict[int, PgvaultError] = field(default_factory=dict)
    tails: dict[WalSegment, Lsn] = field(default_factory=dict)
    damaged: set[WalSegment] = field(default_factory=set)
    proofs: list[Proof] = field(default_factory=list)
    changed: dict[Lsn, Changes] = field(default_factory=dict)  # by where the transaction ends
    starts: list[Lsn] | None = (
        None  # of all records, where a test says; None: the known ones and one at the end of every segment
    )

    def add_segment(self, timeline: int, *numbers: int) -> None:
        self.segments |= {WalSegment(timeline, number, SIZE) for number in numbers}

    def add(self, *records: Record) -> None:
        self.all += records

    def add_history(self, timeline: int, *entries: tuple[int, Lsn]) -> None:
        made = tuple(HistoryEntry(parent, switch, "no recovery target specified") for parent, switch in entries)
        self.histories[timeline] = TimelineHistory(timeline, made)

    @property
    def facts(self) -> RestoreFacts:
        inventory = FakeInventory(
            frozenset(self.segments), self.histories, unreadable=self.unreadable, tails=self.tails
        )
        return RestoreFacts(self.backups, inventory, self.watermarks, self, proofs=self.proofs)

    def transactions_in_order(self) -> Sequence[Transaction]:
        return sorted(self.all, key=lambda record: record.lsn)

    # The reader.

    def transactions(self, segment: WalSegment, following: WalSegment | None) -> Sequence[Transaction]:
        self.reads.append(segment.name)
        self._open(segment)
        return self._of(segment)

    def restore_points(self, segment: WalSegment, following: WalSegment | None) -> Sequence[RestorePoint]:
        self.reads.append(segment.name)
        return [point for point in self.points if segment.holds(point.lsn)]

    def last_record(self, segments: Sequence[WalSegment]) -> Lsn | None:
        """Every segment ends with some record that is no transaction's."""
        self._open(segments[0])
        return self._end(segments[0]) + -32

    def first_record(self, segments: Sequence[WalSegment], lsn: Lsn) -> tuple[Lsn, Lsn] | None:
        self._open(segments[0])
        starts = self.starts
        if starts is None:
            known = [record.lsn for record in self.all] + [point.lsn for point in self.points]
            starts = sorted([*known, *(self._end(segment) + -32 for segment in segments)])
        found = [start for start in starts if lsn <= start < self._end(segments[-1])]
        return (found[0], (found[1:] or [segments[-1].end_lsn])[0]) if found else None

    def changes(self, segments: Sequence[WalSegment], ended_by: Lsn) -> Changes:
        """What was said of the transaction, while a segment that it wrote to is looked at."""
        self.reads += [segment.name for segment in segments]
        for segment in segments:
            self._open(segment)
        return self.changed.get(ended_by, Changes(frozenset(), frozenset()))

    def _end(self, segment: WalSegment) -> Lsn:
        return self.tails.get(segment, segment.end_lsn)

    def _open(self, segment: WalSegment) -> None:
        if segment in self.damaged:
            raise ObjectCorrupt(f"WAL segment {segment.name!r} is damaged")

    def _of(self, segment: WalSegment) -> list[Record]:
        # A segment in which a timeline begins holds a copy of what its parent wrote before.
        lineage = {segment.timeline, *self.histories.get(segment.timeline, TimelineHistory(1)).ancestors}
        known = [record for record in self.all if record.timeline in lineage]
        found = [record for record in known if segment.start_lsn <= record.lsn < self._end(segment)]
        return sorted(found, key=lambda record: record.lsn)


def wal_of(archive: Archive, *, start: Lsn | None = None) -> CoveredWal:
    """All WAL of timeline 1 from `start`, else from the first segment on."""
    first = min((segment.start_lsn for segment in archive.segments), default=Lsn(SIZE))
    begin = start or first
    path = RecoveryPath(TimelineHistory(1), SIZE)
    return CoveredWal(cover(path, begin, archived=frozenset(archive.segments)), begin, RememberingReader(archive))

"""Records of the covered WAL: what recovery from one backup would read, one segment at a time.

Positions are indexes into `coverage.segments`. Records before the backup's start are left out: the first
segment holds some that recovery never sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pgvault.postgres.lsn import Lsn
from pgvault.postgres.waldump import Changes
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.facts import RestorePoint, Transaction, WalReader
from pgvault.recovery.path import Coverage


@dataclass(frozen=True, slots=True)
class RememberingReader:
    """Reads every segment at most once; a few commits are small, a download is not."""

    reader: WalReader
    _transactions: dict[WalSegment, Sequence[Transaction]] = field(default_factory=dict, repr=False)
    _restore_points: dict[WalSegment, Sequence[RestorePoint]] = field(default_factory=dict, repr=False)
    _last_records: dict[WalSegment, Lsn | None] = field(default_factory=dict, repr=False)
    _first_records: dict[tuple[WalSegment, Lsn], tuple[Lsn, Lsn] | None] = field(default_factory=dict, repr=False)

    def transactions(self, segment: WalSegment, following: WalSegment | None) -> Sequence[Transaction]:
        """See WalReader."""
        if segment not in self._transactions:
            self._transactions[segment] = self.reader.transactions(segment, following)
        return self._transactions[segment]

    def restore_points(self, segment: WalSegment, following: WalSegment | None) -> Sequence[RestorePoint]:
        """See WalReader."""
        if segment not in self._restore_points:
            self._restore_points[segment] = self.reader.restore_points(segment, following)
        return self._restore_points[segment]

    def last_record(self, segments: Sequence[WalSegment]) -> Lsn | None:
        """See WalReader."""
        if segments[0] not in self._last_records:
            self._last_records[segments[0]] = self.reader.last_record(segments)
        return self._last_records[segments[0]]

    def first_record(self, segments: Sequence[WalSegment], lsn: Lsn) -> tuple[Lsn, Lsn] | None:
        """See WalReader."""
        if (segments[0], lsn) not in self._first_records:
            self._first_records[segments[0], lsn] = self.reader.first_record(segments, lsn)
        return self._first_records[segments[0], lsn]

    def changes(self, segments: Sequence[WalSegment], ended_by: Lsn) -> Changes:
        """See WalReader. Asked once."""
        return self.reader.changes(segments, ended_by)


@dataclass(frozen=True, slots=True)
class CoveredWal:
    """The WAL that recovery from one backup would read, in order."""

    coverage: Coverage
    start_lsn: Lsn  # of the backup
    reader: WalReader

    @property
    def segments(self) -> tuple[WalSegment, ...]:
        """The covered segments."""
        return self.coverage.segments

    def index(self, lsn: Lsn) -> int:
        """The position of the segment that holds `lsn`; behind the last one when it is not covered."""
        if not self.segments or lsn >= self.coverage.end_lsn:
            return len(self.segments)
        return lsn.value // self.coverage.missing.size - self.segments[0].number

    def transactions(self, index: int) -> Sequence[Transaction]:
        """The commit and abort records that start in a segment, in LSN order."""
        records = self.reader.transactions(self.segments[index], self._following(index))
        return [record for record in records if record.lsn >= self.start_lsn]

    def restore_points(self, index: int) -> Sequence[RestorePoint]:
        """The restore points whose records start in a segment, in LSN order."""
        points = self.reader.restore_points(self.segments[index], self._following(index))
        return [point for point in points if point.lsn >= self.start_lsn]

    def all_transactions(self) -> Iterator[Transaction]:
        """Yield every transaction, first to last; reads every segment on the way."""
        for index in range(len(self.segments)):
            yield from self.transactions(index)

    def all_restore_points(self) -> Iterator[RestorePoint]:
        """Yield every restore point, first to last; reads every segment on the way."""
        for index in range(len(self.segments)):
            yield from self.restore_points(index)

    def transactions_before(self, index: int, position: int = 0) -> Iterator[Transaction]:
        """Yield the transactions before record `position` of segment `index`, latest first."""
        if position:
            yield from reversed(self.transactions(index)[:position])
        for before in reversed(range(index)):
            yield from reversed(self.transactions(before))

    def last_record(self, index: int) -> Lsn | None:
        """Where the last whole record that starts in a segment starts; None where none does."""
        lsn = self.reader.last_record(self.segments[index:])
        return lsn if lsn is not None and lsn >= self.start_lsn else None

    def record_at(self, lsn: Lsn) -> tuple[Lsn, Lsn] | None:
        """Where the first whole record at or behind `lsn` starts, and a position close behind its end."""
        segments = self.segments[self.index(lsn) :]
        return self.reader.first_record(segments, lsn) if segments else None

    def end_of_records(self) -> Lsn | None:
        """Where the last whole record starts; the last segment may hold nothing but a part of a long one."""
        found = (self.last_record(index) for index in reversed(range(len(self.segments))))
        return next((lsn for lsn in found if lsn is not None), None)

    def _following(self, index: int) -> WalSegment | None:
        return self.segments[index + 1] if index + 1 < len(self.segments) else None

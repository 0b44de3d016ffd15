"""Runs of WAL segments: how plans say which segments they mean, without naming each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgvault.errors import UsageError
from pgvault.postgres.walname import WalSegment


@dataclass(frozen=True, slots=True)
class SegmentRange:
    """Segments of one timeline without a gap."""

    first: WalSegment
    last: WalSegment  # included

    def __post_init__(self) -> None:
        same = (self.first.timeline, self.first.size) == (self.last.timeline, self.last.size)
        if not same or self.last.number < self.first.number:
            raise UsageError(f"{self.first} to {self.last} is no range of WAL segments")

    def __len__(self) -> int:
        return self.last.number - self.first.number + 1

    def __contains__(self, segment: WalSegment) -> bool:
        return segment.timeline == self.first.timeline and self.first.number <= segment.number <= self.last.number

    def __str__(self) -> str:
        return self.first.name if self.first == self.last else f"{self.first}..{self.last}"


def make_ranges(segments: Iterable[WalSegment]) -> tuple[SegmentRange, ...]:
    """Return the fewest ranges that hold exactly `segments`, in order of timeline and number: that of recovery."""
    ranges: list[SegmentRange] = []
    for segment in sorted(set(segments)):
        if ranges and ranges[-1].last.next() == segment:
            ranges[-1] = SegmentRange(ranges[-1].first, segment)
        else:
            ranges.append(SegmentRange(segment, segment))
    return tuple(ranges)

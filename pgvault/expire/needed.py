"""Which numbers of segments are needed, timeline by timeline: runs, the last of which may have no end.

way to timeline 2, from segment 3 on:     1: 3–4    2: 5–        (2 left 1 inside segment 5: recovery takes 2/5)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from pgvault.postgres.walname import WalSegment
from pgvault.recovery.path import RecoveryPath

ENDLESS = 2**64  # above every segment number


@dataclass(frozen=True, order=True, slots=True)
class Numbers:
    """Segments of one timeline."""

    timeline: int
    first: int
    last: int  # included


@dataclass(frozen=True, slots=True)
class Needed:
    """A set of segments; whether they exist does not matter."""

    runs: Mapping[int, tuple[Numbers, ...]]  # by timeline, in order, apart from each other

    @classmethod
    def of(cls, numbers: Iterable[Numbers]) -> Needed:
        """Return all of `numbers` together."""
        runs: dict[int, list[Numbers]] = {}
        for each in sorted(numbers):
            known = runs.setdefault(each.timeline, [])
            if known and each.first <= known[-1].last + 1:
                known[-1] = Numbers(each.timeline, known[-1].first, max(known[-1].last, each.last))
            else:
                known.append(each)
        return cls({timeline: tuple(found) for timeline, found in runs.items()})

    def holds(self, segment: WalSegment) -> bool:
        """Tell whether a segment is needed."""
        runs = self.runs.get(segment.timeline, ())
        index = bisect_right(runs, segment.number, key=lambda run: run.first) - 1
        return index >= 0 and segment.number <= runs[index].last

    def __or__(self, other: Needed) -> Needed:
        return Needed.of(chain(*self.runs.values(), *other.runs.values()))


NOTHING = Needed({})


def on_way(path: RecoveryPath, first: int, last: int = ENDLESS) -> Iterator[Numbers]:
    """Yield the segments that recovery takes on a way, from number `first` to `last`, both included."""
    low = first
    for entry in path.history.entries:
        end = entry.switch_lsn.value // path.segment_size  # the segment of a switch is the newer timeline's
        if low < end and low <= last:
            yield Numbers(entry.timeline, low, min(end - 1, last))
        low = max(low, end)
    if low <= last:
        yield Numbers(path.timeline, low, last)

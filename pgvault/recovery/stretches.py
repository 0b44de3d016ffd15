"""Stretches: archived segments without a hole, on the way to one timeline; each walked once, for all backups.

    timeline 1   ── 3 ── 4 ── 5 ┐                runs of timeline 1: 3–5; of timeline 2: 5–6 and 8
    timeline 2                  └ 5 ── 6    8    stretches on the way to timeline 2: 3–6 (1/3, 1/4, 2/5, 2/6) and 8

A stretch ends at the first byte that is not archived. Behind its last whole segment a streamed tail may reach a
little further; nothing behind a tail counts, even where the tail reaches its segment's end. `cover` in path.py gives
the same answer for one backup, segment by segment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.path import RecoveryPath


@dataclass(frozen=True, slots=True)
class Run:
    """Numbers of segments of one timeline without a hole."""

    first: int
    last: int  # included


@dataclass(frozen=True, slots=True)
class Stretch:
    """Archived WAL of one way without a hole."""

    first: int  # number of the segment it begins with
    last: int  # of its last whole segment; first - 1 where there is but a tail
    end_lsn: Lsn  # first byte that is not archived
    has_tail: bool  # its end is that of a streamed tail of segment last + 1

    @property
    def last_number(self) -> int:
        """The number of the last segment of which it holds bytes."""
        return self.last + 1 if self.has_tail else self.last

    def holds(self, number: int) -> bool:
        """Tell whether it holds bytes of that segment."""
        return self.first <= number <= self.last_number


def find_runs(segments: Iterable[WalSegment]) -> Mapping[int, Sequence[Run]]:
    """Return the runs of every timeline, in order. As numbers: there may be hundreds of thousands."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for segment in segments:
        numbers[segment.timeline].append(segment.number)
    return {timeline: tuple(_runs(sorted(found))) for timeline, found in sorted(numbers.items())}


def find_stretches(
    path: RecoveryPath, runs: Mapping[int, Sequence[Run]], *, tails: Mapping[WalSegment, Lsn]
) -> tuple[Stretch, ...]:
    """Return the stretches on the way to a timeline, in order. `tails`: how far segments reach that are not whole."""
    size = path.segment_size
    reaches = {segment.number: end for segment, end in tails.items() if path.has(segment)}
    found: list[Stretch] = []
    for run in _on_path(path, runs):
        tail_end = reaches.pop(run.last + 1, None)
        found.append(Stretch(run.first, run.last, tail_end or Lsn((run.last + 1) * size), tail_end is not None))
    lone = [Stretch(number, number - 1, end, has_tail=True) for number, end in reaches.items()]
    return tuple(sorted((*found, *lone), key=lambda stretch: stretch.first))


def stretch_with(stretches: Sequence[Stretch], number: int) -> Stretch | None:
    """Return the stretch that holds bytes of a segment."""
    index = bisect_right(stretches, number, key=lambda stretch: stretch.first) - 1
    return stretches[index] if index >= 0 and stretches[index].holds(number) else None


def _runs(numbers: Iterable[int]) -> Iterator[Run]:
    first = last = -1
    for number in numbers:
        if number != last + 1 or first < 0:
            if first >= 0:
                yield Run(first, last)
            first = number
        last = number
    if first >= 0:
        yield Run(first, last)


def _on_path(path: RecoveryPath, runs: Mapping[int, Sequence[Run]]) -> Iterator[Run]:
    """Cut each timeline's runs to what recovery takes of it; the segment of a switch is the newer timeline's."""
    ends = [(entry.timeline, entry.switch_lsn.value // path.segment_size) for entry in path.history.entries]
    joined: Run | None = None
    low = 0
    for timeline, end in [*ends, (path.timeline, None)]:
        for run in runs.get(timeline, ()):
            first, last = max(run.first, low), run.last if end is None else min(run.last, end - 1)
            if first > last:
                continue
            if joined is not None and joined.last + 1 == first:
                joined = Run(joined.first, last)
                continue
            if joined is not None:
                yield joined
            joined = Run(first, last)
        low = low if end is None else max(low, end)
    if joined is not None:
        yield joined

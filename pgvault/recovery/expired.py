"""WAL that retention removed, on the way to one timeline: a hole that was made on purpose, and is no gap.

    timeline 1   ──●═══╡ expired ╞──●══════●════╡        the first backup restores to its end only

What is archived all the same counts as archived, whatever a record says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pgvault.recovery.path import RecoveryPath
from pgvault.recovery.windowparts import GapRecord
from pgvault.repository.gaps import EXPIRED


@dataclass(frozen=True, slots=True)
class Expired:
    """Numbers of segments that the records of retention cover, on one way."""

    runs: Sequence[tuple[int, int]]  # first and last, both included; in order, apart from each other

    @classmethod
    def of(cls, path: RecoveryPath, records: Iterable[GapRecord]) -> Expired:
        """Return what `records` say, as far as recovery would take it."""
        runs: list[tuple[int, int]] = []
        for first, last in sorted(_on_path(path, records)):
            if runs and first <= runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], max(runs[-1][1], last))
            else:
                runs.append((first, last))
        return cls(tuple(runs))

    def covers(self, first: int, last: int) -> bool:
        """Tell whether each segment of these numbers, at least one, has expired."""
        return first <= last and any(start <= first and last <= end for start, end in self.runs)

    def last_from(self, number: int) -> int | None:
        """Return the last of the segments without a gap, from `number` on, that have expired; None: it has not."""
        return next((end for start, end in self.runs if start <= number <= end), None)


def _on_path(path: RecoveryPath, records: Iterable[GapRecord]) -> Iterator[tuple[int, int]]:
    """Yield the numbers of a record's segments that are on the way: that of a switch is the newer timeline's."""
    size = path.segment_size
    low = 0
    spans: dict[int, tuple[int, int]] = {}
    for entry in path.history.entries:
        end = entry.switch_lsn.value // size
        spans[entry.timeline] = (low, end - 1)
        low = max(low, end)
    spans[path.timeline] = (low, 2**64 // size)
    for record in records:
        if record.cause == EXPIRED and record.timeline in spans:
            first, last = spans[record.timeline]
            first, last = max(first, record.start_lsn.value // size), min(last, (record.end_lsn.value - 1) // size)
            if first <= last:
                yield first, last

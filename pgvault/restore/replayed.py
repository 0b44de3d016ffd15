"""How far a recovering server is, by what it logs: each segment that it was delivered is a step of the way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pgvault.postgres.walrange import SegmentRange
from pgvault.progress import Progress

DELIVERED = re.compile(rb'restored log file "[0-9A-F]{24}" from archive')  # history files are no step


@dataclass(slots=True)
class Replayed:
    """Tells of segments since it was made; to be made before the server is started, and called now and then."""

    log: Path  # of the server
    segment_size: int
    progress: Progress
    _offset: int = field(init=False)

    def __post_init__(self) -> None:
        """What an earlier life of the server logged is no news."""
        self._offset = self.log.stat().st_size if self.log.exists() else 0

    def __call__(self) -> None:
        """Read what was logged since the last call, whole lines alone."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            said = file.read()
        whole = said[: said.rfind(b"\n") + 1]
        self._offset += len(whole)
        if count := len(DELIVERED.findall(whole)):
            self.progress.advance(count * self.segment_size)


def wal_bytes(segments: Iterable[SegmentRange]) -> int:
    """Return the length of all WAL that a plan lists."""
    return sum(len(each) * each.first.size for each in segments)

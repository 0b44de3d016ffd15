"""Where an instant lands in the WAL: the record before which PostgreSQL stops for recovery_target_time.

PostgreSQL's rule: it reads commit and abort records in LSN order and stops before the *first* one whose time is
later than the target (at or later, when exclusive). Times rise nearly, not strictly: a backend takes its commit
time, is held up, and writes its record behind a later one; and clocks are set back, or differ between two hosts
at a failover.

    LSN     ──────────────────────────────────────────►
    time    :01  :02  :04  :03  :06  :05  :07                target :04.5
    stops                       ▲ before :06; :05 is not replayed either

So we bisect over segments and then read every segment that could hold the first exceeding record. What that
assumes: no record's time lies more than `DISORDER` after the time of a record behind it. A clock set back
further can make the landing a later record than PostgreSQL's. Then the plan's forecast is wrong and is found so
after recovery; where PostgreSQL itself stops by time, it is still PostgreSQL's rule that decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.errors import ObjectCorrupt, ObjectMissing
from pgvault.recovery.covered import CoveredWal
from pgvault.recovery.facts import Transaction

# Far above what schedulers and NTP do, and little to read: every segment of this long before the target is, which
# on a server that writes 100 MB/s are 60 segments.
DISORDER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Landing:
    """The place between two records at which an instant stops recovery."""

    previous: Transaction | None  # the last transaction record that is replayed
    last_commit: Transaction | None  # the last commit that is
    next: Transaction | None  # the first that is not; None when nothing covered exceeds the instant


@dataclass(frozen=True, slots=True)
class Instant:
    """The wanted time and which side of it a record of exactly that time is on."""

    at: datetime
    is_inclusive: bool

    def is_exceeded_by(self, record: Transaction) -> bool:
        """Tell whether PostgreSQL stops before this record, if it gets there."""
        return record.at > self.at if self.is_inclusive else record.at >= self.at


def find_landing(wal: CoveredWal, instant: Instant, *, disorder: timedelta = DISORDER) -> Landing:
    """Return where `instant` lands, reading few segments: about log2 of their number, and those close by.

    Segments without any transaction record tell nothing; a stretch of them around the target is read as a whole.
    """
    # A record this old vouches for all before it. `below`: nothing exceeds up to here; `above`: here something does.
    settled_at = instant.at - disorder
    below, above = -1, len(wal.segments)
    unread = list(range(len(wal.segments)))
    while unread:
        index = _middle_of_longest_run(unread)
        try:
            records = wal.transactions(index)
        except (ObjectCorrupt, ObjectMissing):
            above = index  # recovery does not come past it: the target lies before it, or below that is told
            unread = [other for other in unread if other < above]
            continue
        exceeds = any(instant.is_exceeded_by(record) for record in records)
        is_settled = any(record.at <= settled_at for record in records)
        if exceeds:
            above = index
        if is_settled:
            below = index - 1 if exceeds else index
        unread = [other for other in unread if below < other < above and other != index]
    for index in range(below + 1, min(above + 1, len(wal.segments))):
        for position, record in enumerate(wal.transactions(index)):
            if instant.is_exceeded_by(record):
                return _landing(wal, index, position)
    return _landing(wal, len(wal.segments), 0)


def _landing(wal: CoveredWal, index: int, position: int) -> Landing:
    """Describe the place before record `position` of segment `index`."""
    last_commit = next((record for record in wal.transactions_before(index, position) if record.is_commit), None)
    return Landing(
        previous=next(wal.transactions_before(index, position), None),
        last_commit=last_commit,
        next=wal.transactions(index)[position] if index < len(wal.segments) else None,
    )


def _middle_of_longest_run(numbers: list[int]) -> int:
    """Pick from ascending numbers: probing spreads out where segments without records tell nothing."""
    best = start = 0
    length = 0
    for position in range(1, len(numbers) + 1):
        if position == len(numbers) or numbers[position] != numbers[position - 1] + 1:
            if position - start > length:
                best, length = start, position - start
            start = position
    return numbers[best + length // 2]

"""Compare one table of a primary with that of its physical replica while both go on.

The replica is behind by some time, and never stands at a position where the primary's snapshots are: under load no
two readings of the two are of one moment, and equal fingerprints are luck. So tables are compared by parts, and what
is not equal is looked at by row version (postgres/rowversions.py), which has the same name and place on both:

    1  ranges of 4 MiB, by one fingerprint each      equal: done
    2  the blocks of a range that is not              equal: done
    3  the versions in the blocks that are not        in readings of primary and replica in turn, P R P R:
       changed   one version, another content         a version's content never changes: it is different for certain
       missing   in the first P and the second,       it was there for every snapshot between, and R is between
                 not in the R between
       extra     in the first R and the second,       the same
                 not in the P between
       settled   every version of one P was seen on the replica, and every version of one R on the primary

"Between" is proven, not hoped for. R sees what P saw: the replica has replayed beyond P's insert position, which was
asked for after P's snapshot was taken. P sees what R saw: no transaction that P does not see is committed on the
replica (a commit can be visible there first, while it waits for a synchronous standby). So a healthy replica under any
load, however late, has no difference; and a row that is different and left alone by the writers is found, however busy
the rest of the table is. In a block that is never left alone (a counter) versions live shorter than a reading takes:
there many quick readings are made of both, beginning with the primary, until the replica has shown what the primary
showed before. If they do not, the table is undecided: that is told, and never taken for equal.

What moves to another block between two steps is not followed: its new version came to the replica whole, in the
WAL, which is what would be compared. A table that is rewritten, locked or redefined meanwhile is read again,
and undecided after that. Nothing is locked but by ACCESS SHARE for one statement, and no data is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from pgvault.errors import ServerUnfit
from pgvault.logical.pair import Pair
from pgvault.postgres.fingerprint import TableName, row_text
from pgvault.postgres.rowversions import Heap, Reading, Version, block_of, slots_of

RANGE_BYTES = 4 << 20  # read in a moment: vacuum and replay do not wait for us, and little is written meanwhile
BLOCKS_AT_ONCE = 64
# Readings of one busy block on each side. 256 of a one-block table take a fifth of a second on an idle machine.
SAMPLES = (0, 4, 16, 64, 256, 256, 1024)
LATE_SAMPLES = 4096  # of the primary, while the replica is on its way to the first of them
EXAMPLES_MAX = 3


@dataclass(slots=True)
class Found:
    """What became of one table."""

    rows: int = 0  # on the primary, more or less: each range was counted at another moment
    changed: set[Version] = field(default_factory=set)
    missing: set[Version] = field(default_factory=set)
    extra: set[Version] = field(default_factory=set)
    undecided: set[int] = field(default_factory=set)  # blocks

    @property
    def is_different(self) -> bool:
        """Whether some row is not the same for certain."""
        return bool(self.changed or self.missing or self.extra)

    def __str__(self) -> str:
        """For people: at least so many rows, and where."""
        kinds = (("changed", self.changed), ("missing", self.missing), ("too much", self.extra))
        told = [f"at least {_rows(len(rows))} {kind} on the replica, {_places(rows)}" for kind, rows in kinds if rows]
        if self.undecided and not told:
            blocks = ", ".join(map(str, sorted(self.undecided)[:EXAMPLES_MAX]))
            return f"{len(self.undecided)} blocks change too fast to be compared, such as {blocks}"
        return "; ".join(told)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _places(versions: set[Version]) -> str:
    first = sorted(versions, key=lambda version: (block_of(version), version))[:EXAMPLES_MAX]
    return f"ctid {', '.join(place for place, _ in first)}"


def compare_heap(pair: Pair, table: TableName) -> Found:
    """Compare a table that both have. Stops after the first range with a row that is different.

    Raises ServerUnfit when the replica does not follow, or the table's definition changes; psycopg.Error.
    """
    expression = row_text(pair.primary, table)
    primary = Heap(pair.primary, table, expression, is_primary=True)
    replica = Heap(pair.replica, table, expression, is_primary=False)
    blocks, block_size = primary.blocks()
    found = Found()
    looks = _Looks(pair, primary, replica, slots_of(block_size), found)
    for start, stop in _ranges(blocks, RANGE_BYTES // block_size):
        one = primary.sums(start, stop, by_block=False)
        found.rows += sum(rows for rows, *_ in one.facts.values())
        pair.wait(one.lsn)
        if row_text(pair.replica, table) != expression:
            raise ServerUnfit("its definition changes just now")
        if one.facts != replica.sums(start, stop, by_block=False).facts:
            looks.look_into(start, stop)
        if found.is_different:
            break
    return found


def _ranges(blocks: int, step: int) -> Iterator[tuple[int, int | None]]:
    """Cut a table into ranges of blocks; the last has no end, for what is added meanwhile."""
    starts = range(0, max(blocks, 1), step)
    yield from ((start, start + step if start + step < blocks else None) for start in starts)


@dataclass(frozen=True, slots=True)
class _Looks:
    """Closer looks at the ranges of one table."""

    pair: Pair
    primary: Heap
    replica: Heap
    slots: int  # of a block
    found: Found

    def look_into(self, start: int, stop: int | None) -> None:
        """Look at a range by block, and at the blocks that are not equal by version."""
        one = self.primary.sums(start, stop, by_block=True)
        self.pair.wait(one.lsn)
        two = self.replica.sums(start, stop, by_block=True)
        keys = one.facts.keys() | two.facts.keys()
        differing = sorted(block for block in keys if one.facts.get(block) != two.facts.get(block))
        for first in range(0, len(differing), BLOCKS_AT_ONCE):
            for block in self._unsettled(differing[first : first + BLOCKS_AT_ONCE], samples=0):
                if not self.found.is_different:
                    self._insist(block)
            if self.found.is_different:
                return

    def _insist(self, block: int) -> None:
        """Look at a busy block until it is settled, different or given up."""
        for samples in SAMPLES:
            if not self._unsettled([block], samples=samples) or self.found.is_different:
                return
        self.found.undecided.add(block)

    def _unsettled(self, blocks: Sequence[int], *, samples: int) -> list[int]:
        """Read in turn, add what is different, and return the blocks that are not settled."""
        first = self.primary.read(blocks, self.slots)
        seen = self._samples(blocks, first, samples) if samples else ([], [])
        self.pair.wait(first.lsn)
        second = self.replica.read(blocks, self.slots)
        third = self.pair.seeing_all_of(
            second.snapshot, lambda: self.primary.read(blocks, self.slots), lambda reading: reading.snapshot
        )
        self.pair.wait(third.lsn)
        turns = (first, second, third, self.replica.read(blocks, self.slots))
        return judge(blocks, turns, seen, self.found)

    def _samples(self, blocks: Sequence[int], first: Reading, samples: int) -> tuple[list[Reading], list[Reading]]:
        """Read both as fast as it goes, so that the replica is seen where the primary was seen before."""
        primary: list[Reading] = []
        replica: list[Reading] = []
        while len(primary) < LATE_SAMPLES and not self.pair.has_passed(first.lsn):
            primary.append(self.primary.read(blocks, self.slots))
        for _ in range(samples):
            primary.append(self.primary.read(blocks, self.slots))
            replica.append(self.replica.read(blocks, self.slots))
        return primary, replica


def judge(
    blocks: Sequence[int],
    turns: tuple[Reading, Reading, Reading, Reading],
    samples: tuple[Sequence[Reading], Sequence[Reading]],
    found: Found,
) -> list[int]:
    """Add what is different to `found`, and return the blocks that are not settled.

    `turns` are readings of primary, replica, primary, replica, each seeing all that the one before saw; `samples` are
    others, of the primary and of the replica, made at any time. Raises ServerUnfit when the table was rewritten
    meanwhile: places have another meaning then.
    """
    first, second, third, fourth = turns
    primary, replica = [first, third, *samples[0]], [second, fourth, *samples[1]]
    if len({reading.filenode for reading in (*primary, *replica)}) > 1:
        raise ServerUnfit("it is rewritten just now")
    seen_primary = {version: content for reading in primary for version, content in reading.versions.items()}
    seen_replica = {version: content for reading in replica for version, content in reading.versions.items()}
    both = seen_primary.keys() & seen_replica.keys()
    found.changed |= {version for version in both if seen_primary[version] != seen_replica[version]}
    found.missing |= (first.versions.keys() & third.versions.keys()) - second.versions.keys()
    found.extra |= (second.versions.keys() & fourth.versions.keys()) - third.versions.keys()
    unmet = _unmet(blocks, primary, seen_replica.keys()) | _unmet(blocks, replica, seen_primary.keys())
    return [block for block in blocks if block in unmet]


def _unmet(blocks: Sequence[int], readings: Sequence[Reading], other: Collection[Version]) -> set[int]:
    """Return the blocks of which every reading holds a version that the other side never showed."""
    strange = [{block_of(version) for version in reading.versions if version not in other} for reading in readings]
    return set(blocks).intersection(*strange)

"""Read the row versions of a heap table block by block, with the snapshot in which they are visible.

A version is (ctid, xmin): where it lies and which transaction wrote it. Its content never changes, its life is one
interval of snapshots, and no other version gets the same name as long as the table keeps its file: a slot is used again
only after its version is dead to everybody, and by another transaction. A physical replica has the very same versions
at the very same places.

Every reading is one statement, so that a snapshot lives no longer than it takes to read a few blocks. The WAL position
is asked for in that statement, after its snapshot was taken: whatever the snapshot sees was committed before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from pgvault.errors import ServerUnfit
from pgvault.postgres.fingerprint import SEEDS, SUMS, TableName, ask, number, text, total
from pgvault.postgres.lsn import Lsn

DatabaseConnection = psycopg.Connection[tuple[object, ...]]
Version = tuple[str, int]  # ctid, xmin

PAGE_HEADER_BYTES = 24
SLOT_BYTES = 28  # the least that a row takes of its page: line pointer and header
SUSPECTS_MAX = 10_000
WAL_HEADER_BYTES = 40  # of the first page of a segment; 24 of every other


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions a statement saw: all below `xmax` that were over, without those that ran."""

    xmin: int  # everything below was over
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, told: str) -> Snapshot:
        """Read what pg_current_snapshot() gives: 10:20:10,14."""
        xmin, xmax, running = told.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def unseen_below(self, xmax: int) -> list[int]:
        """Return the transactions below `xmax` that this snapshot does not see. Raises ServerUnfit for too many."""
        if xmax - self.xmax > SUSPECTS_MAX:
            raise ServerUnfit(f"the snapshots are {xmax - self.xmax} transactions apart")
        return [*(each for each in self.running if each < xmax), *range(self.xmax, xmax)]


@dataclass(frozen=True, slots=True)
class BlockSums:
    """What ranges of blocks hold, without saying where."""

    facts: Mapping[int, tuple[int, int, int]]  # block, or 0 for the whole range: rows, two sums
    lsn: Lsn | None  # durable in the primary's WAL by then; None from a replica


@dataclass(frozen=True, slots=True)
class Reading:
    """The versions that one snapshot sees in some blocks."""

    versions: Mapping[Version, tuple[int, int]]  # the hashes of each one's content
    snapshot: Snapshot
    lsn: Lsn | None  # the primary's: all that the snapshot sees was committed before it
    filenode: int  # another one: the table was rewritten


@dataclass(frozen=True, slots=True)
class Heap:
    """A table on one server of the pair."""

    session: DatabaseConnection
    table: TableName
    expression: str  # of a row's text
    is_primary: bool

    def blocks(self) -> tuple[int, int]:
        """Return the number of blocks and the size of one."""
        ((size, block_size),) = ask(
            self.session,
            f"SELECT coalesce(pg_relation_size({self.table.oid}), 0), current_setting('block_size')::bigint",
        )
        return number(size) // number(block_size), number(block_size)

    def sums(self, start: int, stop: int | None, *, by_block: bool) -> BlockSums:
        """Count and fingerprint the rows in blocks [start, stop), each block by itself or all together."""
        # No function takes a ctid apart, but a point is written the same way.
        block = "(c::text::point)[0]::bigint" if by_block else "0::bigint"
        above = "" if stop is None else f" AND ctid < '({stop},0)'"
        rows = ask(
            self.session,
            f"SELECT {block}, count(*), {SUMS} FROM (SELECT ctid AS c, {self.expression} AS r"
            f" FROM ONLY {self.table.quoted} WHERE ctid >= '({start},0)'{above} OFFSET 0) AS row_texts GROUP BY 1",
        )
        facts = {number(block): (number(count), total(one), total(two)) for block, count, one, two in rows}
        return BlockSums(facts, flushed(self.session) if self.is_primary else None)

    def read(self, blocks: Sequence[int], slots: int) -> Reading:
        """Read every version in some blocks of `slots` line pointers each."""
        hashes = ", ".join(f"coalesce(array_agg(hashtextextended(r, {seed})), '{{}}')" for seed in SEEDS)
        lsn = "pg_current_wal_insert_lsn()::text" if self.is_primary else "NULL"
        ((snapshot, position, filenode, places, writers, ones, twos),) = ask(
            self.session,
            f"SELECT pg_current_snapshot()::text, {lsn}, pg_relation_filenode({self.table.oid})::bigint,"
            f" coalesce(array_agg(c::text), '{{}}'), coalesce(array_agg(x::text::bigint), '{{}}'), {hashes}"
            f" FROM (SELECT ctid AS c, xmin AS x, {self.expression} AS r FROM ONLY {self.table.quoted}"
            f" WHERE ctid = ANY (ARRAY(SELECT format('(%s,%s)', block, slot)::tid"
            f" FROM unnest('{{{','.join(map(str, blocks))}}}'::bigint[]) AS block,"
            f" generate_series(1, {slots}) AS slot))"
            " OFFSET 0) AS row_versions",
        )
        names = zip(map(text, _items(places)), map(number, _items(writers)), strict=True)
        contents = zip(map(number, _items(ones)), map(number, _items(twos)), strict=True)
        return Reading(
            dict(zip(names, contents, strict=True)),
            Snapshot.parse(text(snapshot)),
            None if position is None else Lsn.parse(text(position)),
            0 if filenode is None else number(filenode),
        )


def block_of(version: Version) -> int:
    """Return the block that a version lies in."""
    return int(version[0][1:].partition(",")[0])


def slots_of(block_size: int) -> int:
    """Return how many rows a block can hold at most."""
    return (block_size - PAGE_HEADER_BYTES) // SLOT_BYTES


def sees_all_of(later: Snapshot, earlier: Snapshot, replica: DatabaseConnection) -> bool:
    """Tell whether a snapshot of the primary, `later`, sees whatever one of the replica, `earlier`, saw.

    That is not a matter of time alone: a commit that waits for a synchronous standby is in the WAL, and visible on
    replicas, before the primary shows it. So the replica is asked what became of those transactions that `later` does
    not see: what is not committed there by now was not so in `earlier`.
    """
    suspects = later.unseen_below(earlier.xmax)
    if not suspects:
        return True
    query = (
        "SELECT coalesce(bool_or(pg_xact_status(x::text::xid8) = 'committed'), false)"
        f" FROM unnest('{{{','.join(map(str, suspects))}}}'::bigint[]) AS x"
    )
    ((is_committed,),) = ask(replica, query)
    return not is_committed


def flushed(primary: DatabaseConnection) -> Lsn:
    """Return how far a primary's WAL is durable, and so on its way to replicas."""
    ((lsn,),) = ask(primary, "SELECT pg_current_wal_flush_lsn()::text")
    return Lsn.parse(text(lsn))


def inserted(primary: DatabaseConnection) -> Lsn:
    """Return where a primary's next record will be: behind all that any snapshot sees by now."""
    ((lsn,),) = ask(primary, "SELECT pg_current_wal_insert_lsn()::text")
    return Lsn.parse(text(lsn))


def snapshot_of(session: DatabaseConnection) -> Snapshot:
    """Return what a statement sees just now."""
    ((told,),) = ask(session, "SELECT pg_current_snapshot()::text")
    return Snapshot.parse(text(told))


def nudge(primary: DatabaseConnection) -> None:
    """Commit a transaction that did nothing: it makes what is not durable yet so within a moment."""
    ask(primary, "SELECT pg_current_xact_id()::text")


def replayed(replica: DatabaseConnection) -> Lsn | None:
    """Return how far a replica has come; None when it is none any more, or has replayed nothing."""
    ((lsn, in_recovery),) = ask(replica, "SELECT pg_last_wal_replay_lsn()::text, pg_is_in_recovery()")
    return Lsn.parse(text(lsn)) if lsn is not None and in_recovery else None


def has_replayed(position: Lsn, wanted: Lsn, wal_block_size: int) -> bool:
    """Tell whether everything before `wanted` is replayed.

    A primary's insert position may lie behind the header of a page in which nothing was written yet; the end of the
    last record, where the replica is, lies before that header.
    """
    behind_start = wanted.value % wal_block_size
    needed = wanted.value - behind_start if behind_start <= WAL_HEADER_BYTES else wanted.value
    return position.value >= needed


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"expected an array from PostgreSQL, not {type(value).__name__}")
    return value

"""What WAL segments say, as pg_waldump of the same major prints it.

    rmgr: Transaction len (rec/tot):     34/    34, tx:        739, lsn: 0/0152F0F8, prev 0/0152F0B8, desc: COMMIT
        2026-11-21 07:06:02.518280 UTC; inval msgs: catcache 21                                     (one line)

Segments are asked for as a run of one timeline. A record belongs to the segment in which it begins, and is seen only
when the run holds its end, too: to see *all* of a segment, give the next one as well. So the first segment of a
run usually begins with the rest of a record that is not reported. WAL may end in zeros.

A run whose last segment was put together from streamed tails is cut somewhere, then zeros follow: `cut_at` says where.
What stands there of a record that goes on behind it is no damage, and not reported: recovery can not replay it either.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgvault.errors import ObjectCorrupt, ProgramMissing, UsageError
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.programs import Programs
from pgvault.postgres.walcut import CONTINUES, PAGE_HEADER_BYTES, is_cut
from pgvault.postgres.walheader import HEADER_BYTES, read_long_header
from pgvault.postgres.walname import WalSegment
from pgvault.process import CAN_NOT_RUN, attempt

ENVIRONMENT = {"TZ": "UTC", "LC_ALL": "C"}  # times are printed in the zone of the process
TIMEOUT_SECONDS = 600

RECORD = re.compile(r"rmgr: (?P<rmgr>\w+) .*?, tx: +(?P<xid>\d+), lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), prev ")
# PREPARE is no end of a transaction; recovery does not stop there, its COMMIT_PREPARED is what counts.
END_OF_TRANSACTION = re.compile(
    r"desc: (?P<what>COMMIT|ABORT)(?:_PREPARED (?P<xid>\d+):)? (?P<at>\d+-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}) UTC"
)
CREATE_TABLESPACE = re.compile(r'desc: CREATE \d+ "(?P<path>.*)"')
RESTORE_POINT = re.compile(r"desc: RESTORE_POINT (?P<name>.*)")
BLOCK = re.compile(r"blkref #\d+: rel (\d+)/(\d+)/(\d+)")
HEAP = frozenset({"Heap", "Heap2"})  # an index changes with its table; sequences and catalogs count as they are
SUBTRANSACTIONS = re.compile(r"; subxacts:((?: \d+)+)")
REMOVED = re.compile(r"; rels:((?: \S+)+)")
REMOVED_FILE = re.compile(r"(?:base/(?P<database>\d+)|pg_tblspc/\d+/[^/]+/(?P<moved>\d+))/(?P<file>\d+)")
ZEROS = re.compile(r"invalid record length at .*, got 0\b|invalid magic number 0000 ")
NOTHING_BEGINS = re.compile(r"could not find a valid record after ")


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """The record that ends a transaction: where recovery can stop."""

    lsn: Lsn  # where the record begins
    xid: int  # 32 bits; of a prepared transaction its own, not that of COMMIT PREPARED
    at: datetime  # UTC, by the server's clock: the moment just before the record was written
    is_commit: bool  # else an abort


@dataclass(frozen=True, slots=True, order=True)
class RelationFile:
    """The file of a table, as WAL names it; 0 is the database of what all databases share."""

    database: int  # oid
    number: int  # relfilenode


@dataclass(frozen=True, slots=True)
class Changes:
    """What records of one transaction do to tables."""

    changed: frozenset[RelationFile]
    removed: frozenset[RelationFile]  # tables and indexes whose files go at its commit: dropped, truncated, rewritten


def transactions(
    programs: Programs, wal_dir: Path, names: Sequence[str], *, cut_at: Lsn | None = None
) -> list[TransactionRecord]:
    """Return the commits and aborts that begin in a run of segments and end in it, in LSN order.

    Raises ObjectCorrupt when WAL in it can not be decoded.
    """
    records = []
    for line in _dump(programs, wal_dir, names, rmgr="Transaction", cut_at=cut_at):
        record, end = RECORD.match(line), END_OF_TRANSACTION.search(line)
        if record is not None and end is not None:
            at = datetime.strptime(end["at"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
            xid = int(end["xid"] or record["xid"])
            records.append(TransactionRecord(Lsn.parse(record["lsn"]), xid, at, is_commit=end["what"] == "COMMIT"))
    return records


def last_record(programs: Programs, segment: Path) -> Lsn | None:
    """Return where the last record begins that lies whole in one segment; None when none does.

    A record that came over the border from the segment before may be later: see `last_record_of`. Raises
    ObjectCorrupt when the segment can not be decoded.
    """
    return last_record_of(programs, segment.parent, [segment.name])


def last_record_of(programs: Programs, wal_dir: Path, names: Sequence[str]) -> Lsn | None:
    """Return where the last record begins that lies whole in a run of segments; None when none does."""
    starts = record_starts(programs, wal_dir, names)
    return starts[-1] if starts else None


def record_starts(programs: Programs, wal_dir: Path, names: Sequence[str], *, cut_at: Lsn | None = None) -> list[Lsn]:
    """Return where the records begin that lie whole in a run of segments, in LSN order.

    Raises ObjectCorrupt when WAL in it can not be decoded.
    """
    lines = _dump(programs, wal_dir, names, cut_at=cut_at)
    return [Lsn.parse(record["lsn"]) for line in lines if (record := RECORD.match(line))]


def restore_points(
    programs: Programs, wal_dir: Path, names: Sequence[str], *, cut_at: Lsn | None = None
) -> list[tuple[Lsn, str]]:
    """Return the restore points of a run of segments, (where the record begins, name), in LSN order.

    Names are as the server wrote them; bytes that are no UTF-8 are surrogate escapes. Raises ObjectCorrupt.
    """
    found = []
    for line in _dump(programs, wal_dir, names, rmgr="XLOG", cut_at=cut_at):
        record, point = RECORD.match(line), RESTORE_POINT.search(line)
        if record is not None and point is not None:
            found.append((Lsn.parse(record["lsn"]), point["name"]))
    return found


def changes(
    programs: Programs, wal_dir: Path, names: Sequence[str], *, ended_by: Lsn, cut_at: Lsn | None = None
) -> Changes:
    """Return what the transaction whose end begins at `ended_by` does within a run of segments.

    Its subtransactions count; what it did before the run is not seen. Raises ObjectCorrupt.
    """
    lines = _dump(programs, wal_dir, names, cut_at=cut_at)
    records = [(record, line) for line in lines if (record := RECORD.match(line)) is not None]
    end = next((line for record, line in records if Lsn.parse(record["lsn"]) == ended_by), None)
    if end is None or (what := END_OF_TRANSACTION.search(end)) is None:
        return Changes(frozenset(), frozenset())
    numbers = {what["xid"] or end.partition(" tx:")[2].split(",")[0].strip()}
    for found in SUBTRANSACTIONS.findall(end):
        numbers.update(found.split())
    changed = {
        RelationFile(int(database), int(number))
        for record, line in records
        if record["xid"] in numbers and record["rmgr"] in HEAP
        for _, database, number in BLOCK.findall(line)
    }
    removed = {
        RelationFile(int(file["database"] or file["moved"]), int(file["file"]))
        for found in REMOVED.findall(end)
        for file in REMOVED_FILE.finditer(found)
    }
    return Changes(frozenset(changed), frozenset(removed))


def tablespace_paths(
    programs: Programs, wal_dir: Path, names: Sequence[str], *, cut_at: Lsn | None = None
) -> list[str]:
    """Return the paths at which replaying a run of segments makes tablespaces, each once, in LSN order.

    Paths are as the server wrote them; bytes that are no UTF-8 are surrogate escapes. Raises ObjectCorrupt.
    """
    lines = _dump(programs, wal_dir, names, rmgr="Tablespace", cut_at=cut_at)
    found = [match["path"] for line in lines if RECORD.match(line) and (match := CREATE_TABLESPACE.search(line))]
    return list(dict.fromkeys(found))


def _dump(
    programs: Programs, wal_dir: Path, names: Sequence[str], *, rmgr: str | None = None, cut_at: Lsn | None = None
) -> list[str]:
    if not names:
        return []
    if len({name[:8] for name in names}) > 1:
        raise UsageError(f"segments '{names[0]}' to '{names[-1]}' are of several timelines")
    argv: list[str | Path] = [programs.path("pg_waldump"), "--path", wal_dir]
    argv += [] if rmgr is None else [f"--rmgr={rmgr}"]
    argv += [names[0]] if len(names) == 1 else [names[0], names[-1]]
    finished = attempt(argv, timeout=TIMEOUT_SECONDS, env=ENVIRONMENT if programs.takes_environment else None)
    if finished.status in CAN_NOT_RUN:
        raise ProgramMissing(f"'{argv[0]}' can not be run: {finished.errors.strip()}")
    if (
        finished.status != 0
        and not _is_plain_end(finished.errors, wal_dir, names)
        and not (cut_at is not None and is_cut(finished.errors, wal_dir, names[0], cut_at=cut_at))
    ):
        raise ObjectCorrupt(
            f"WAL from '{names[0]}' to '{names[-1]}' can not be decoded: {finished.errors.strip()}",
            hint=f"It was read by pg_waldump {programs.minor_text}; the WAL must be of the same major version.",
        )
    return finished.output.splitlines()


def _is_plain_end(said: str, wal_dir: Path, names: Sequence[str]) -> bool:
    """Whether pg_waldump stopped where WAL may stop."""
    return bool(ZEROS.search(said)) or bool(NOTHING_BEGINS.search(said) and _holds_no_whole_record(wal_dir, names))


def _holds_no_whole_record(wal_dir: Path, names: Sequence[str]) -> bool:
    """Whether a run has no record from begin to end, as its pages tell: pg_waldump takes that for an error.

    A message or a commit can be longer than a segment. So what the first page says is left of the record before
    fills the run, or the first record that begins is longer than what follows, or is not there yet (zeros).
    """
    first = wal_dir / names[0]
    segment_size = first.stat().st_size
    with first.open("rb") as file:
        try:
            header = read_long_header(file.read(HEADER_BYTES))
        except ObjectCorrupt:
            return False
        if header.page_lsn != WalSegment.parse(names[0], segment_size).start_lsn:
            return False  # a recycled segment, not written yet
        left_bytes = (header.remaining_bytes + 7) & ~7 if header.info & CONTINUES else 0  # records are aligned
        room = segment_size * (len(names) - 1) - (len(names) - 1) * _overhead(segment_size, header.block_size)
        for page in range(0, segment_size, header.block_size):
            begin = page + (HEADER_BYTES if page == 0 else PAGE_HEADER_BYTES)
            page_room = page + header.block_size - begin
            if left_bytes < page_room:
                file.seek(begin + left_bytes)
                (record_bytes,) = struct.unpack("<I", file.read(4))
                rest_of_pages = (segment_size - page) // header.block_size - 1
                room += page_room - left_bytes + rest_of_pages * (header.block_size - PAGE_HEADER_BYTES)
                return bool(record_bytes == 0 or record_bytes > room)
            left_bytes -= page_room
    return bool(left_bytes >= room)


def _overhead(segment_size: int, block_size: int) -> int:
    """Bytes of page headers in a segment."""
    return HEADER_BYTES + (segment_size // block_size - 1) * PAGE_HEADER_BYTES

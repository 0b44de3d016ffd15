"""What WAL segments say, as pg_waldump of the same major prints it.

    rmgr: Transaction len (rec/tot):     34/    34, tx:        739, lsn: 0/0152F0F8, prev 0/0152F0B8, desc: COMMIT
        2026-11-21 07:06:02.518280 UTC; inval msgs: catcache 21                                     (one line)

Segments are asked for as a run of one timeline. A record belongs to the segment in which it begins, and is seen only
when the run holds its end, too: to see *all* of a segment, give the next one as well. So the first segment of a
run usually begins with the rest of a record that is not reported. WAL may end in zeros: a tail padded to segment size.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgvault.errors import ObjectCorrupt, UsageError
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.programs import Programs
from pgvault.process import attempt

ENVIRONMENT = {"TZ": "UTC", "LC_ALL": "C"}  # times are printed in the zone of the process
TIMEOUT_SECONDS = 600

RECORD = re.compile(r"rmgr: (?P<rmgr>\w+) .*?, tx: +(?P<xid>\d+), lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), prev ")
# PREPARE is no end of a transaction; recovery does not stop there, its COMMIT_PREPARED is what counts.
END_OF_TRANSACTION = re.compile(
    r"desc: (?P<what>COMMIT|ABORT)(?:_PREPARED (?P<xid>\d+):)? (?P<at>\d+-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}) UTC"
)
CREATE_TABLESPACE = re.compile(r'desc: CREATE \d+ "(?P<path>.*)"')
ZEROS = re.compile(r"invalid record length at .*, got 0\b|invalid magic number 0000 ")
NOTHING_BEGINS = re.compile(r"could not find a valid record after ")

PAGE_HEADER = struct.Struct("<HHIQI")  # magic, info, timeline, address, bytes left of the record from before
CONTINUES = 0x0001  # in info
LONG_HEADER_BYTES = 40
HEADER_BYTES = 24
BLOCK_SIZE_OFFSET = 36  # in the long header


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """The record that ends a transaction: where recovery can stop."""

    lsn: Lsn  # where the record begins
    xid: int  # 32 bits; of a prepared transaction its own, not that of COMMIT PREPARED
    at: datetime  # UTC, by the server's clock: the moment just before the record was written
    is_commit: bool  # else an abort


def transactions(programs: Programs, wal_dir: Path, names: Sequence[str]) -> list[TransactionRecord]:
    """Return the commits and aborts that begin in a run of segments and end in it, in LSN order.

    Raises ObjectCorrupt when WAL in it can not be decoded.
    """
    records = []
    for line in _dump(programs, wal_dir, names, rmgr="Transaction"):
        record, end = RECORD.match(line), END_OF_TRANSACTION.search(line)
        if record is not None and end is not None:
            at = datetime.strptime(end["at"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
            xid = int(end["xid"] or record["xid"])
            records.append(TransactionRecord(Lsn.parse(record["lsn"]), xid, at, is_commit=end["what"] == "COMMIT"))
    return records


def last_record(programs: Programs, segment: Path) -> Lsn | None:
    """Return where the last record begins that lies whole in a segment; None when none does.

    Raises ObjectCorrupt when the segment can not be decoded.
    """
    for line in reversed(_dump(programs, segment.parent, [segment.name])):
        if record := RECORD.match(line):
            return Lsn.parse(record["lsn"])
    return None


def tablespace_paths(programs: Programs, wal_dir: Path, names: Sequence[str]) -> list[str]:
    """Return the paths at which replaying a run of segments makes tablespaces, each once, in LSN order.

    Paths are as the server wrote them; bytes that are no UTF-8 are surrogate escapes. Raises ObjectCorrupt.
    """
    lines = _dump(programs, wal_dir, names, rmgr="Tablespace")
    found = [match["path"] for line in lines if RECORD.match(line) and (match := CREATE_TABLESPACE.search(line))]
    return list(dict.fromkeys(found))


def _dump(programs: Programs, wal_dir: Path, names: Sequence[str], *, rmgr: str | None = None) -> list[str]:
    if not names:
        return []
    if len({name[:8] for name in names}) > 1:
        raise UsageError(f"segments '{names[0]}' to '{names[-1]}' are of several timelines")
    argv: list[str | Path] = [programs.path("pg_waldump"), "--path", wal_dir]
    argv += [] if rmgr is None else [f"--rmgr={rmgr}"]
    argv += [names[0]] if len(names) == 1 else [names[0], names[-1]]
    finished = attempt(argv, timeout=TIMEOUT_SECONDS, env=ENVIRONMENT)
    if finished.status != 0 and not _is_plain_end(finished.errors, wal_dir, names):
        raise ObjectCorrupt(
            f"WAL from '{names[0]}' to '{names[-1]}' can not be decoded: {finished.errors.strip()}",
            hint=f"It was read by pg_waldump {programs.minor_text}; the WAL must be of the same major version.",
        )
    return finished.output.splitlines()


def _is_plain_end(said: str, wal_dir: Path, names: Sequence[str]) -> bool:
    """Whether pg_waldump stopped where WAL may stop."""
    return bool(ZEROS.search(said)) or bool(NOTHING_BEGINS.search(said) and _is_middle_of_record(wal_dir, names))


def _is_middle_of_record(wal_dir: Path, names: Sequence[str]) -> bool:
    """Whether a record from before fills the run to its end: a commit or message of more than a segment."""
    first = wal_dir / names[0]
    with first.open("rb") as file:
        header = file.read(LONG_HEADER_BYTES)
    if len(header) < LONG_HEADER_BYTES:
        return False
    _, info, _, _, left_bytes = PAGE_HEADER.unpack_from(header)
    (block_size,) = struct.unpack_from("<I", header, BLOCK_SIZE_OFFSET)
    if not info & CONTINUES or block_size < LONG_HEADER_BYTES:
        return False
    segment_size = first.stat().st_size
    pages = segment_size // block_size
    room = len(names) * (segment_size - LONG_HEADER_BYTES - (pages - 1) * HEADER_BYTES)
    return bool((left_bytes + 7) & ~7 >= room)  # records begin at multiples of 8

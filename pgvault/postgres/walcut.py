"""Where a record ends, and whether the one at which pg_waldump stopped is only cut.

    page      header[24] | … record … record | … page 2 of a record goes on behind the header …
    segment   its first page has a header of 40 bytes
    record    total u32 | xid u32 | prev u64 | info u8 | rmgr u8 | 0 u16 | CRC u32 | …        begins at multiples of 8

What was streamed of a segment may end anywhere, in a page header too, and zeros follow. pg_waldump then says any one
of many things (a wrong checksum, a wrong link to the record before, a wrong page address), as it does of damage. So
not what it says counts, but where: behind the last record that it could read.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from pgvault.errors import ObjectCorrupt
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walheader import HEADER_BYTES, read_long_header
from pgvault.postgres.walname import WalSegment

ALIGNMENT = 8
CONTINUES = 0x0001  # in a page header's info: the page begins with the rest of a record
PAGE_HEADER_BYTES = 24  # of every page but a segment's first
RECORD_HEADER_BYTES = 24
LAST_GOOD = re.compile(r"error in WAL record at (?P<lsn>[0-9A-F]+/[0-9A-F]+): ")
NOTHING_GOOD = re.compile(r"could not find a valid record after ")


def is_cut(said: str, wal_dir: Path, first_name: str, *, cut_at: Lsn) -> bool:
    """Tell whether pg_waldump stopped at a record of which only a part stands before `cut_at`.

    `said` is its complaint about a run that begins with the segment `first_name`.
    """
    run = _Run.open(wal_dir, first_name)
    if run is None:
        return False
    if last_good := LAST_GOOD.search(said):
        start = Lsn.parse(last_good["lsn"])
        record = run.begin(run.end_of(start, run.length_at(start)))
    elif NOTHING_GOOD.search(said):
        record = run.first_record
    else:
        return False
    if record + RECORD_HEADER_BYTES > cut_at:
        return True
    return run.end_of(record, run.length_at(record)) > cut_at


class _Run:
    """Segments of one timeline side by side."""

    def __init__(self, wal_dir: Path, first: WalSegment, *, page_bytes: int, left_bytes: int) -> None:
        self._wal_dir = wal_dir
        self._first = first
        self._page_bytes = page_bytes
        self._left_bytes = left_bytes  # of a record that began before the run

    @classmethod
    def open(cls, wal_dir: Path, first_name: str) -> _Run | None:
        """Look at the run's first page; None when it is none."""
        path = wal_dir / first_name
        with path.open("rb") as file:
            try:
                header = read_long_header(file.read(HEADER_BYTES))
            except ObjectCorrupt:
                return None
        first = WalSegment.parse(first_name, path.stat().st_size)
        left_bytes = header.remaining_bytes if header.info & CONTINUES else 0
        return cls(wal_dir, first, page_bytes=header.block_size, left_bytes=left_bytes)

    @property
    def first_record(self) -> Lsn:
        """Where the first record begins that begins in the run."""
        return self.begin(self.end_of(self._first.start_lsn + HEADER_BYTES, self._left_bytes))

    def begin(self, lsn: Lsn) -> Lsn:
        """Where a record begins that follows one which ended at `lsn`: never in a page's header."""
        return lsn if lsn.value % self._page_bytes else lsn + self._header_bytes(lsn.value)

    def end_of(self, start: Lsn, length_bytes: int) -> Lsn:
        """Where so many bytes of records end, headers of pages left out; rounded up to where a record can begin."""
        at = start.value
        while True:
            room = self._page_bytes - at % self._page_bytes
            if length_bytes <= room:
                end = at + length_bytes
                return Lsn(end + -end % ALIGNMENT)
            length_bytes -= room
            at += room + self._header_bytes(at + room)

    def length_at(self, record: Lsn) -> int:
        """The length that a record says it has; its first 8 bytes are never apart."""
        segment = WalSegment(self._first.timeline, record.value // self._first.size, self._first.size)
        try:
            with (self._wal_dir / segment.name).open("rb") as file:
                file.seek(record - segment.start_lsn)
                (length,) = struct.unpack("<I", file.read(4))
        except (FileNotFoundError, struct.error):
            return 0
        return int(length)

    def _header_bytes(self, page: int) -> int:
        return HEADER_BYTES if page % self._first.size == 0 else PAGE_HEADER_BYTES

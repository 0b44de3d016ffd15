"""Cut the tails of an unfinished segment: what pg_receivewal has of it, stored every few seconds.

    .partial    |page|page|page|page|pa0000000000…       always a whole segment, zeros behind what was received
    stored      [0 ………………………)
                              [from … to)                from: where the chain ends; to: behind the last byte, 8-aligned

WAL is only ever appended to, so a tail needs only what came since the one before (repository/tails.py has the format).
pg_receivewal may write while we read: where WAL ends is seen first, and the bytes before that are read after it.

A day of an idle server is one segment and 8,640 looks at it. So small tails are merged, as a binary counter carries: a
new one begins where those before it begin that are of its own size class or below, up to 1 MiB in all, and these go
once it is durable. At any time few are left (about one of each class), and no byte is stored more than some ten times.
A busy server's tails are long, and none is stored twice.

What this does not promise: that the bytes are right. They are what pg_receivewal got from its server.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pgvault.errors import ObjectCorrupt, SourceUnreadable
from pgvault.instants import Clock
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walheader import HEADER_BYTES, check_segment, read_long_header
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from pgvault.repository.tails import ALIGNMENT, Span, TailInfo, covered_to, list_tails, put_tail, remove_tails
from pgvault.repository.writing import decided, delete

logger = logging.getLogger(__name__)

SMALLEST_CLASS_BYTES = 8192  # tails up to this length are all of one class
MERGED_BYTES_MAX = MIB
TAIL_BYTES_MAX = 16 * MIB  # what one object, and our memory, has to hold
PAGE_BYTES_MIN = 1024
SETTLE_TRIES = 4


class TailWriter:
    """Stores the tails of one system's segments; not for two threads at once."""

    def __init__(self, repository: Repository, cluster: str, system_identifier: int, *, clock: Clock) -> None:
        self._repository = repository
        self._cluster = cluster
        self._system = system_identifier
        self._clock = clock
        self._stored: dict[WalSegment, set[Span]] = {}  # what lies in the repository, as far as we know

    def store(self, partial: Path, segment: WalSegment, *, server_at: datetime | None = None) -> Span | None:
        """Store what came into `partial` since the last time; return what the repository holds more, or None.

        `server_at` is the server's clock, read before this call, where the caller knows it. After an error nothing is
        lost: the next call looks what is there. Raises SourceUnreadable, ObjectCorrupt and OtherCluster for a file that
        is not this segment's, WalMismatch where another server has stored the same bytes differently, and what the
        store raises.
        """
        with _reading(partial) as source:
            pages = _find_pages(source, partial, segment, system_identifier=self._system)
            if pages is None:
                return None
            with self._known(segment) as stored:
                before = covered_to(stored)
                covered = before
                while (content := pages.read_new(covered)) is not None:
                    new = Span(covered, covered + len(content))
                    span = Span(merged_start(stored, new), new.end)
                    self._put(segment, span, pages.read(span.start, new.start) + content, server_at=server_at)
                    self._replace(segment, stored, span)
                    covered = new.end
        return Span(before, covered) if covered > before else None

    def forget(self, segment: WalSegment) -> None:
        """Remove a segment's tails; it is durable as a whole. Raises ObjectMissing when it is not."""
        self._stored.pop(segment, None)
        remove_tails(self._repository, self._cluster, self._system, segment)

    def _put(self, segment: WalSegment, span: Span, content: bytes, *, server_at: datetime | None) -> None:
        info = TailInfo(
            segment=segment,
            start=span.start,
            end=span.end,
            system_identifier=self._system,
            sha256=hashlib.sha256(content).digest(),
            read_at=self._clock.now(),
            server_at=server_at,
        )
        put_tail(self._repository, self._cluster, info, content=content)

    def _replace(self, segment: WalSegment, stored: set[Span], span: Span) -> None:
        """Remove the tails that a durable one holds. By name: to list them would cost a request at each beat."""
        inside = {other for other in stored if span.holds(other) and other != span}
        for other in sorted(inside):
            path = layout.tail(self._cluster, self._system, segment.name, start=other.start, end=other.end)
            delete(self._repository, path)
        stored -= inside
        stored.add(span)

    @contextmanager
    def _known(self, segment: WalSegment) -> Iterator[set[Span]]:
        """Give what is stored of a segment. After a failure nobody knows, so the store is asked again."""
        stored = self._stored.pop(segment, None)
        if stored is None:
            stored = set(list_tails(decided(self._repository), self._cluster, self._system, segment))
        yield stored
        self._stored[segment] = stored


def merged_start(stored: Iterable[Span], new: Span) -> int:
    """Return where a tail should begin to take in the small ones before it, as a binary counter carries.

    It takes in a tail of its own size class or below, classes being powers of two of 8 KiB, and with that grows; never
    beyond 1 MiB. So classes fall from one tail to the next until the segment's end: few are left.
    """
    tails = sorted(stored)
    start = new.start
    while True:
        earlier = next((tail.start for tail in tails if tail.start < start <= tail.end), start)
        too_long = new.end - earlier > MERGED_BYTES_MAX
        if earlier == start or too_long or _size_class(start - earlier) > _size_class(new.end - start):
            return start
        start = earlier


def _size_class(length: int) -> int:
    return (-(-length // SMALLEST_CLASS_BYTES) - 1).bit_length()


@dataclass(frozen=True, slots=True)
class _Pages:
    """An open .partial. A page is there when its header is; pages come one after the other."""

    source: int  # file descriptor
    segment_bytes: int
    page_bytes: int

    def read(self, start: int, end: int) -> bytes:
        """Return bytes that have been there for long."""
        pieces = []
        while start < end and (piece := os.pread(self.source, end - start, start)):
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def read_new(self, covered: int) -> bytes | None:
        """Return what has come from `covered` on, to where WAL ends, or as much as a tail may hold; None: nothing."""
        page = covered - covered % self.page_bytes
        most = min(self.segment_bytes, page + TAIL_BYTES_MAX)
        end = page
        while end < most and any(os.pread(self.source, 4, end)):
            end += self.page_bytes
        last = max(covered, end - self.page_bytes)  # the only page that may be under way
        content = self.read(covered, last) + self._settled(last, end)
        length = len(content.rstrip(b"\0"))
        return content[: length + -length % ALIGNMENT] or None

    def _settled(self, start: int, end: int) -> bytes:
        """Read a page until nothing has changed between two reads; nothing of one that never stands still."""
        seen = self.read(start, end)
        for _ in range(SETTLE_TRIES):
            again = self.read(start, end)
            if again == seen:
                return seen
            seen = again
        return b""


@contextmanager
def _reading(partial: Path) -> Iterator[int]:
    try:
        source = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield source
        finally:
            os.close(source)
    except OSError as error:
        raise SourceUnreadable(f"{str(partial)!r} can not be read: {error.strerror}") from error


def _find_pages(source: int, partial: Path, segment: WalSegment, *, system_identifier: int) -> _Pages | None:
    """Return the pages of a .partial that is that very segment; None while there are none."""
    length = os.fstat(source).st_size
    if length != segment.size:
        raise SourceUnreadable(f"{str(partial)!r} has {length} bytes, not the {segment.size} of a segment")
    head = os.pread(source, HEADER_BYTES, 0)
    if not any(head[-4:]):  # the block size, last of the header: not there yet
        return None
    header = read_long_header(head)
    # Any major will do: pg_upgrade makes another system identifier.
    check_segment(header, segment, system_identifier=system_identifier, major=header.major or 0)
    if header.block_size < PAGE_BYTES_MIN or segment.size % header.block_size:
        raise ObjectCorrupt(f"{str(partial)!r} says that its pages have {header.block_size} bytes")
    return _Pages(source, segment.size, header.block_size)

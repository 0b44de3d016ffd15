"""Streamed tails: what a stream has received of a segment that is not complete, in pieces.

    clusters/<c>/wal/<system id>/<16 digits>/<segment>.tail/<from>-<to>         byte offsets, eight hexadecimal digits
    frame 0 = {"tail": 1, "name", "from", "to", "length", "sha256", "system_identifier", "timeline", "start_lsn",
               "read_at", "server_at" | null}
    frame 1… = the bytes [from, to)

    segment    0 ───────────── 4A0 ──── 6F8 ─── 9C8 0000000000000000000000000000000000000000 size
    tails      [────────────────)       [────────)                           a chain: covers [0, 9C8) without a hole
                           [─────────────)

WAL is only appended to, so every byte before `to` is final: tails agree wherever they overlap, and one name stands for
one content. `to` is the end of the last byte received that is not zero, rounded up to 8; so it grows whenever anything
was written, were it 40 bytes into the same page. Behind it the reader puts zeros, up to the segment's size, as
pg_receivewal does: a record that is cut there, or ends in zeros that were not stored, ends WAL or is whole again. The
chain's end is therefore certain: whatever ends at or before it is there.

Whoever writes must find the end first and read the bytes *after* that, until two reads agree: in one pass over a file
that grows, a page in the middle could be caught half-written. What lies behind a hole means nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreUnreachable, UsageError
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import Buffer, open_frames, split
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_decimal, read_digest, read_instant, read_text
from pgvault.repository.objects import address
from pgvault.repository.repository import Repository
from pgvault.repository.walobjects import Fingerprint, WalOutcome, put_content, read_wal_bytes
from pgvault.repository.writing import bring, decided, delete

logger = logging.getLogger(__name__)

ALIGNMENT = 8  # bytes; PostgreSQL begins every record at a multiple of it
SPAN_TEXT = re.compile(r"([0-9A-F]{8})-([0-9A-F]{8})", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """The bytes [start, end) of a segment; printed as in a tail's name."""

    start: int  # offset in the segment, bytes
    end: int  # excluded

    @classmethod
    def parse(cls, text: str, *, segment_size: int) -> Span:
        """Read a tail's name. Raises UsageError for any other name, or one impossible in a segment of that size."""
        match = SPAN_TEXT.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is not the name of a tail")
        span = cls(int(match[1], 16), int(match[2], 16))
        if not span.is_within(segment_size):
            raise UsageError(f"{text!r} is not the name of a tail of a segment of {segment_size} bytes")
        return span

    def __str__(self) -> str:
        return f"{self.start:08X}-{self.end:08X}"

    def is_within(self, segment_size: int) -> bool:
        """Tell whether a segment of that size can have a tail of these bytes."""
        return self.start % ALIGNMENT == self.end % ALIGNMENT == 0 and 0 <= self.start < self.end <= segment_size

    def holds(self, other: Span) -> bool:
        """Tell whether all of the other's bytes are among these."""
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, slots=True)
class TailInfo:
    """What the info frame says of a tail."""

    segment: WalSegment
    start: int  # offset in the segment, bytes; a multiple of 8
    end: int  # excluded; end of the last byte that is not zero, rounded up to 8
    system_identifier: int
    sha256: bytes  # of the bytes [start, end)
    read_at: datetime  # by the clock of the host that read them
    server_at: datetime | None = None  # the server's clock at or before that moment

    @property
    def span(self) -> Span:
        """The bytes it holds."""
        return Span(self.start, self.end)

    def encode(self) -> bytes:
        """Return the info frame."""
        document = {
            "tail": 1,
            "name": self.segment.name,
            "from": self.start,
            "to": self.end,
            "length": self.end - self.start,
            "sha256": self.sha256.hex(),
            "system_identifier": str(self.system_identifier),
            "timeline": self.segment.timeline,
            "start_lsn": str(self.segment.start_lsn),
            "read_at": iso(self.read_at),
            "server_at": None if self.server_at is None else iso(self.server_at),
        }
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def decode(cls, frame: bytes, segment: WalSegment, *, where: str) -> TailInfo:
        """Read an info frame of a tail of `segment`. Raises ObjectCorrupt, also for another segment's."""
        try:
            document: Mapping[str, Any] = json.loads(frame)
            server_at = document["server_at"]
            info = cls(
                segment=segment,
                start=read_count(document["from"]),
                end=read_count(document["to"]),
                system_identifier=read_decimal(document["system_identifier"]),
                sha256=read_digest(document["sha256"]),
                read_at=read_instant(document["read_at"]),
                server_at=None if server_at is None else read_instant(server_at),
            )
            said = (read_text(document["name"]), read_count(document["length"]), read_text(document["start_lsn"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ObjectCorrupt(f"tail {where!r} has a malformed info frame") from error
        if said != (segment.name, info.end - info.start, str(segment.start_lsn)):
            raise ObjectCorrupt(f"tail {where!r} says it is of {said[0]!r}, {said[1]} bytes")
        return info


def put_tail(repository: Repository, cluster: str, info: TailInfo, *, content: Buffer) -> WalOutcome:
    """Store a tail; durable in the deciding copy when it returns. The same content again is success.

    Raises WalMismatch when other content has that name: two servers write one timeline. Raises UsageError for bytes
    that no tail has: of another length, not aligned, or with 8 zeros at the end.
    """
    if not info.span.is_within(info.segment.size) or len(content) != info.end - info.start:
        raise UsageError(f"{len(content)} bytes are no tail {info.span} of {info.segment.name}")
    if not any(memoryview(content)[-ALIGNMENT:]):
        raise UsageError(f"a tail of {info.segment.name} ends in zeros, so nobody knows that they were written")
    path = layout.tail(cluster, info.system_identifier, info.segment.name, start=info.start, end=info.end)
    return put_content(repository, path, Kind.TAIL, frames=_frames(info, content), content=Fingerprint(info.sha256))


def list_tails(repository: Repository, cluster: str, system_identifier: int, segment: WalSegment) -> tuple[Span, ...]:
    """Return what is stored of a segment, in order; names only. Names that are no tail's are passed over."""
    prefix = layout.tails(cluster, system_identifier, segment.name)
    found = []
    for name in repository.reader.names(prefix):
        try:
            found.append(Span.parse(name, segment_size=segment.size))
        except UsageError as error:
            logger.warning("passed over %s/%s: %s", prefix, name, error)
    return tuple(sorted(found))


def chain(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the fewest spans that cover [0, end) without a hole, for the greatest end; in order. May be empty."""
    taken: list[Span] = []
    covered = 0
    best: Span | None = None
    for span in sorted(spans):
        if span.start > covered:
            if best is None:
                break
            taken.append(best)
            covered, best = best.end, None
            if span.start > covered:
                break
        if span.end > (covered if best is None else best.end):
            best = span
    if best is not None:
        taken.append(best)
    return tuple(taken)


def covered_to(spans: Iterable[Span]) -> int:
    """Return the end of the chain: an offset up to which every byte of the segment is stored; 0: none is."""
    links = chain(spans)
    return links[-1].end if links else 0


def read_tail(
    repository: Repository, cluster: str, system_identifier: int, segment: WalSegment, *, span: Span
) -> tuple[TailInfo, bytes]:
    """Return one tail, checked. Raises ObjectMissing, ObjectCorrupt."""
    path = layout.tail(cluster, system_identifier, segment.name, start=span.start, end=span.end)
    place = address(repository, path, Kind.TAIL)

    def opened(body: bytes) -> tuple[TailInfo, bytes]:
        frames = open_frames(body, place, keys=repository.keys.by_id)
        info = TailInfo.decode(next(frames), segment, where=path)
        if info.span != span or info.system_identifier != system_identifier:
            raise ObjectCorrupt(f"tail {path!r} says it is {info.span} of system {info.system_identifier}")
        content = b"".join(frames)
        if len(content) != span.end - span.start or hashlib.sha256(content).digest() != info.sha256:
            raise ObjectCorrupt(f"tail {path!r} does not hold what its info frame says")
        return info, content

    return repository.reader.read(path, opened)


def read_tails(
    repository: Repository, cluster: str, system_identifier: int, segment: WalSegment, spans: Sequence[Span]
) -> bytes:
    """Return the segment that these tails make: their bytes, then zeros, `segment.size` in all.

    Raises ObjectMissing where one is not there, or there is a hole between them; ObjectCorrupt where one does not
    open, or two disagree.
    """
    content = bytearray(segment.size)
    covered = 0
    for span in sorted(spans):
        if span.start > covered:
            raise ObjectMissing(f"bytes {covered} to {span.start} of WAL segment {segment.name!r} are not stored")
        _, piece = read_tail(repository, cluster, system_identifier, segment, span=span)
        known = min(covered, span.end)
        if content[span.start : known] != piece[: known - span.start]:
            raise ObjectCorrupt(f"tail {span} of WAL segment {segment.name!r} is not what another tail says")
        content[span.start : span.end] = piece
        covered = max(covered, span.end)
    if not covered:
        raise ObjectMissing(f"nothing of WAL segment {segment.name!r} is stored")
    return bytes(content)


def read_promised(
    repository: Repository, cluster: str, system_identifier: int, segment: WalSegment, spans: Sequence[Span]
) -> bytes:
    """Return what `read_tails` would, wherever these bytes are now: tails are merged, and go when the segment is in.

    The result ends where the promise did, whatever has come since. Raises ObjectMissing, ObjectCorrupt.
    """
    end = covered_to(spans)
    # While one of several copies is silent, nobody says "absent" for it; but the same bytes may lie in another object.
    absent = (ObjectMissing,) if len(repository.copies) == 1 else (ObjectMissing, StoreUnreachable)
    missing: PgvaultError | None = None
    for _ in range(3):  # merged between listing and reading, and then completed
        try:
            content = read_tails(repository, cluster, system_identifier, segment, spans)
            break
        except absent as error:
            missing = missing or error
        try:
            _, content = read_wal_bytes(repository, cluster, system_identifier, segment.name)
            break
        except absent:
            spans = chain(list_tails(repository, cluster, system_identifier, segment))
            if covered_to(spans) < end:
                raise missing from None
    else:
        raise missing or ObjectMissing(f"tails of WAL segment {segment.name!r} come and go")
    if len(content) != segment.size:
        raise ObjectCorrupt(f"WAL segment {segment.name!r} has {len(content)} bytes, not {segment.size}")
    return content[:end] + bytes(segment.size - end)


def remove_tails(
    repository: Repository, cluster: str, system_identifier: int, segment: WalSegment, *, within: Span | None = None
) -> None:
    """Remove all tails of a segment, or those inside the tail `within`, which itself stays.

    Raises ObjectMissing, and removes nothing, unless what holds the same bytes is there: the segment, or that tail.
    """
    if within is None:
        holder = layout.wal_file(cluster, system_identifier, segment.name)
    else:
        holder = layout.tail(cluster, system_identifier, segment.name, start=within.start, end=within.end)
    repository.deciding.store.size(holder)
    bring(repository, holder)
    for span in list_tails(decided(repository), cluster, system_identifier, segment):
        if within is None or (within.holds(span) and span != within):
            delete(repository, layout.tail(cluster, system_identifier, segment.name, start=span.start, end=span.end))


def _frames(info: TailInfo, content: Buffer) -> Iterator[Buffer]:
    yield info.encode()
    yield from split(content)

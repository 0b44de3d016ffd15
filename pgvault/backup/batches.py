"""Cut the entries of a data directory into batches, in path order: one batch is one worker's work and one pack.

    entries  a  b  c  ccccccc  d                 a, b, c, d: small files, c…: a large one
    batches [a  b  c] [cccc] [ccc] [d …]         at most BATCH_BYTES each, large files cut at multiples of it

Batches are immutable and made lazily, so neither the list of files nor their bytes are ever held whole. A worker
that finds a file vanished changes nothing for anybody else (pitfall 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pgvault.postgres.datadir import Entry, EntryKind

BATCH_BYTES = 32 << 20  # of plaintext; four workers then hold about 150 MB (2026-11)
PIECES_MAX = 4096  # a million empty tables hold no bytes, and would be one batch else


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of one entry that one worker reads; a directory or link is a piece without bytes."""

    entry: Entry
    offset: int = 0  # a multiple of BATCH_BYTES, where the file gets a block map
    length: int | None = None  # None: to the end of the file, wherever that is when it is read
    is_first: bool = True
    is_last: bool = True
    content: bytes | bytearray | None = None  # read already: under rules of its own (pg_control), or from a stream


@dataclass(frozen=True, slots=True)
class Batch:
    """The pieces that go into one pack."""

    number: int  # counted from 0, in path order
    pieces: tuple[Piece, ...]


def make_batches(pieces: Iterable[Piece], *, limit: int = BATCH_BYTES, first: int = 0) -> Iterator[Batch]:
    """Group pieces, in order, so that each batch holds at most `limit` bytes, as far as sizes are known.

    A batch has at most PIECES_MAX pieces. Batches are numbered from `first` on.
    """
    number = first
    group: list[Piece] = []
    held = 0
    for piece in pieces:
        size = expected_bytes(piece)
        if group and (held + size > limit or len(group) == PIECES_MAX):
            yield Batch(number, tuple(group))
            number, group, held = number + 1, [], 0
        group.append(piece)
        held += size
    if group:
        yield Batch(number, tuple(group))


def cut(entry: Entry, *, limit: int = BATCH_BYTES) -> Iterator[Piece]:
    """Yield the pieces of one entry.

    Relation files are read as long as they were when listed: what is added later is in the WAL. All others are read
    to their end, since nothing would bring back a tail cut off a configuration file (pitfall 8).
    """
    if entry.kind is not EntryKind.FILE:
        yield Piece(entry)
        return
    offset = 0
    while entry.size - offset > limit:
        yield Piece(entry, offset, limit, is_first=offset == 0, is_last=False)
        offset += limit
    rest = entry.size - offset if entry.is_relation else None
    yield Piece(entry, offset, rest, is_first=offset == 0, is_last=True)


def expected_bytes(piece: Piece) -> int:
    """Bytes that a piece will probably have."""
    if piece.content is not None:
        return len(piece.content)
    if piece.entry.kind is not EntryKind.FILE:
        return 0
    return piece.length if piece.length is not None else max(0, piece.entry.size - piece.offset)

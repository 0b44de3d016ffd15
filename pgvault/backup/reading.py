"""Read one batch into frames, checking pages and taking CRCs of exactly what was read.

    file bytes ──4 MiB reads──► page checksums ──64 KiB blocks──► CRC-32C + keyed hash ──► 1 MiB frames
                                                         └── a block of zeros takes no room: a zero extent

A `BatchReader` is an iterator of frames for `seal`; when it is exhausted, `results` tells what was read. What
counts is the bytes actually read: a relation file may be shorter than listed, or gone (confirmed by a second look);
every other error ends the backup (pitfall 2).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from awscrt.checksums import combine_crc32c, crc32c

from pgvault.backup.batches import Batch, Piece
from pgvault.errors import SourceUnreadable
from pgvault.pipeline.seal import FRAME_BYTES
from pgvault.postgres.datadir import EntryKind
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.pages import check_pages
from pgvault.repository.blockmap import BLOCK_BYTES, ENTRY, block_hash
from pgvault.repository.filelist import Extent

READ_BYTES = 4 << 20  # numpy checks 4 MiB at a time twice as fast as 1 MiB (design, section 10)
PAGE_BYTES = 8192
ZERO_BLOCK = bytes(BLOCK_BYTES)
ZERO_BLOCK_CRC = crc32c(ZERO_BLOCK)
PAGE_RETRIES = 3
STABLE_READ_TRIES = 10


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """What all readers of one backup need to know."""

    start_lsn: Lsn  # a page with a newer LSN will be overwritten by WAL: its checksum may be torn
    check_pages: bool  # data checksums are on
    relseg_size: int  # blocks per file of a large relation
    block_key: bytes | None  # for block hashes, 32 bytes; None: no block maps


@dataclass(slots=True)
class PieceResult:
    """What was read of one piece."""

    piece: Piece
    is_vanished: bool = False
    length: int = 0  # bytes read
    crc32c: int = 0
    extents: list[Extent] = field(default_factory=list)  # pack is the batch's own: 0, or None for zeros
    block_entries: bytearray = field(default_factory=bytearray)
    bad_blocks: list[int] = field(default_factory=list)  # block numbers in the relation
    identity: tuple[int, int] | None = None  # device and inode of the file that was read


class BatchReader:
    """The frames of one batch, once. A frame's buffer is reused two frames later."""

    def __init__(self, batch: Batch, rules: ReadingRules) -> None:
        self.results: list[PieceResult] = []
        self._batch = batch
        self._rules = rules
        self._buffers = (bytearray(FRAME_BYTES), bytearray(FRAME_BYTES))
        self._input = bytearray(READ_BYTES)
        self._position = 0  # in the pack's plaintext

    def __iter__(self) -> Iterator[memoryview]:
        """Yield full frames, then the rest if there is one."""
        for piece in self._batch.pieces:
            result = PieceResult(piece)
            self.results.append(result)
            yield from self._read(result)
        filled = self._position % FRAME_BYTES
        if filled:
            yield memoryview(self._buffer())[:filled]

    def _read(self, result: PieceResult) -> Iterator[memoryview]:
        piece = result.piece
        if piece.content is not None:
            result.piece = replace(piece, content=None)  # the result lives longer than the bytes
            yield from self._take_content(result, memoryview(piece.content))
        elif piece.entry.kind is EntryKind.FILE:
            descriptor = open_source(piece.entry.source)
            if descriptor is None:
                result.is_vanished = True
                return
            try:
                yield from self._read_file(result, descriptor)
            except OSError as error:
                raise _unreadable(piece.entry.source, error) from error
            finally:
                os.close(descriptor)

    def _take_content(self, result: PieceResult, content: memoryview) -> Iterator[memoryview]:
        """Take what was read already; a bad page can not be read again. The server that sent it did that."""
        for start in range(0, len(content), READ_BYTES):
            view = content[start : start + READ_BYTES]
            if result.piece.entry.is_relation and self._rules.check_pages:
                pages, first = self._pages(result, view, result.piece.offset + start)
                result.bad_blocks += self._bad_blocks(pages, first)
            yield from self._take(result, view)

    def _read_file(self, result: PieceResult, descriptor: int) -> Iterator[memoryview]:
        piece = result.piece
        status = os.fstat(descriptor)
        result.identity = status.st_dev, status.st_ino
        is_whole = piece.is_first and piece.is_last
        if is_whole and not piece.entry.is_relation and status.st_size <= READ_BYTES:
            yield from self._take(result, memoryview(read_stable(descriptor)))
            return
        view = memoryview(self._input)
        end = None if piece.length is None else piece.offset + piece.length
        offset = piece.offset
        while end is None or offset < end:
            wanted = READ_BYTES if end is None else min(READ_BYTES, end - offset)
            got = read_fully(descriptor, view[:wanted], offset)
            if piece.entry.is_relation and self._rules.check_pages:
                self._check_pages(result, descriptor, view[:got], offset)
            yield from self._take(result, view[:got])
            offset += got
            if got < wanted:
                return

    def _check_pages(self, result: PieceResult, descriptor: int, view: memoryview, offset: int) -> None:
        """Check whole pages; bad ones are read again, and what was read last is what is stored.

        A page that was being written turns good. All bad pages wait together: a broken disk may have a million.
        """
        pages, first = self._pages(result, view, offset)
        bad = self._bad_blocks(pages, first)
        for attempt in range(PAGE_RETRIES):
            if not bad:
                return
            time.sleep(0.01 * (attempt + 1))
            for block in bad:
                at = (block - first) * PAGE_BYTES
                read_page(descriptor, pages[at : at + PAGE_BYTES], offset + at)
            bad = self._bad_blocks(pages, first)
        result.bad_blocks += bad

    def _pages(self, result: PieceResult, view: memoryview, offset: int) -> tuple[memoryview, int]:
        """Return the whole pages of a view, and the number of the first within its relation."""
        first = result.piece.entry.segment_number * self._rules.relseg_size + offset // PAGE_BYTES
        return view[: len(view) - len(view) % PAGE_BYTES], first

    def _bad_blocks(self, pages: memoryview, first: int) -> list[int]:
        return check_pages(pages, first_block=first, start_lsn=self._rules.start_lsn.value) if pages else []

    def _take(self, result: PieceResult, content: memoryview) -> Iterator[memoryview]:
        """Add bytes to the pack and to the result, block by block."""
        for start in range(0, len(content), BLOCK_BYTES):
            block = content[start : start + BLOCK_BYTES]
            crc = crc32c(block)
            if self._rules.block_key is not None:
                result.block_entries += ENTRY.pack(crc, block_hash(block, self._rules.block_key))
            file_offset = result.piece.offset + result.length
            is_zero = crc == ZERO_BLOCK_CRC and len(block) == BLOCK_BYTES and bytes(block) == ZERO_BLOCK
            _extend(result.extents, file_offset, block, crc, pack_position=None if is_zero else self._position)
            result.crc32c = combine_crc32c(result.crc32c, crc, len(block)) if result.length else crc
            result.length += len(block)
            if not is_zero:
                yield from self._append(block)

    def _append(self, block: memoryview) -> Iterator[memoryview]:
        """Copy a block into the frame being filled; yield it when it is full."""
        while block:
            at = self._position % FRAME_BYTES
            room = min(len(block), FRAME_BYTES - at)
            buffer = self._buffer()
            buffer[at : at + room] = block[:room]
            self._position += room
            block = block[room:]
            if at + room == FRAME_BYTES:
                yield memoryview(buffer)

    def _buffer(self) -> bytearray:
        return self._buffers[(self._position // FRAME_BYTES) % 2]


def _extend(extents: list[Extent], file_offset: int, block: memoryview, crc: int, *, pack_position: int | None) -> None:
    """Lengthen the last extent by a block, or begin a new one where zeros begin or end."""
    pack = None if pack_position is None else 0
    if extents and extents[-1].pack == pack:
        last = extents[-1]
        joined = combine_crc32c(last.crc32c, crc, len(block))
        length = last.length + len(block)
        extents[-1] = Extent(last.file_offset, length, pack, last.frame, last.frame_offset, joined)
        return
    frame, frame_offset = divmod(pack_position or 0, FRAME_BYTES)
    extents.append(Extent(file_offset, len(block), pack, frame, frame_offset, crc))


def open_source(path: bytes) -> int | None:
    """Open a file for reading; None when it is gone, confirmed by a second look. Raises SourceUnreadable."""
    for _ in range(2):
        try:
            # Without O_NONBLOCK a pipe in the place of a file would keep us waiting for its writer.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            try:
                os.lstat(path)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _unreadable(path, error) from error
        except OSError as error:
            raise _unreadable(path, error) from error
    raise SourceUnreadable(f"file {os.fsdecode(path)!r} comes and goes")


def read_fully(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset`; return how much there was before the end of the file."""
    filled = 0
    while filled < len(view):
        got = os.preadv(descriptor, [view[filled:]], offset + filled)
        if got == 0:
            break
        filled += got
    return filled


def read_page(descriptor: int, page: memoryview, offset: int) -> None:
    """Read one page again. One that was truncated away meanwhile becomes zeros: WAL removes it."""
    fresh = os.pread(descriptor, PAGE_BYTES, offset)
    page[:] = fresh if len(fresh) == PAGE_BYTES else bytes(PAGE_BYTES)


def read_stable(descriptor: int) -> bytes:
    """Return a small file whole, as it was at one moment: read again while it changes under us."""
    content = b""
    for _ in range(STABLE_READ_TRIES):
        before = os.fstat(descriptor)
        content = os.pread(descriptor, before.st_size + 1, 0)
        after = os.fstat(descriptor)
        if len(content) == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
            return content
        time.sleep(0.01)
    # Files like pg_xact/0000 are written all the time; WAL replay makes them right from any moment of the copy.
    return content


def _unreadable(path: bytes, error: OSError) -> SourceUnreadable:
    return SourceUnreadable(
        f"file {os.fsdecode(path)!r} can not be read: {error.strerror}",
        hint="Run pgvault as the user that owns the data directory.",
    )

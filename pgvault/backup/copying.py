"""Copy batches with a pool of threads, and write the file list and the block maps in the order of the batches.

    batches ──► worker: read, check, compress, seal, put ──┐
            ──► worker: …                                   ├─► results in order ──► FileRecords ──► parts, maps
            ──► worker: …                                  ──┘

Reading, hashing, zstd and AES release the GIL, so threads are enough. At most two batches a worker are under way:
memory is bounded by jobs, not by the cluster. The first error ends the copy; nothing is retried here, since the
store retries puts itself and a file that can not be read is not a backup.

A file's pieces come in the order of the file; those of other files may stand between them, as where several files grow
at once and none is ever there whole. What makes such batches drives the copy itself: `copy_batch`, `accept`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

from awscrt.checksums import combine_crc32c

from pgvault.backup.batches import Batch, expected_bytes
from pgvault.backup.reading import BatchReader, PieceResult, ReadingRules
from pgvault.errors import SourceUnreadable
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.postgres.datadir import Entry, EntryKind
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.checksums import zeros_crc
from pgvault.repository.filelist import Extent, FileKind, FileRecord
from pgvault.repository.manifest import PageErrors
from pgvault.repository.objects import Stored, put_frames, put_plain
from pgvault.repository.repository import Repository

PART_BYTES = 8 << 20  # of lines; a part is held whole while it is made
MAP_BYTES = 4 << 20
PAGE_ERRORS_KEPT = 100
ESSENTIAL = frozenset({b"PG_VERSION", b"global/pg_control", b"global/pg_filenode.map"})


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What was copied."""

    packs: tuple[Stored, ...]
    parts: tuple[Stored, ...]
    maps: tuple[Stored, ...]
    total_bytes: int  # of plaintext
    file_count: int
    page_errors: PageErrors


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch."""

    pieces: list[PieceResult]
    pack: Stored | None  # None: nothing but zeros, directories and links


class Copier:
    """One backup's copy: give it batches with `copy`, in the order of the list that is to be, then `finish`."""

    def __init__(
        self, repository: Repository, cluster: str, label: str, *, rules: ReadingRules, progress: Progress
    ) -> None:
        self._repository = repository
        self._cluster = cluster
        self._label = label
        self._rules = rules
        self._progress = progress
        self._packs: list[Stored] = []
        self._merging: dict[bytes, _Merging] = {}  # files of which pieces are still to come
        self._lists = _ListWriter(repository, cluster, label)
        self._bad_pages: list[str] = []
        self._bad_count = 0
        self.batch_count = 0  # batches copied so far

    def copy(self, batches: Iterable[Batch], *, jobs: int, ahead: int | None = None) -> Iterator[list[FileRecord]]:
        """Copy all batches; yields after each what is listed now, so that the caller can look after its session.

        At most `ahead` are under way; None: two a worker.
        """
        with ThreadPoolExecutor(jobs, thread_name_prefix="copy") as pool:
            for result in map_bounded(pool, self.copy_batch, batches, ahead=ahead or jobs * 2):
                yield self.accept(result)

    def finish(self) -> CopyResult:
        """Write what is left of the lists and return everything that was stored."""
        parts, maps = self._lists.finish()
        return CopyResult(
            tuple(self._packs),
            parts,
            maps,
            self._lists.total_bytes,
            self._lists.file_count,
            PageErrors(self._bad_count, tuple(self._bad_pages)),
        )

    def copy_batch(self, batch: Batch) -> BatchResult:
        """Read, seal and store one batch; from any thread."""
        reader = BatchReader(batch, self._rules)
        frames = iter(reader)
        first = next(frames, None)
        pack = None
        if first is not None:
            path = layout.pack(self._cluster, self._label, batch.number)
            pack = put_frames(self._repository, path, Kind.PACK, frames=chain([first], frames))
        self._progress.advance(sum(map(expected_bytes, batch.pieces)))
        return BatchResult(reader.results, pack)

    def accept(self, result: BatchResult) -> list[FileRecord]:
        """Add what was copied to the lists, in the order of the batches, from one thread; return what is whole now."""
        listed = []
        self.batch_count += 1
        pack_number = len(self._packs)
        if result.pack is not None:
            self._packs.append(result.pack)
        for piece in result.pieces:
            path = piece.piece.entry.path
            if piece.piece.is_first:
                self._merging[path] = _Merging(piece.piece.entry)
            self._merging[path].add(piece, pack_number)
            if piece.piece.is_last and (record := self._list(self._merging.pop(path))) is not None:
                listed.append(record)
        return listed

    def _list(self, merged: _Merging) -> FileRecord | None:
        if merged.is_vanished:
            if merged.entry.path in ESSENTIAL or merged.entry.path.startswith(b"/"):
                raise SourceUnreadable(f"file {_text(merged.entry.path)!r} vanished, and no WAL brings it back")
            return None
        self._bad_count += len(merged.bad_blocks)
        name = _text(merged.entry.path)
        room = PAGE_ERRORS_KEPT - len(self._bad_pages)
        self._bad_pages += [f"{name} block {block}" for block in merged.bad_blocks[:room]]
        record = merged.record()
        self._lists.add(record, merged.block_entries)
        return record


class _Merging:
    """Joins the pieces of one entry, in order."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.is_vanished = False
        self.bad_blocks: list[int] = []
        self.block_entries = bytearray()
        self._extents: list[Extent] = []
        self._length = 0
        self._crc = 0
        self._has_hole = False
        self._identity: tuple[int, int] | None = None  # of the file the first piece was read of

    def add(self, result: PieceResult, pack_number: int) -> None:
        """Add the next piece. What a truncated file lost between two pieces is zeros, as PostgreSQL reads it."""
        if result.is_vanished:
            self.is_vanished = True
            return
        self._require_same_file(result)
        if result.length and result.piece.offset > self._length:
            self._append_zeros(result.piece.offset - self._length)
        for extent in result.extents:
            self._extents.append(extent if extent.pack is None else replace(extent, pack=pack_number))
        self._crc = combine_crc32c(self._crc, result.crc32c, result.length) if self._length else result.crc32c
        self._length += result.length
        if not self._has_hole:
            self.block_entries += result.block_entries
        self.bad_blocks += result.bad_blocks

    def _require_same_file(self, result: PieceResult) -> None:
        """A relation's ranges may be of two files, since WAL makes it right; those of any other file may not."""
        self._identity = self._identity or result.identity
        if result.identity != self._identity and not self.entry.is_relation:
            raise SourceUnreadable(
                f"file {_text(self.entry.path)!r} was replaced while it was read",
                hint="Take the backup again; logs had better lie outside the data directory.",
            )

    def _append_zeros(self, length: int) -> None:
        self._has_hole = True  # blocks no longer stand where a map says: such a file gets none
        crc = zeros_crc(length)
        self._extents.append(Extent(self._length, length, None, 0, 0, crc))
        self._crc = combine_crc32c(self._crc, crc, length) if self._length else crc
        self._length += length
        self.block_entries.clear()

    def record(self) -> FileRecord:
        """Return the entry's record, without a place in the block maps."""
        entry = self.entry
        if entry.kind is not EntryKind.FILE:
            kind = FileKind.DIRECTORY if entry.kind is EntryKind.DIRECTORY else FileKind.SYMLINK
            return FileRecord(entry.path, kind, entry.mode, entry.mtime_ns, target=entry.target)
        kind = FileKind.EXTERNAL if entry.path.startswith(b"/") else FileKind.FILE
        return FileRecord(entry.path, kind, entry.mode, entry.mtime_ns, self._length, self._crc, tuple(self._extents))


class _ListWriter:
    """Writes parts and maps as they fill."""

    def __init__(self, repository: Repository, cluster: str, label: str) -> None:
        self.total_bytes = 0
        self.file_count = 0
        self._repository = repository
        self._cluster = cluster
        self._label = label
        self._parts: list[Stored] = []
        self._maps: list[Stored] = []
        self._lines = bytearray()
        self._entries = bytearray()

    def add(self, record: FileRecord, block_entries: bytearray) -> None:
        """Add one record."""
        if block_entries:
            record = replace(record, block_map=(len(self._maps), len(self._entries)))
            self._entries += block_entries
        if record.kind in (FileKind.FILE, FileKind.EXTERNAL):
            self.file_count += 1
            self.total_bytes += record.size
        self._lines += record.encode()
        if len(self._entries) >= MAP_BYTES:
            self._put_map()
        if len(self._lines) >= PART_BYTES:
            self._put_part()

    def finish(self) -> tuple[tuple[Stored, ...], tuple[Stored, ...]]:
        """Write the rest; return (parts, maps)."""
        if self._entries:
            self._put_map()
        if self._lines:
            self._put_part()
        return tuple(self._parts), tuple(self._maps)

    def _put_part(self) -> None:
        path = layout.part(self._cluster, self._label, len(self._parts))
        self._parts.append(put_plain(self._repository, path, Kind.PART, plain=self._lines))
        self._lines = bytearray()

    def _put_map(self) -> None:
        path = layout.block_map(self._cluster, self._label, len(self._maps))
        self._maps.append(put_plain(self._repository, path, Kind.MAP, plain=self._entries))
        self._entries = bytearray()


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")

"""Files of a cluster without a cluster: entries, the rules for reading them, and what was copied read back."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pgvault.backup.batches import BATCH_BYTES, Piece, cut, make_batches
from pgvault.backup.copying import Copier, CopyResult
from pgvault.backup.reading import ReadingRules
from pgvault.postgres.datadir import Entry, EntryKind, relation_of
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.pages import PAGE_BYTES, page_checksums
from pgvault.progress import NoProgress
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.packs import OpenedPack
from pgvault.repository.repository import Repository
from tests.repository.samples import LABEL, make_manifest

START = Lsn.parse("0/5000028")
OLD = Lsn(0x1000)
RELSEG = 131072
RULES = ReadingRules(START, check_pages=True, relseg_size=RELSEG, block_key=bytes(32))


def file_entry(source: Path, path: bytes, *, size: int | None = None) -> Entry:
    """A file as the scan lists it; `size` is what it was then, if that was not what it is now."""
    status = source.stat()
    relation = relation_of(path.rpartition(b"/")[2]) if path.startswith(b"base/") else None
    return Entry(
        path=path,
        source=os.fsencode(source),
        kind=EntryKind.FILE,
        size=status.st_size if size is None else size,
        mode=stat.S_IMODE(status.st_mode),
        mtime_ns=status.st_mtime_ns,
        uid=status.st_uid,
        gid=status.st_gid,
        is_relation=relation is not None,
        segment_number=0 if relation is None else relation[2],
    )


def directory_entry(path: bytes) -> Entry:
    """A directory."""
    return Entry(path, b"/nowhere", EntryKind.DIRECTORY, 0, 0o700, 0, 0, 0)


def page(block: int, *, lsn: Lsn = OLD, fill: int = 7) -> bytes:
    """A page with a true checksum for that block number."""
    content = bytearray([fill]) * PAGE_BYTES
    content[:8] = struct.pack("<II", lsn.value >> 32, lsn.value & 0xFFFFFFFF)
    words = np.frombuffer(bytes(content), dtype="<u4").reshape(1, 64, 32)
    (checksum,) = page_checksums(words, np.array([block], dtype=np.uint32))
    content[8:10] = int(checksum).to_bytes(2, "little")
    return bytes(content)


def relation(blocks: int, *, first: int = 0) -> bytes:
    """That many good pages, each unlike the others."""
    return b"".join(page(first + number, fill=number % 255 + 1) for number in range(blocks))


def copy_entries(
    repository: Repository,
    entries: Iterable[Entry],
    *,
    jobs: int = 2,
    limit: int = BATCH_BYTES,
    rules: ReadingRules = RULES,
    listed: Callable[[], None] = lambda: None,
) -> CopyResult:
    """Copy entries as a backup does; `listed` is called when all are listed and none is read."""
    pieces = [piece for entry in entries for piece in cut(entry, limit=limit)]
    batches = list(make_batches(pieces, limit=limit))
    listed()
    copier = Copier(repository, "main", LABEL, rules=rules, progress=NoProgress())
    for _ in copier.copy(batches, jobs=jobs):
        pass
    return copier.finish()


def records_of(repository: Repository, copied: CopyResult) -> dict[bytes, FileRecord]:
    """The file list as it is stored, decoded, so that extents are known to cover every file."""
    manifest = make_manifest(parts=copied.parts, packs=copied.packs, maps=copied.maps)
    return {record.path: record for record in read_records(repository, manifest)}


def content_of(repository: Repository, copied: CopyResult, record: FileRecord) -> bytes:
    """A file's bytes as they would be restored, every extent's CRC compared on the way."""
    return b"".join(_extents(repository, copied, record))


def _extents(repository: Repository, copied: CopyResult, record: FileRecord) -> Iterator[bytes]:
    for extent in record.extents:
        if extent.pack is None:
            yield bytes(extent.length)
        else:
            opened = OpenedPack(repository, copied.packs[extent.pack])
            yield b"".join(bytes(piece) for piece in opened.read(extent))


def contents_of(repository: Repository, copied: CopyResult) -> dict[bytes, bytes]:
    """Every file's bytes by path."""
    records = records_of(repository, copied)
    return {path: content_of(repository, copied, record) for path, record in records.items()}


def pieces_of(entry: Entry, *, limit: int = BATCH_BYTES) -> list[Piece]:
    """The pieces of one entry."""
    return list(cut(entry, limit=limit))

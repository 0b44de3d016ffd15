"""Packs read back: which extents of which files lie in a pack, and the bytes of each.

Records come in path order and packs were filled in that order, so extents are grouped by pack while they stream by:
a pack is fetched once, and neither the file list nor the data are ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from awscrt.checksums import crc32c

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import Kind
from pgvault.repository.filelist import Extent, FileRecord
from pgvault.repository.objects import Stored, read_frames
from pgvault.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class PlacedExtent:
    """An extent and the file it belongs to."""

    record: FileRecord
    extent: Extent


@dataclass(frozen=True, slots=True)
class PackRun:
    """Extents that follow each other in path order and lie in one pack."""

    pack: int  # number in the root's table
    extents: tuple[PlacedExtent, ...]


def pack_runs(records: Iterable[FileRecord]) -> Iterator[PackRun]:
    """Group the extents of a stream of records by pack, in order; zeros lie in no pack and are left out."""
    pack: int | None = None
    run: list[PlacedExtent] = []
    for record in records:
        for extent in record.extents:
            if extent.pack is None:
                continue
            if extent.pack != pack:
                if pack is not None:
                    yield PackRun(pack, tuple(run))
                pack, run = extent.pack, []
            run.append(PlacedExtent(record, extent))
    if pack is not None:
        yield PackRun(pack, tuple(run))


class OpenedPack:
    """A pack's plaintext, every frame of it opened and checked."""

    def __init__(self, repository: Repository, stored: Stored) -> None:
        self._path = stored.path
        self._frames = [memoryview(frame) for frame in read_frames(repository, stored.path, Kind.PACK, expected=stored)]

    def read(self, extent: Extent) -> Iterator[memoryview]:
        """Yield an extent's bytes, then compare them with what was read at the source. Raises ObjectCorrupt."""
        frame, offset, rest, crc = extent.frame, extent.frame_offset, extent.length, 0
        while rest:
            if frame >= len(self._frames) or offset >= len(self._frames[frame]):
                raise ObjectCorrupt(f"pack {self._path!r} ends before an extent that the file list places in it")
            piece = self._frames[frame][offset : offset + rest]
            crc = crc32c(piece, crc)
            yield piece
            rest -= len(piece)
            frame, offset = frame + 1, 0
        if crc != extent.crc32c:
            raise ObjectCorrupt(f"pack {self._path!r} opens, but holds other bytes than were read at the source")

"""The file list of a backup ("parts"): one JSON document a line, cut into objects.

    {"path": "base/5/1259", "kind": "file", "mode": 384, "mtime_ns": 1768473000123456789, "size": 106496,
     "crc32c": "9a71bb4c", "extents": [[0, 106496, 3, 7, 4096, "9a71bb4c"]], "map": [0, 1280]}
    {"path": "pg_wal", "kind": "directory", "mode": 448, "mtime_ns": 0}
    {"path": "pg_tblspc/16388", "kind": "symlink", "mode": 511, "mtime_ns": 0, "target": "/srv/fast"}
    {"path": "/etc/postgresql/18/main/pg_hba.conf", "kind": "external", …as file…}

Names are bytes: one that is not UTF-8 is given as "path_hex" (and "target_hex") instead. They come in path order,
component by component, or in that of a stream, a directory always before what is in it; then external files, and
`global/pg_control`, which was read last, comes last.
An extent is [file offset, length, pack, frame, offset in that frame's plaintext, CRC-32C]: `length` bytes that start
in frame `frame` of pack number `pack` of the root's table and go on through the following frames; pack null means
zeros. Extents are in file order and cover 0..size without gap or overlap. CRC-32C values are taken from what was read
at the source. "map" is [map number, byte offset in its plaintext]: see blockmap.py.
Fields that are not known are ignored, so that a later minor may add some.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import Kind
from pgvault.repository.fields import read_count
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import read_frames
from pgvault.repository.repository import Repository


class FileKind(StrEnum):
    """What stands under a path."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    EXTERNAL = "external"  # a file outside the data directory; its path is absolute


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of a file's bytes and where they are."""

    file_offset: int
    length: int
    pack: int | None  # number in the root's table; None: zeros
    frame: int
    frame_offset: int  # in the frame's plaintext
    crc32c: int  # of these bytes as read at the source


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One entry of a backup."""

    path: bytes
    kind: FileKind
    mode: int  # permission bits
    mtime_ns: int
    size: int = 0
    crc32c: int = 0  # of the whole file
    extents: tuple[Extent, ...] = ()
    block_map: tuple[int, int] | None = None  # (map number, byte offset)
    target: bytes | None = None  # of a symlink

    def encode(self) -> bytes:
        """Return its line."""
        document: dict[str, Any] = {**_name("path", self.path), "kind": self.kind, "mode": self.mode}
        document["mtime_ns"] = self.mtime_ns
        if self.kind in (FileKind.FILE, FileKind.EXTERNAL):
            document["size"] = self.size
            document["crc32c"] = f"{self.crc32c:08x}"
            document["extents"] = [
                [e.file_offset, e.length, e.pack, e.frame, e.frame_offset, f"{e.crc32c:08x}"] for e in self.extents
            ]
            if self.block_map is not None:
                document["map"] = list(self.block_map)
        if self.target is not None:
            document |= _name("target", self.target)
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes, *, where: str) -> FileRecord:
        """Read a line, checking that extents cover the file. Raises ObjectCorrupt."""
        try:
            document = json.loads(line)
            kind = FileKind(document["kind"])
            extents = tuple(map(_read_extent, document.get("extents", ())))
            block_map = document.get("map")
            record = cls(
                path=_read_name(document, "path") or b"",
                kind=kind,
                mode=read_count(document["mode"]),
                mtime_ns=int(document["mtime_ns"]),
                size=read_count(document.get("size", 0)),
                crc32c=int(document.get("crc32c", "0"), 16),
                extents=extents,
                block_map=None if block_map is None else (read_count(block_map[0]), read_count(block_map[1])),
                target=_read_name(document, "target"),
            )
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ObjectCorrupt(f"file list {where!r} holds a malformed line") from error
        record.check(where)
        return record

    def check(self, where: str) -> None:
        """Raise ObjectCorrupt when the record could write outside, or leave bytes of, its file."""
        parts = self.path.removeprefix(b"/").split(b"/")
        is_absolute = self.path.startswith(b"/")
        if is_absolute != (self.kind is FileKind.EXTERNAL) or {b"", b".", b".."} & set(parts) or b"\0" in self.path:
            raise ObjectCorrupt(f"file list {where!r} holds the path {self.path!r}")
        end = 0
        for extent in self.extents:
            if extent.file_offset != end or extent.length <= 0:
                raise ObjectCorrupt(f"file list {where!r}: the extents of {self.path!r} do not cover it")
            end += extent.length
        if end != self.size:
            raise ObjectCorrupt(f"file list {where!r}: the extents of {self.path!r} do not cover it")
        holds_bytes = self.kind in (FileKind.FILE, FileKind.EXTERNAL)
        if (self.size and not holds_bytes) or (self.target is not None) != (self.kind is FileKind.SYMLINK):
            raise ObjectCorrupt(f"file list {where!r}: {self.path!r} is no {self.kind}")


def read_records(repository: Repository, manifest: Manifest | LogicalManifest) -> Iterator[FileRecord]:
    """Yield a backup's records in their order. Raises ObjectMissing, ObjectCorrupt."""
    for part in manifest.parts:
        for line in _lines(read_frames(repository, part.path, Kind.PART, expected=part)):
            yield FileRecord.decode(line, where=part.path)


def _lines(frames: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for frame in frames:
        *lines, rest = (rest + frame).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _read_extent(fields: Sequence[Any]) -> Extent:
    file_offset, length, pack, frame, frame_offset, crc = fields
    return Extent(
        read_count(file_offset),
        read_count(length),
        None if pack is None else read_count(pack),
        read_count(frame),
        read_count(frame_offset),
        int(crc, 16),
    )


def _name(field: str, value: bytes) -> dict[str, str]:
    try:
        return {field: value.decode()}
    except UnicodeDecodeError:
        return {f"{field}_hex": value.hex()}


def _read_name(document: dict[str, Any], field: str) -> bytes | None:
    if f"{field}_hex" in document:
        return bytes.fromhex(document[f"{field}_hex"])
    value = document.get(field)
    return None if value is None else str(value).encode()

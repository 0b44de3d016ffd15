"""What was stored of a stream, kept to compare it with what the server says it sent.

Sixteen bytes a file: a million files are 16 MB. Both lists are in the order of the stream, so they are compared from
one end to the other; what is in one of them alone shows as the first that differs.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable

from blake3 import blake3

from pgvault.errors import SourceUnreadable
from pgvault.postgres.datadir import SERVER_DIRECTORIES
from pgvault.postgres.servermanifest import SentFile
from pgvault.repository.filelist import FileKind, FileRecord

HASH_BYTES = 8
DATABASE_VERSION = re.compile(rb"(?:base|pg_tblspc/[0-9]+/PG_[^/]+)/([0-9]+)/PG_VERSION")


class SentFiles:
    """The files of one base backup."""

    def __init__(self) -> None:
        self._paths: array[int] = array("Q")  # hashes
        self._sums: array[int] = array("Q")  # size and CRC-32C, hashed
        self._aside: dict[bytes, tuple[int, int]] = {}  # what is no record: path → size, CRC-32C
        self._directories: set[bytes] = set()  # those of SERVER_DIRECTORIES
        self._databases: set[int] = set()

    def add(self, records: Iterable[FileRecord]) -> None:
        """Note what was stored; configuration from outside the data directory is no part of the stream."""
        for record in records:
            if record.kind is FileKind.FILE:
                self._paths.append(_hash(record.path))
                self._sums.append(_sum(record.size, record.crc32c))
                if match := DATABASE_VERSION.fullmatch(record.path):
                    self._databases.add(int(match[1]))
            elif record.path in SERVER_DIRECTORIES:
                self._directories.add(record.path)

    def add_aside(self, path: bytes, size: int, crc: int) -> None:
        """Note what was read and not stored as a file."""
        self._aside[path] = size, crc

    def compare(self, sent: Iterable[SentFile]) -> None:
        """See that exactly what the server sent was stored. Raises SourceUnreadable for the first that was not."""
        place = 0
        aside = dict(self._aside)
        for file in sent:
            if (held := aside.pop(file.path, None)) is not None:
                if held != (file.size, file.crc32c):
                    raise _differs(file)
                continue
            if place == len(self._paths) or self._paths[place] != _hash(file.path):
                raise SourceUnreadable(
                    f"file {_text(file.path)!r}, which the server sent, is not what came in its place"
                )
            if self._sums[place] != _sum(file.size, file.crc32c):
                raise _differs(file)
            place += 1
        if place != len(self._paths) or aside:
            raise SourceUnreadable("more files came than the server says it sent")

    def require_whole(self, databases: Iterable[int]) -> None:
        """See that no directory of the server is missing, and no database. Raises SourceUnreadable.

        PostgreSQL passes over symbolic links with a warning, and its manifest does not know of them.
        """
        missing = [_text(path) for path in sorted(SERVER_DIRECTORIES - self._directories)]
        missing += [f"base/{oid}" for oid in sorted(set(databases) - self._databases)]
        if missing:
            raise SourceUnreadable(
                f"the server does not send {', '.join(missing)}",
                hint="PostgreSQL follows no symbolic links but those of tablespaces. Move the files back, or back up"
                " on the server's own host, with source: local.",
            )


def _differs(file: SentFile) -> SourceUnreadable:
    return SourceUnreadable(f"file {_text(file.path)!r} is not as the server sent it: it should have {file.size} bytes")


def _hash(content: bytes) -> int:
    return int.from_bytes(blake3(content).digest(length=HASH_BYTES))


def _sum(size: int, crc: int) -> int:
    return _hash(size.to_bytes(8) + crc.to_bytes(4))


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")

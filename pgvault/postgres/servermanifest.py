"""The manifest that a server sends at the end of a base backup: what it has sent, file by file.

    { "PostgreSQL-Backup-Manifest-Version": 2, …
    "Files": [
    { "Path": "base/5/1259", "Size": 106496, …, "Checksum-Algorithm": "CRC32C", "Checksum": "4cbb719a" },
    …],
    "WAL-Ranges": [
    { "Timeline": 1, "Start-LSN": "0/4000028", "End-LSN": "0/4000120" }
    ],
    "Manifest-Checksum": "<SHA-256 of every byte of the lines before>"}

Read line by line as it comes, as the server writes it: a million files are 150 MB of it, and none is kept. The sum at
its end is compared last, so what was read counts when `finish` has returned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pgvault.errors import ServerUnfit, UsageError
from pgvault.postgres.lsn import Lsn

CLOSING = b'"Manifest-Checksum": "'
LINE_MOST = 64 << 10  # a path has 1,024 bytes at most


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that the server says it has sent."""

    path: bytes
    size: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class WalRange:
    """WAL that the backup needs, on one timeline."""

    timeline: int
    start_lsn: Lsn
    end_lsn: Lsn


class ServerManifest:
    """Read its `files` first; then `wal_ranges` are known, and it was whole."""

    def __init__(self, chunks: Iterable[memoryview]) -> None:
        self.wal_ranges: tuple[WalRange, ...] = ()
        self._chunks = chunks
        self._digest = hashlib.sha256()

    def files(self) -> Iterator[SentFile]:
        """Yield every file in the order of the manifest. Raises ServerUnfit, at the end too."""
        ranges = []
        for line in self._lines():
            if not line.startswith(b'{ "'):
                continue
            document = _parse(line)
            if "Timeline" in document:
                ranges.append(_range(document))
            elif "Checksum" in document or "Size" in document:
                yield _file(document)
        self.wal_ranges = tuple(ranges)

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines before the closing one, and compare that."""
        rest = b""
        closing = None
        for chunk in self._chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if closing is not None:
                    raise _unreadable()
                if line.startswith(CLOSING):
                    closing = line
                    continue
                self._digest.update(line + b"\n")
                yield line
            if len(rest) > LINE_MOST:
                raise _unreadable()
        if rest or closing != CLOSING + self._digest.hexdigest().encode() + b'"}':
            raise ServerUnfit("the server's manifest of the base backup is not whole")


def _parse(line: bytes) -> dict[str, object]:
    try:
        document = json.loads(line.rstrip(b","))
    except ValueError as error:
        # The first line opens the whole; it names a version and closes nothing.
        if line.startswith(b'{ "PostgreSQL-Backup-Manifest-Version"'):
            return {}
        raise _unreadable() from error
    return document if isinstance(document, dict) else {}


def _file(document: dict[str, object]) -> SentFile:
    encoded = document.get("Encoded-Path")
    try:
        path = bytes.fromhex(str(encoded)) if encoded is not None else str(document["Path"]).encode()
        # Its bytes as they stand in memory: the least significant first.
        crc = int.from_bytes(bytes.fromhex(str(document["Checksum"])), "little")
        found = SentFile(path, _number(document["Size"]), crc)
    except (KeyError, ValueError) as error:
        raise _unreadable() from error
    if document.get("Checksum-Algorithm") != "CRC32C":
        raise _unreadable()
    return found


def _range(document: dict[str, object]) -> WalRange:
    try:
        start, end = (Lsn.parse(str(document[name])) for name in ("Start-LSN", "End-LSN"))
        return WalRange(_number(document["Timeline"]), start, end)
    except (KeyError, ValueError, UsageError) as error:
        raise _unreadable() from error


def _number(value: object) -> int:
    return int(str(value))


def _unreadable() -> ServerUnfit:
    return ServerUnfit("the server's manifest of the base backup can not be read")

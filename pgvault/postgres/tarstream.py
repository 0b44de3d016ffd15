"""Read a tar archive that comes in pieces cut anywhere, as a server sends it: header, content, padding, over and over.

    512 header | content, padded to 512 | 512 header | … | 1024 zeros

Headers are read by the standard library, which knows numbers in both of their forms and checks their sums; it would
copy contents through many small buffers, so those are brought straight to where they are wanted. An archive that stops
anywhere but behind its zeros is cut off, and an error.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pgvault.errors import ServerUnfit

BLOCK = 512
ZEROS = bytes(BLOCK)


class MemberKind(Enum):
    """What a member is; PostgreSQL sends nothing else."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


KINDS = {tarfile.REGTYPE: MemberKind.FILE, tarfile.DIRTYPE: MemberKind.DIRECTORY, tarfile.SYMTYPE: MemberKind.SYMLINK}


@dataclass(frozen=True, slots=True)
class Member:
    """One header."""

    name: bytes  # relative, '/' between components, none at the end
    kind: MemberKind
    size: int  # bytes of content
    mode: int  # permission bits
    mtime: int  # seconds since 1970
    uid: int
    gid: int
    user: str  # as the header says; PostgreSQL always says postgres
    group: str
    target: bytes | None  # of a SYMLINK


class TarStream:
    """One archive: `next` member, `take` its content, `next` …; what was not taken is passed over."""

    def __init__(self, name: str, chunks: Iterator[memoryview]) -> None:
        self._name = name
        self._chunks = chunks
        self._chunk = memoryview(b"")  # what is left of the last one
        self._left = 0  # of the member's content
        self._padding = 0  # behind it

    def next(self) -> Member | None:
        """Return the next member, None at the end of a whole archive. Raises ServerUnfit."""
        self._skip(self._left + self._padding)
        header = bytes(self._read(BLOCK))
        if header == ZEROS:
            self._require_end()
            self._left = self._padding = 0
            return None
        member = self._parse(header)
        self._left = member.size
        self._padding = -member.size % BLOCK
        return member

    def take(self, most: int) -> bytes | bytearray:
        """Return the next bytes of the member, `most` of them unless there are fewer. Raises ServerUnfit."""
        content = self._read(min(most, self._left))
        self._left -= len(content)
        return content

    def _parse(self, header: bytes) -> Member:
        try:
            found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            kind = KINDS[found.type]
        except (tarfile.HeaderError, KeyError, ValueError) as error:
            raise ServerUnfit(
                f"{self._name} of the base backup holds a header that no tar of PostgreSQL has"
            ) from error
        name, target = (text.encode("utf-8", "surrogateescape") for text in (found.name, found.linkname))
        name = name.removeprefix(b"./")  # as the server writes directories that it leaves empty
        parts = name.split(b"/")
        if found.size < 0 or {b"", b".", b".."} & set(parts):
            raise ServerUnfit(f"{self._name} of the base backup holds the name {found.name!r}, size {found.size}")
        return Member(
            name=name,
            kind=kind,
            size=found.size if kind is MemberKind.FILE else 0,
            mode=found.mode & 0o7777,
            mtime=int(found.mtime),
            uid=found.uid,
            gid=found.gid,
            user=found.uname,
            group=found.gname,
            target=target if kind is MemberKind.SYMLINK else None,
        )

    def _read(self, count: int) -> bytes | bytearray:
        """Return exactly that many bytes."""
        if count <= len(self._chunk):
            content, self._chunk = bytes(self._chunk[:count]), self._chunk[count:]
            return content
        gathered = bytearray(count)
        filled = 0
        while filled < count:
            piece = self._available()[: count - filled]
            gathered[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._chunk = self._chunk[len(piece) :]
        return gathered

    def _skip(self, count: int) -> None:
        while count:
            passed = min(count, len(self._available()))
            self._chunk = self._chunk[passed:]
            count -= passed

    def _available(self) -> memoryview:
        while not self._chunk:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ServerUnfit(f"{self._name} of the base backup ends in the middle")
            self._chunk = chunk
        return self._chunk

    def _require_end(self) -> None:
        if self._read(BLOCK) != ZEROS or self._chunk or any(len(chunk) for chunk in self._chunks):
            raise ServerUnfit(f"{self._name} of the base backup goes on behind its end")

"""What pg_dump has written so far, as pieces to be packed.

pg_dump opens each file of a directory archive once, appends to it and closes it. When is one finished?

    <number>.dat    rows, as COPY gives them: they end with a line that no row can hold
    blob_<oid>.dat  a large object: it holds bytes, and no process of pg_dump's has it open. An empty one may be about
                    to be opened, and waits until pg_dump has ended
    toc.dat, *.toc  tables of contents: kept until pg_dump has ended, since they say whether everything was seen
"""

# Paths are bytes, which pathlib does not take.
# ruff: noqa: PTH115, PTH116, PTH208

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgvault.backup.batches import BATCH_BYTES, Piece
from pgvault.postgres.datadir import Entry, EntryKind

CONTENTS = (b".toc", b"toc.dat")  # ends of names
ROWS = re.compile(rb"[0-9]+\.dat")
# pg_dump's own, behind the rows of a table; 15 to 18. The line feed before it counts: the rows `x\.` and two empty ones
# are `x\\.`, `` and `` to COPY, which ends in the same bytes otherwise.
END_OF_ROWS = b"\n\\.\n\n\n"
NO_ROWS = END_OF_ROWS[1:]  # all of the file of an empty table
MODE = 0o600
BLOCK_BYTES = 4096  # of a file system: what of a range lies in a part of one keeps the whole of it


@dataclass(slots=True)
class SpooledFile:
    """One file of the spool."""

    name: bytes  # in the file list: 16384/3005.dat
    source: bytes
    size: int = 0  # bytes written so far
    taken: int = 0  # bytes of which pieces were made
    freed: int = 0  # bytes that are stored, and whose blocks were given back
    is_closed: bool = False
    is_finished: bool = False  # its last piece was made

    @property
    def held(self) -> int:
        """Bytes that it takes up in the spool."""
        return self.size - self.freed

    def take(self, *, at_least: int) -> Iterator[Piece]:
        """Make pieces of what is there: all of a closed file; of a growing one while there are `at_least` bytes.

        Of a growing one the last bytes stay: they will tell whether it is finished. Ranges begin and end where blocks
        do, since nothing but whole blocks can be given back.
        """
        while (rest := self.size - self.taken - len(END_OF_ROWS)) > BATCH_BYTES:
            yield self._piece(BATCH_BYTES, is_last=False)
        if self.is_closed:
            self.is_finished = True
            yield self._piece(self.size - self.taken, is_last=True)
        elif (blocks := rest - rest % BLOCK_BYTES) >= at_least:
            yield self._piece(blocks, is_last=False)

    def _piece(self, length: int, *, is_last: bool) -> Piece:
        offset, self.taken = self.taken, self.taken + length
        return Piece(make_entry(self.name, self.source, self.size), offset, length, offset == 0, is_last)


class DumpDirectory:
    """The directory that one pg_dump writes."""

    def __init__(self, path: Path, *, prefix: bytes, leader: int) -> None:
        self._path = os.fsencode(path)
        self._prefix = prefix  # of names in the file list: the database's oid
        self._leader = leader  # process id of pg_dump
        self._files: dict[bytes, SpooledFile] = {}
        self.seen: set[bytes] = set()  # names of data files, without prefix

    def look(self, *, is_over: bool, at_least: int) -> list[tuple[SpooledFile, Piece]]:
        """Return new pieces, in the order of each file. `is_over`: pg_dump has ended, before this call."""
        self._list()
        opened = None if is_over else open_files(self._leader, self._path)
        pieces = []
        for each in list(self._files.values()):
            each.is_closed = _is_closed(each, opened, is_over=is_over)
            if each.is_closed:
                each.size = os.stat(each.source).st_size  # what was written before it was closed
            pieces += [(each, piece) for piece in each.take(at_least=at_least)]
            if each.is_finished:
                del self._files[each.name]
        return pieces

    @property
    def unfinished(self) -> list[bytes]:
        """Names of the files whose end was not seen."""
        return list(self._files)

    def held(self) -> int:
        """Bytes in files that still grow."""
        return sum(each.held for each in self._files.values())

    def contents(self) -> list[SpooledFile]:
        """Return the tables of contents; to be asked when pg_dump has ended."""
        return [
            SpooledFile(self._prefix + b"/" + entry.name, entry.path, entry.stat().st_size)
            for entry in sorted(os.scandir(self._path), key=lambda entry: entry.name)
            if entry.name.endswith(CONTENTS)
        ]

    def _list(self) -> None:
        try:
            entries = list(os.scandir(self._path))
        except FileNotFoundError:
            return  # pg_dump has not made it yet
        for entry in entries:
            if entry.name.endswith(CONTENTS):
                continue
            name = self._prefix + b"/" + entry.name
            if name not in self._files:
                if entry.name in self.seen:
                    continue  # finished, and not removed yet
                self.seen.add(entry.name)
                self._files[name] = SpooledFile(name, entry.path)
            self._files[name].size = entry.stat().st_size


def make_entry(name: bytes, source: bytes, size: int) -> Entry:
    """Return the entry of a file of a logical backup."""
    return Entry(name, source, EntryKind.FILE, size, MODE, time.time_ns(), os.geteuid(), os.getegid())


def _is_closed(file: SpooledFile, opened: set[bytes] | None, *, is_over: bool) -> bool:
    if ROWS.fullmatch(file.name.rpartition(b"/")[2]):
        return _ends_rows(file)
    return is_over or (opened is not None and file.size > 0 and file.source not in opened)


def _ends_rows(file: SpooledFile) -> bool:
    """Whether the last bytes are those behind all rows."""
    at = max(0, file.size - len(END_OF_ROWS))
    descriptor = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = os.pread(descriptor, len(END_OF_ROWS), at)
    finally:
        os.close(descriptor)
    return end == END_OF_ROWS or (file.size == len(NO_ROWS) and end == NO_ROWS)


def open_files(leader: int, directory: bytes) -> set[bytes] | None:
    """Return the files below `directory` that a leader and its children have open; None where that can not be told."""
    found = set()
    for process in (leader, *_children(leader)):
        descriptors = b"/proc/%d/fd" % process
        try:
            numbers = os.listdir(descriptors)
        except FileNotFoundError:
            if process == leader:
                return None
            continue  # a worker that has ended
        except OSError:
            return None
        for number in numbers:
            with contextlib.suppress(OSError):  # closed meanwhile
                target = os.readlink(descriptors + b"/" + number)
                if target.startswith(directory):
                    found.add(target)
    return found


def _children(leader: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{leader}/task/{leader}/children").read_text().split()]
    except FileNotFoundError:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == leader]
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0

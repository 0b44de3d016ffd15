"""Bring the files of a backup into an empty directory: each pack is read once, each extent goes to its place.

    parts ──► records in path order ──► extents waiting, by pack ──► worker: get, open, compare CRC-32C, pwrite
                     │                                                ──► worker: …
                     └─► directories and links, made at once

A file counts when every extent of it opened and has the CRC-32C that was taken when it was read at the source; then it
gets its mode. Zero extents are holes. What is held at a time: one pack a worker and the extents of few packs, never
the list of files. `global/pg_control` and `postgresql.auto.conf` are not written but returned, as are files from
outside the data directory: what becomes of them is the caller's business. Nothing is durable before `sync_tree`.

No link is ever followed: files are made with O_EXCL and O_NOFOLLOW in directories that we made, and those of a
tablespace below its own directory. The only links made are those of tablespaces.
"""

# Paths are bytes, which pathlib does not take.
# ruff: noqa: PTH101, PTH102, PTH118, PTH211

from __future__ import annotations

import errno
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from awscrt.checksums import crc32c

from pgvault.errors import ObjectCorrupt, PgvaultError
from pgvault.pipeline.header import Kind
from pgvault.progress import Progress
from pgvault.repository.checksums import check_sum
from pgvault.repository.filelist import Extent, FileKind, FileRecord, read_records
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import read_frames
from pgvault.repository.repository import Repository
from pgvault.restore.durable import unwritable

CONTROL_FILE = b"global/pg_control"
AUTO_CONF = b"postgresql.auto.conf"
HELD = frozenset({CONTROL_FILE, AUTO_CONF})
HELD_BYTES_MAX = 64 << 20  # of all files that are returned instead of written
TABLESPACE_LINK = re.compile(rb"pg_tblspc/([1-9][0-9]{0,9})")
PACKS_WAITING = 8  # whose extents are still being collected; a full backup's come one after the other
EXTENTS_WAITING = 100_000  # some 30 MB
NO_DESCRIPTOR = -1


@dataclass(frozen=True, slots=True)
class Destination:
    """Where files go and whose they will be."""

    data: Path  # exists, is empty and ours
    tablespaces: Mapping[int, Path] = field(default_factory=dict)  # as `data`; those inside it are not listed
    owner: tuple[int, int] | None = None  # uid and gid to give everything to

    def locate(self, path: bytes) -> bytes:
        """Return the absolute place of a record's path, below the directory of its tablespace if it is in one."""
        match = TABLESPACE_LINK.match(path)
        if match is not None and int(match[1]) in self.tablespaces and path[match.end() :].startswith(b"/"):
            return os.fsencode(self.tablespaces[int(match[1])]) + path[match.end() :]
        return os.path.join(os.fsencode(self.data), path)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Every directory that holds restored files."""
        return (self.data, *self.tablespaces.values())


@dataclass(frozen=True, slots=True)
class Effort:
    """How a restore works."""

    jobs: int  # worker threads
    progress: Progress
    is_durable: bool = True  # what is thrown away after a drill need not survive a power cut


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that was read and checked, and not written."""

    record: FileRecord
    content: bytes


@dataclass(frozen=True, slots=True)
class RestoredFiles:
    """What was not simply written."""

    held: Mapping[bytes, HeldFile]  # by path: HELD, and the external files
    links: tuple[tuple[bytes, bytes], ...]  # (path, target) of links that were left out
    has_group_access: bool  # the cluster was made with --allow-group-access


def restore_files(
    repository: Repository,
    manifest: Manifest,
    destination: Destination,
    *,
    effort: Effort,
    restored: Callable[[FileRecord], None] = lambda _: None,
) -> RestoredFiles:
    """Restore every file of a backup. `restored` is called for each file inside the data directory that is written.

    It is called before the file's bytes are there; they are when this returns. Raises ObjectCorrupt, ObjectMissing,
    DiskFull, and what the store raises; what was written till then stays.
    """
    restoring = _Restoring(repository, manifest, destination, effort.progress, restored)
    with ThreadPoolExecutor(effort.jobs, thread_name_prefix="restore") as pool:
        running: deque[Future[None]] = deque()
        try:
            for pack, writes in restoring.groups():
                running.append(pool.submit(restoring.write_pack, pack, writes))
                while len(running) > effort.jobs:
                    running.popleft().result()
            while running:
                running.popleft().result()
        except BaseException:
            restoring.failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return restoring.finish()


class _Target:
    """One file on its way; several workers may write to it."""

    def __init__(self, record: FileRecord, path: bytes, owner: tuple[int, int] | None) -> None:
        self._record = record
        self._path = path
        self._owner = owner
        self._lock = threading.Lock()
        self._is_made = False
        self._missing = record.size

    @property
    def name(self) -> bytes:
        return self._record.path

    def open(self) -> int:
        """Return a descriptor to write with; the first one makes the file, at its full length."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with self._lock:
            if self._is_made:
                return os.open(self._path, flags)
            descriptor = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            self._is_made = True
        if self._record.size:
            os.truncate(descriptor, self._record.size)
        return descriptor

    def write(self, descriptor: int, piece: memoryview, offset: int) -> None:
        """Write all of `piece` at a place of the file."""
        while piece:
            count = os.pwrite(descriptor, piece, offset)
            piece, offset = piece[count:], offset + count

    def close(self, descriptor: int, length: int) -> None:
        """Count `length` bytes as checked and in place; a whole file gets its mode and owner."""
        try:
            with self._lock:
                self._missing -= length
                is_whole = self._missing == 0
            if is_whole:
                if self._owner is not None:
                    os.chown(descriptor, *self._owner)
                os.chmod(descriptor, self._record.mode & 0o777)
        finally:
            os.close(descriptor)


class _HeldTarget(_Target):
    """A file that is kept in memory."""

    def __init__(self, record: FileRecord) -> None:
        super().__init__(record, record.path, None)
        self.record = record
        self.content = bytearray(record.size)

    def open(self) -> int:
        return NO_DESCRIPTOR

    def write(self, descriptor: int, piece: memoryview, offset: int) -> None:  # noqa: ARG002
        self.content[offset : offset + len(piece)] = piece

    def close(self, descriptor: int, length: int) -> None:
        """Nothing to do: `finish` is called when all are whole."""


@dataclass(slots=True)
class _Write:
    """An extent on its way from its pack into its file."""

    target: _Target
    extent: Extent
    descriptor: int | None = None
    done: int = 0
    crc: int = 0

    def take(self, piece: memoryview) -> None:
        """Write the extent's next bytes."""
        try:
            if self.descriptor is None:
                self.descriptor = self.target.open()
            self.target.write(self.descriptor, piece, self.extent.file_offset + self.done)
        except OSError as error:
            raise _unwritable_record(self.target.name, error) from error
        self.crc = crc32c(piece, self.crc)
        self.done += len(piece)

    def finish(self, pack: str) -> None:
        """Compare what was written with what was read at the source. Raises ObjectCorrupt."""
        if self.crc != self.extent.crc32c:
            raise ObjectCorrupt(f"{self.target.name!r} in pack {pack!r} is not what was read at the source")
        descriptor, self.descriptor = self.descriptor, None
        assert descriptor is not None
        self.target.close(descriptor, self.extent.length)

    def give_up(self) -> None:
        """Close what is open."""
        if self.descriptor is not None and self.descriptor != NO_DESCRIPTOR:
            os.close(self.descriptor)


class _Restoring:
    """One restore of files under way."""

    def __init__(
        self,
        repository: Repository,
        manifest: Manifest,
        destination: Destination,
        progress: Progress,
        restored: Callable[[FileRecord], None],
    ) -> None:
        self.failed = threading.Event()
        self._repository = repository
        self._manifest = manifest
        self._destination = destination
        self._progress = progress
        self._restored = restored
        self._held: dict[bytes, _HeldTarget] = {}
        self._links: list[tuple[bytes, bytes]] = []
        self._has_group_access = False

    def groups(self) -> Iterator[tuple[int, list[_Write]]]:
        """Yield what to write out of one pack, over and over until every record was met."""
        waiting: dict[int, list[_Write]] = {}
        count = 0
        for record in read_records(self._repository, self._manifest):
            for write in self._begin(record):
                assert write.extent.pack is not None
                waiting.setdefault(write.extent.pack, []).append(write)
                count += 1
                while len(waiting) > PACKS_WAITING or count > EXTENTS_WAITING:
                    pack = next(iter(waiting))
                    count -= len(waiting[pack])
                    yield pack, waiting.pop(pack)
        yield from waiting.items()

    def write_pack(self, number: int, writes: list[_Write]) -> None:
        """Read one pack and write what was asked for out of it."""
        if self.failed.is_set():
            return
        if number >= len(self._manifest.packs):
            raise ObjectCorrupt(f"{writes[0].target.name!r} names pack {number}, which the backup does not have")
        pack = self._manifest.packs[number]
        todo = deque(sorted(writes, key=lambda write: (write.extent.frame, write.extent.frame_offset)))
        begun: list[_Write] = []
        try:
            for frame, plain in enumerate(read_frames(self._repository, pack.path, Kind.PACK, expected=pack)):
                begun = self._write_frame(frame, memoryview(plain), begun, todo, pack.path)
        finally:
            for write in begun:
                write.give_up()
        if begun or todo:
            name = (begun or list(todo))[0].target.name
            raise ObjectCorrupt(f"{name!r} needs more than pack {pack.path!r} holds")

    def finish(self) -> RestoredFiles:
        """Return what was held back."""
        held = {path: HeldFile(target.record, bytes(target.content)) for path, target in self._held.items()}
        return RestoredFiles(held, tuple(self._links), self._has_group_access)

    def _write_frame(
        self, frame: int, plain: memoryview, begun: list[_Write], todo: deque[_Write], pack: str
    ) -> list[_Write]:
        """Write what one frame holds; return the extents that go on in the next."""
        while todo and todo[0].extent.frame == frame:
            begun.append(todo.popleft())
        unfinished = []
        for write in begun:
            start = write.extent.frame_offset if write.extent.frame == frame else 0
            piece = plain[start : start + write.extent.length - write.done]
            if write.extent.frame == frame and not piece:
                raise ObjectCorrupt(f"{write.target.name!r} begins behind the end of frame {frame} of pack {pack!r}")
            write.take(piece)
            self._progress.advance(len(piece))
            if write.done < write.extent.length:
                unfinished.append(write)
            else:
                write.finish(pack)
        return unfinished

    def _begin(self, record: FileRecord) -> Iterator[_Write]:
        """Make what a record stands for; yield what of its bytes is in packs."""
        if record.kind is FileKind.DIRECTORY:
            self._make_directory(record)
        elif record.kind is FileKind.SYMLINK:
            self._make_link(record)
        else:
            target = self._target(record)
            check_sum(record)
            holes = sum(extent.length for extent in record.extents if extent.pack is None)
            if holes or not record.size:
                self._make_hole(target, holes)
            yield from (_Write(target, extent) for extent in record.extents if extent.pack is not None)

    def _target(self, record: FileRecord) -> _Target:
        if record.kind is FileKind.FILE and record.path not in HELD:
            self._restored(record)
            return _Target(record, self._destination.locate(record.path), self._destination.owner)
        held = sum(len(target.content) for target in self._held.values()) + record.size
        if record.path in self._held or held > HELD_BYTES_MAX:
            raise ObjectCorrupt(
                f"file list of backup {self._manifest.label!r} holds {record.path!r} twice or too large"
            )
        self._held[record.path] = _HeldTarget(record)
        return self._held[record.path]

    def _make_hole(self, target: _Target, length: int) -> None:
        try:
            target.close(target.open(), length)
        except OSError as error:
            raise _unwritable_record(target.name, error) from error
        self._progress.advance(length)

    def _make_directory(self, record: FileRecord) -> None:
        path = self._destination.locate(record.path)
        try:
            # Whatever the mode was at the source: we have to write into it, and so will the server.
            os.mkdir(path)
            os.chmod(path, (record.mode & 0o777) | 0o700)
            if self._destination.owner is not None:
                os.chown(path, *self._destination.owner, follow_symlinks=False)
        except OSError as error:
            raise _unwritable_record(record.path, error) from error
        if record.path == b"global":
            self._has_group_access = record.mode & 0o050 == 0o050

    def _make_link(self, record: FileRecord) -> None:
        """Link a tablespace. Other links lead out of the cluster that was backed up: where, is no business of ours."""
        assert record.target is not None
        match = TABLESPACE_LINK.fullmatch(record.path)
        if match is None:
            self._links.append((record.path, record.target))
            return
        if int(match[1]) not in self._destination.tablespaces:
            raise ObjectCorrupt(f"backup {self._manifest.label!r} links {record.path!r}, and knows no such tablespace")
        path = self._destination.locate(record.path)
        try:
            os.symlink(os.fsencode(self._destination.tablespaces[int(match[1])]), path)
            if self._destination.owner is not None:
                os.chown(path, *self._destination.owner, follow_symlinks=False)
        except OSError as error:
            raise _unwritable_record(record.path, error) from error


def _unwritable_record(path: bytes, error: OSError) -> PgvaultError:
    """A name that is there already, or has no directory, comes from a list that is none."""
    if error.errno in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return ObjectCorrupt(f"file list: {path!r} stands twice, or in no directory")
    return unwritable(path, error)

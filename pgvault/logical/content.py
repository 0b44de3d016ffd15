"""Read the files of a logical backup: one as a stream, or a selection of them into a directory.

    file ──► its extents ──► packs, opened and checked ──► bytes, each extent's CRC-32C compared before any is given

A directory is made under another name, `DIR.part`, and gets its own when everything in it is whole and durable: what
was interrupted does not look like a backup. Files are 0600 and directories 0700: they hold what the database holds.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pgvault.errors import DirectoryNotEmpty, DiskFull, ObjectCorrupt, ObjectMissing
from pgvault.pooling import map_bounded
from pgvault.repository.checksums import check_sum
from pgvault.repository.filelist import Extent, FileKind, FileRecord, read_records
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.packs import OpenedPack, PlacedExtent, pack_runs
from pgvault.repository.repository import Repository
from pgvault.restore.durable import sync_file, sync_tree, unwritable
from pgvault.restore.files import Effort

PART = ".part"
ZEROS = memoryview(bytes(1 << 20))
SMALL_MAX = 1 << 30  # of a file that is held whole: tables of contents, lists, roles
ROOM_LEFT = 16 << 20  # bytes that are not filled to the last
PACKS_KEPT = 2


@dataclass(frozen=True, slots=True)
class Written:
    """What was written into a directory."""

    file_count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Files:
    """What to write into a directory."""

    records: Sequence[FileRecord]
    extra: Mapping[str, bytes] = field(default_factory=dict)  # small files of the caller's own, by name


class Packs:
    """The packs of a backup, the last few kept open: files that lie side by side read each pack once.

    May be used by several threads; each pack that is kept holds its plaintext, some 32 MiB.
    """

    def __init__(self, repository: Repository, manifest: LogicalManifest, *, kept: int = PACKS_KEPT) -> None:
        self._repository = repository
        self._manifest = manifest
        self._kept = kept
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, tuple[threading.Lock, list[OpenedPack]]] = OrderedDict()

    def open(self, number: int) -> OpenedPack:
        """Return a pack, every frame of it opened and checked. Raises ObjectCorrupt, ObjectMissing."""
        if number >= len(self._manifest.packs):
            raise ObjectCorrupt(f"the file list names pack {number}, which backup {self._manifest.label!r} has not")
        with self._lock:
            lock, found = self._opened.setdefault(number, (threading.Lock(), []))
            self._opened.move_to_end(number)
            while len(self._opened) > self._kept:
                self._opened.popitem(last=False)
        with lock:  # two that want the same pack fetch it once
            if not found:
                found.append(OpenedPack(self._repository, self._manifest.packs[number]))
            return found[0]


def records_of(repository: Repository, manifest: LogicalManifest) -> dict[bytes, FileRecord]:
    """Return the backup's files by path. Raises ObjectCorrupt, ObjectMissing."""
    records: dict[bytes, FileRecord] = {}
    for record in read_records(repository, manifest):
        if record.kind is FileKind.DIRECTORY:
            continue
        if record.kind is not FileKind.FILE or record.path in records:
            raise ObjectCorrupt(f"file list of backup {manifest.label!r} holds {record.path!r} twice or as a link")
        check_sum(record)
        records[record.path] = record
    return records


def find_record(records: Mapping[bytes, FileRecord], path: bytes, manifest: LogicalManifest) -> FileRecord:
    """Return a file's record. Raises ObjectMissing."""
    if path not in records:
        raise ObjectMissing(f"backup {manifest.label!r} has no file {os.fsdecode(path)!r}")
    return records[path]


def read_file(
    repository: Repository, manifest: LogicalManifest, record: FileRecord, *, packs: Packs | None = None
) -> Iterator[memoryview]:
    """Yield a file's bytes, front to end; what is yielded has the CRC-32C of what was read at the source.

    Raises ObjectCorrupt, ObjectMissing, and what the store raises: whoever passes the bytes on has an end then only
    when the iterator has.
    """
    packs = packs or Packs(repository, manifest)
    for extent in record.extents:
        yield from _zeros(extent.length) if extent.pack is None else _checked(packs.open(extent.pack), extent)


def read_whole(repository: Repository, manifest: LogicalManifest, record: FileRecord) -> bytes:
    """Return a small file's content. Raises ObjectCorrupt, also when it is larger than any such file is."""
    if record.size > SMALL_MAX:
        raise ObjectCorrupt(f"{os.fsdecode(record.path)!r} has {record.size} bytes, which is too much to be read whole")
    return b"".join(read_file(repository, manifest, record))


def write_files(
    repository: Repository,
    manifest: LogicalManifest,
    directory: Path,
    files: Files,
    *,
    effort: Effort,
) -> Written:
    """Write files into `directory`, which must be absent or empty, each under its path; all of them or nothing.

    Raises DirectoryNotEmpty, DiskFull, ObjectCorrupt, and what the store raises; what was written by then is gone.
    """
    if not directory.name:
        raise DirectoryNotEmpty(f"'{directory}' is not empty", hint="Give a directory that is absent or empty.")
    part = directory.with_name(directory.name + PART)
    _require_empty(directory, part)
    size = sum(record.size for record in files.records)
    require_room(directory.parent, size)
    effort.progress.phase("fetching", size)
    try:
        part.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(part, error) from error
    try:
        fill_directory(repository, manifest, part, records=files.records, effort=effort)
        for name, content in files.extra.items():
            _write_extra(part / name, content)
        sync_tree(part, jobs=effort.jobs)
        _rename(part, directory)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Written(len(files.records), size)


def fill_directory(
    repository: Repository,
    manifest: LogicalManifest,
    directory: Path,
    *,
    records: Collection[FileRecord],
    effort: Effort,
) -> None:
    """Write files below an existing directory, each pack read once. They are not durable yet."""
    for record in records:
        _make_file(directory, record)
    runs = pack_runs(sorted(records, key=_first_place))

    def write(extents: tuple[int, tuple[PlacedExtent, ...]]) -> int:
        number, placed = extents
        pack = Packs(repository, manifest).open(number)
        return sum(_write_extent(directory, each, pack) for each in placed)

    with ThreadPoolExecutor(effort.jobs, thread_name_prefix="restore") as pool:
        for count in map_bounded(pool, write, ((run.pack, run.extents) for run in runs), ahead=effort.jobs):
            effort.progress.advance(count)


def require_room(directory: Path, size: int) -> None:
    """Raise DiskFull when a directory's file system has less room than `size` bytes."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise unwritable(directory, error) from error
    if free < size + ROOM_LEFT:
        raise DiskFull(f"'{directory}' has {free} bytes free, {size} are needed", hint="Choose another directory.")


def _first_place(record: FileRecord) -> tuple[int, int, int, bytes]:
    """Where a file begins in the packs, so that neighbours are fetched together."""
    for extent in record.extents:
        if extent.pack is not None:
            return extent.pack, extent.frame, extent.frame_offset, record.path
    return 0, 0, 0, record.path


def _checked(pack: OpenedPack, extent: Extent) -> Iterator[memoryview]:
    """Yield an extent's bytes once all of them were compared: they stay in the opened pack, so that costs no copy."""
    yield from list(pack.read(extent))


def _zeros(length: int) -> Iterator[memoryview]:
    while length:
        piece = ZEROS[:length]
        yield piece
        length -= len(piece)


def _write_extent(directory: Path, placed: PlacedExtent, pack: OpenedPack) -> int:
    target, extent = directory / os.fsdecode(placed.record.path), placed.extent
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            offset = extent.file_offset
            for piece in pack.read(extent):
                rest = piece
                while rest:
                    count = os.pwrite(descriptor, rest, offset)
                    rest, offset = rest[count:], offset + count
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(target, error) from error
    return extent.length


def _make_file(directory: Path, record: FileRecord) -> None:
    """Make a file of zeros, and the directory it is in."""
    target = directory / os.fsdecode(record.path)
    try:
        target.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(target, flags, 0o600)
        try:
            os.truncate(descriptor, record.size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(target, error) from error


def _write_extra(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
        path.chmod(0o600)
    except OSError as error:
        raise unwritable(path, error) from error


def _require_empty(directory: Path, part: Path) -> None:
    if part.exists() or part.is_symlink():
        raise DirectoryNotEmpty(
            f"'{part}' is there", hint="It is of a restore that was interrupted, or runs: remove it if none runs."
        )
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise DirectoryNotEmpty(f"'{directory}' is no directory")
    try:
        is_filled = directory.is_dir() and any(directory.iterdir())
    except OSError as error:
        raise unwritable(directory, error) from error
    if is_filled:
        raise DirectoryNotEmpty(f"'{directory}' is not empty", hint="Give a directory that is absent or empty.")


def _rename(part: Path, directory: Path) -> None:
    try:
        part.rename(directory)  # over an empty directory this is one step, too; over a filled one it fails
    except OSError as error:
        raise unwritable(directory, error) from error
    sync_file(directory.parent)

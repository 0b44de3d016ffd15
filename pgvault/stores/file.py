"""Objects as files below one directory, the root.

    <root>/clusters/main/backups/<label>/manifest           key = path below the root
    <root>/clusters/main/backups/<label>/.tmp-9f2c...       being written, or left by a crash; never listed

A put writes a temporary file in the same directory, syncs it, gives it its name by a hard link (else by
renameat2 with RENAME_NOREPLACE, else not at all), and syncs every directory from there up to the root:
also those it did not make, since whoever made them may have died before syncing them.

A missing root is never an empty store: an unmounted disk must not look like one that lost its backups.
Directories are not removed when they become empty (a put may be about to use one); `children` passes them over.
What root writes belongs to whom the directory around it belongs, so that one command by root locks nobody out.
Nothing is retried here: a disk that fails does not heal within seconds.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pgvault.errors import (
    DiskFull,
    ObjectExists,
    ObjectMissing,
    PgvaultError,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
    UsageError,
)
from pgvault.stores.base import Names, ObjectEntry, ObjectStore
from pgvault.stores.keys import TEMPORARY, check_key, is_component

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
LINK_UNSUPPORTED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}
RENAME_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
# SMB refuses to sync directories; its server makes them durable itself.
DIRECTORY_SYNC_UNSUPPORTED = {errno.EINVAL, errno.EOPNOTSUPP}
AT_FDCWD = -100
RENAME_NOREPLACE = 1
FILE_MODE = 0o640
DIRECTORY_MODE = 0o750


class Unsupported(Exception):
    """This file system does not know this way of giving a file its name."""


Publisher = Callable[[Path, Path], None]  # (temporary, final): FileExistsError if taken, Unsupported


def publish_by_link(temporary: Path, final: Path) -> None:
    """Give a file a second name; the caller removes the first."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno in LINK_UNSUPPORTED:
            raise Unsupported from error
        raise


def publish_by_rename(temporary: Path, final: Path) -> None:
    """Rename a file to a free name, for file systems without hard links."""
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28
    if renameat2 is None:
        raise Unsupported
    names = os.fsencode(temporary), os.fsencode(final)
    if renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number in RENAME_UNSUPPORTED:
        raise Unsupported
    raise OSError(number, os.strerror(number), str(final))


class FileStore:
    """The objects below `root`, which must exist unless `create_root` is called first."""

    def __init__(self, root: Path, *, publishers: Sequence[Publisher] = (publish_by_link, publish_by_rename)) -> None:
        self._root = root
        self._publishers = publishers
        self._identity: tuple[int, int] | None = None  # device, inode of the root when first seen
        self._durable: set[Path] = set()  # directories whose names are known to be on disk, up to the root

    @property
    def url(self) -> str:
        return self._root.as_uri()

    @property
    def root(self) -> Path:
        """The directory that all objects lie below."""
        return self._root

    def create_root(self) -> None:
        """Make the root and what is missing above it, durably."""
        with self._translated("make the root"):
            made = [self._root, *self._root.parents]
            for directory in reversed(made):
                with suppress(FileExistsError):
                    directory.mkdir(DIRECTORY_MODE)
                    sync_directory(directory.parent)
        self._require_root()

    def answered_at(self) -> datetime | None:
        """Return the time of a file just made: a server of NFS or SMB has a clock of its own."""
        self._require_root()
        probe = self._root / f"{TEMPORARY}{secrets.token_hex(8)}"
        try:
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                seconds = os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)
                probe.unlink()
        except OSError as error:
            if error.errno in DENIED | FULL:
                return None
            raise translate(error, f"could not ask {self.url} for its time: {error.strerror}") from error
        return datetime.fromtimestamp(seconds, UTC)

    def is_place_of(self, other: ObjectStore) -> bool:
        """Tell whether both are one directory, by whatever links."""
        self._require_root()
        return isinstance(other, FileStore) and is_same_file(self._root, other.root)

    def put_if_absent(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, durable when this returns. Raises ObjectExists."""
        path = self._path(key)
        self._require_root()
        with self._translated(f"write {key!r}"):
            try:
                self._secure_directories(path.parent)
                is_new = not os.path.lexists(path) and self._write(path, body)
            except NotADirectoryError as error:
                raise UsageError(f"key {key!r} lies under another object") from error
            # Whoever finds the name taken may acknowledge it; so it is durable then, too.
            sync_directory(path.parent)
        if not is_new:
            raise ObjectExists(f"object {key!r} exists in {self.url}")

    def replace(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, whatever that holds, durable when this returns."""
        path = self._path(key)
        self._require_root()
        with self._translated(f"replace {key!r}"):
            self._secure_directories(path.parent)
            temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
            try:
                write_synced(temporary, body)
                temporary.replace(path)
            finally:
                with suppress(OSError):  # gone after the rename; one that stays is never listed
                    temporary.unlink()
            sync_directory(path.parent)

    def get(self, key: str) -> bytes:
        """Return a whole object. Raises ObjectMissing."""
        with self._reading(key) as descriptor, open(descriptor, "rb", buffering=0, closefd=False) as file:
            body = file.readall()
            if len(body) != os.fstat(descriptor).st_size:
                raise StoreUnreachable(f"object {key!r} in {self.url} could not be read whole")
        return body

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer only at the object's end. Raises ObjectMissing."""
        with self._reading(key) as descriptor:
            pieces = []
            while length > 0 and (piece := os.pread(descriptor, length, start)):
                pieces.append(piece)
                start += len(piece)
                length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, key: str) -> int:
        """Return an object's length in bytes. Raises ObjectMissing."""
        with self._reading(key) as descriptor:
            return os.fstat(descriptor).st_size

    def children(self, prefix: str) -> Names:
        """Return, sorted, the names one level under `prefix` that are, or lead to, an object."""
        directory = self._path(prefix) if prefix else self._root
        self._require_root()
        with self._translated(f"list {prefix!r}"):
            names = [
                entry.name
                for entry in scan(directory)
                if not entry.is_dir() or next(walk(Path(entry.path), entry.name), None) is not None
            ]
        self._require_root()
        return sorted(names)

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yield every object under `prefix`, sorted by key."""
        directory = self._path(prefix)
        self._require_root()
        return self._list(directory, prefix)

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is fine."""
        path = self._path(key)
        self._require_root()
        with self._translated(f"delete {key!r}"):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._require_root()
                return
            sync_directory(path.parent)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _require_root(self) -> None:
        """Raises StoreUnreachable when the root is gone, or is not the directory it was."""
        with self._translated("look at the root"):
            try:
                status = self._root.stat()
            except FileNotFoundError as error:
                raise StoreUnreachable(
                    f"directory {str(self._root)!r} of the store does not exist",
                    hint="Is its disk mounted? `pgvault init` makes the directory of a new copy.",
                ) from error
        if not stat.S_ISDIR(status.st_mode):
            raise StoreUnreachable(f"{str(self._root)!r} is not a directory")
        identity = status.st_dev, status.st_ino
        self._identity = self._identity or identity
        if identity != self._identity:
            raise StoreUnreachable(
                f"directory {str(self._root)!r} is another one than before", hint="Was a disk unmounted?"
            )

    def _secure_directories(self, directory: Path) -> None:
        """Make what is missing from the root down to `directory`, and sync all names on the way."""
        if directory in self._durable and directory.is_dir():
            return
        parent = self._root
        for component in directory.relative_to(self._root).parts:
            child = parent / component
            with suppress(FileExistsError):
                child.mkdir(DIRECTORY_MODE)
                _hand_over_directory(child)
            sync_directory(parent)
            parent = child
        self._durable.add(directory)

    def _write(self, path: Path, body: bytes) -> bool:
        """Write `body` beside `path` and give it that name; whether the name was free."""
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
        try:
            write_synced(temporary, body)
            return self._publish(temporary, path)
        finally:
            with suppress(OSError):  # gone after a rename; one that stays is never listed
                temporary.unlink()

    def _publish(self, temporary: Path, final: Path) -> bool:
        for publish in self._publishers:
            try:
                publish(temporary, final)
            except Unsupported:
                continue
            except FileExistsError:
                # Over NFS a link whose answer was lost is tried again and then finds itself.
                return is_same_file(temporary, final)
            return True
        raise StoreUnfit(
            f"file system of {self.url} can neither link nor rename without replacing",
            hint="A deciding copy needs one of both; ext4, xfs, btrfs, zfs and NFS do.",
        )

    def _list(self, directory: Path, prefix: str) -> Iterator[ObjectEntry]:
        with self._translated(f"list {prefix!r}"):
            yield from walk(directory, prefix)
        self._require_root()  # else what vanished with the disk would be a short list

    @contextmanager
    def _reading(self, key: str) -> Iterator[int]:
        """Open an object for reading; its descriptor. Raises ObjectMissing only while the root is there."""
        path = self._path(key)
        with self._translated(f"read {key!r}"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError) as error:
                self._require_root()
                raise ObjectMissing(f"object {key!r} is absent in {self.url}") from error
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ObjectMissing(f"object {key!r} is absent in {self.url}")
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turn an OSError into one of ours."""
        try:
            yield
        except OSError as error:
            raise translate(error, f"could not {doing} in {self.url}: {error.strerror}") from error


def translate(error: OSError, message: str) -> PgvaultError:
    """Return what an error of the file system amounts to."""
    if error.errno in FULL:
        return DiskFull(message)
    if error.errno in DENIED:
        return StoreDenied(message)
    return StoreUnreachable(message)


def write_synced(path: Path, body: bytes) -> None:
    """Write a new file, on disk when this returns. Close is checked: NFS reports a full disk there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        _hand_over(descriptor, path.parent)
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            os.close(descriptor)
        raise
    os.close(descriptor)


def _hand_over(descriptor: int, parent: Path) -> None:
    """Give what root made to whom the directory around it belongs: a drill by root must not lock the server's user out.

    By descriptor, since whoever owns the directory may put something else under the name. Where that is refused (NFS
    that squashes root, a user namespace without that owner) it stays as it was made.
    """
    if os.geteuid() == 0:
        owner = parent.stat()
        with suppress(OSError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _hand_over_directory(made: Path) -> None:
    """Do so with a directory."""
    descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _hand_over(descriptor, made.parent)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Put the names within `directory` on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in DIRECTORY_SYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both names lead to one file; a name that vanished leads nowhere."""
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def scan(directory: Path) -> list[os.DirEntry[str]]:
    """Return what a directory holds that can be, or lead to, an object; nothing if it is absent."""
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if is_component(entry.name) and (entry.is_dir() or entry.is_file())]
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk(directory: Path, prefix: str) -> Iterator[ObjectEntry]:
    """Yield all objects below `directory`, sorted by key.

    Keys sort as strings, so "a-b" comes before "a/b": a directory sorts as its name with the slash.
    """
    for entry in sorted(scan(directory), key=lambda entry: f"{entry.name}/" if entry.is_dir() else entry.name):
        key = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from walk(Path(entry.path), key)
            continue
        try:
            size = Path(entry.path).stat().st_size
        except FileNotFoundError:
            continue  # deleted since
        yield ObjectEntry(key, size)

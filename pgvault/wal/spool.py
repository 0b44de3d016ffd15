"""Where segments wait that were fetched before anybody asked for them: a directory beside the restore's plan.

    <directory of the plan>/ahead-<restore id>/        0700, and its owner's only
        lock                                           held by the one process that fills it (flock)
        socket                                         where that process is asked (ahead.py)
        <segment>                                      whole and durable; moved away by who asked for it
    <directory of the plan>/ahead.log                  what that process had to say

Nothing in it is believed for being there: what a file must hold is known only to the living process that wrote it,
and who takes one compares. A spool is emptied by whoever claims it, so what a crash left is never read.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from pgvault.errors import DiskFull
from pgvault.postgres.lsn import MIB

PREFIX = "ahead-"
LOCK, SOCKET = "lock", "socket"
LOG_NAME = "ahead.log"
PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")

QUIT = b"quit\n"  # to who fills a spool
QUIT_SECONDS = 5.0
AGAIN_SECONDS = 5.0  # before another is started in the place of one that broke

BYTES_AHEAD = 256 * MIB  # of segments in a spool, but for one that is larger
FREE_BYTES = 256 * MIB  # left to the recovering server, and one more segment for it


def spool_directory(plan: Path, restore_id: str) -> Path | None:
    """Return the spool of the restore whose plan lies at `plan`, None for an id that makes no name."""
    return plan.parent / f"{PREFIX}{restore_id}" if PLAIN_ID.fullmatch(restore_id) else None


def files_ahead(wanted: int, segment_size: int) -> int:
    """Return how many segments may wait: as many as wanted, within the bytes a spool may hold, at least one."""
    return max(1, min(wanted, BYTES_AHEAD // segment_size)) if wanted > 0 else 0


class Spool:
    """A spool that this process alone fills."""

    def __init__(self, directory: Path, lock: int, *, keep_free: int = FREE_BYTES) -> None:
        """Of a claimed directory: use `claim`."""
        self.directory = directory
        self._lock = lock
        self._keep_free = keep_free

    @classmethod
    def claim(cls, directory: Path, *, keep_free: int = FREE_BYTES) -> Self | None:
        """Make or take the directory and empty it; None while another process has it.

        Raises OSError where it can not be written, or is not only ours.
        """
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        require_private(directory)
        path = directory / LOCK
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(lock), path.stat())  # else removed by who held it before us
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:
            os.close(lock)
            return None
        os.utime(lock)
        spool = cls(directory, lock, keep_free=keep_free)
        spool.empty()
        return spool

    def empty(self) -> None:
        """Remove everything but the lock."""
        for path in self.directory.iterdir():
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def has_room(self, size: int) -> bool:
        """Tell whether another `size` bytes leave enough to the server."""
        disk = os.statvfs(self.directory)
        return disk.f_bavail * disk.f_frsize >= self._keep_free + 2 * size

    def write(self, name: str, content: bytes) -> None:
        """Store a segment, whole and durable. Raises DiskFull, PgvaultError; then nothing of it is there."""
        from pgvault.wal.fetch import place  # here, since a spool is claimed before all that is imported

        if not self.has_room(len(content)):
            raise DiskFull(f"'{self.directory}' has no room left to look ahead")
        place(content, self.directory / name)

    def holds(self, name: str) -> bool:
        """Tell whether nobody has taken a segment yet."""
        return (self.directory / name).exists()

    def drop(self, name: str) -> None:
        """Remove a segment, if it is there still."""
        with suppress(OSError):
            (self.directory / name).unlink()

    def is_there(self) -> bool:
        """Tell whether this is still the directory that was claimed."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._lock), (self.directory / LOCK).stat())
        return False

    def remove(self) -> None:
        """Remove the spool, if it is still this one. Afterwards it can be claimed by others."""
        if self.is_there():
            with suppress(OSError):
                self.empty()
                (self.directory / LOCK).unlink()
                self.directory.rmdir()
        os.close(self._lock)


def require_private(directory: Path) -> None:
    """Raise PermissionError unless the directory is one, and only ours."""
    found = directory.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o170077 != 0o040000:
        raise PermissionError(f"'{directory}' is not a private directory of this user")


@contextmanager
def socket_address(directory: Path) -> Iterator[str]:
    """A name for a spool's socket that is short enough for one, however deep the directory lies."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def is_unattended(directory: Path) -> bool:
    """Tell whether nobody fills a spool, and nobody broke there a moment ago."""
    try:
        with socket.socket(socket.AF_UNIX) as probe, socket_address(directory) as address:
            probe.settimeout(1.0)
            probe.connect(address)
            return False
    except TimeoutError:
        return False
    except OSError:
        pass
    with suppress(OSError):
        return time.time() - (directory / LOCK).stat().st_mtime > AGAIN_SECONDS
    return True


def remove_spools(beside: Path) -> None:
    """End whoever looks ahead for the restore whose plan lies in `beside`, and remove what that left there.

    Whose spool it is does not matter: what a server fetched, root may remove.
    """
    for directory in beside.glob(f"{PREFIX}*"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as asking, socket_address(directory) as address:
            asking.settimeout(QUIT_SECONDS)
            asking.connect(address)
            asking.sendall(QUIT)
        deadline = time.monotonic() + QUIT_SECONDS
        while directory.is_dir() and not _remove_left(directory) and time.monotonic() < deadline:
            time.sleep(0.02)
    (beside / LOG_NAME).unlink(missing_ok=True)


def _remove_left(directory: Path) -> bool:
    """Remove a spool that nobody holds."""
    with suppress(OSError):
        try:
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            shutil.rmtree(directory, ignore_errors=True)
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
            return True
        finally:
            os.close(lock)
    return False

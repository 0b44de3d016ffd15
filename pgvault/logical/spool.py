"""The spool: a private directory that pg_dump writes into while we read it, and that never holds much.

    PLACE/pgvault-dump-<id>/      0700, made by us
      marker                      the id, locked while we live: only what carries one that nobody holds is ever removed
      <oid>/                      what pg_dump writes
      <oid>.log, globals.out …    what programs say

Room is given back in two ways: a file that is stored and finished is removed; of one that grows, the range that is
stored is punched out (fallocate), so that its length stays and its blocks go. What a killed run left behind is removed
by the next one in the same place: the kernel has dropped the lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import ConfigInvalid, DiskFull

logger = logging.getLogger(__name__)

PREFIX = "pgvault-dump-"
MARKER = "marker"
KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h
LOG_BYTES = 64 << 10
HINT = "Set logical.spool to another place."


@dataclass(frozen=True, slots=True)
class Spool:
    """One spool directory, ours alone."""

    root: Path

    def directory(self, oid: int) -> Path:
        """Where one database is dumped."""
        return self.root / str(oid)

    def log(self, name: str) -> Path:
        """Where a program writes its stderr; there is room for its last words even when the disk is full."""
        path = self.root / f"{name}.log"
        try:
            with path.open("ab") as file:
                _allocate(file.fileno(), KEEP_SIZE, 0, LOG_BYTES)
        except OSError as error:
            raise _no_room(error, self.root.parent) from error
        return path

    def output(self, name: str) -> Path:
        """Where a program writes its stdout."""
        return self.root / f"{name}.out"


@contextmanager
def open_spool(place: Path | None) -> Iterator[Spool]:
    """Make a spool in `place`, after removing what killed runs left there, and remove it at the end.

    Raises ConfigInvalid for a place that can not be one, DiskFull.
    """
    parent = (place or _temporary()).resolve()  # /proc names files so, too
    if not parent.is_dir():
        raise ConfigInvalid(f"the spool place '{parent}' is no directory", hint=HINT)
    clear_leftovers(parent)
    identity = secrets.token_hex(4)
    root = parent / f"{PREFIX}{identity}"
    try:
        root.mkdir(mode=0o700)
        lock = _mark(root / MARKER, identity)
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise _no_room(error, parent) from error
    try:
        _require_punching(root / "probe")
        yield Spool(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:  # all is read-only
        raise ConfigInvalid("there is no directory for temporary files that can be written to", hint=HINT) from error


def clear_leftovers(place: Path) -> None:
    """Remove spools whose run is dead. What is not certainly ours, or may be alive, stays."""
    for root in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # gone, not ours, or locked by a run that lives
            _clear(root)


def free_range(path: bytes, start: int, length: int) -> None:
    """Give back the blocks of a range; it reads as zeros then, and the file keeps its length. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _allocate(descriptor, KEEP_SIZE | PUNCH_HOLE, start, length)
    finally:
        os.close(descriptor)


def _allocate(descriptor: int, mode: int, start: int, length: int) -> None:
    """fallocate(2), which Python has without its modes."""
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while call(descriptor, mode, start, length) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def _require_punching(probe: Path) -> None:
    """See that the file system gives back parts of files. Raises ConfigInvalid, DiskFull."""
    try:
        probe.write_bytes(bytes(1 << 16))
        free_range(os.fsencode(probe), 0, 1 << 16)
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(error, probe.parent) from error
        raise ConfigInvalid(
            f"the file system of the spool place '{probe.parent.parent}' can not free parts of a file: "
            f"{error.strerror}",
            hint="Set logical.spool to a place on ext4, xfs, btrfs or tmpfs.",
        ) from error


def _clear(root: Path) -> None:
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    marker = os.open(root / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.read(marker, 64).decode("ascii", "replace").strip() == root.name.removeprefix(PREFIX):
            shutil.rmtree(root)
            logger.warning("removed '%s', which a backup that was killed had left", root)
    finally:
        os.close(marker)


def _mark(marker: Path, identity: str) -> int:
    """Write the marker, locked before it says anything. The lock ends with this process, however that ends."""
    descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, f"{identity}\n".encode())
    return descriptor


def _no_room(error: OSError, place: Path) -> ConfigInvalid | DiskFull:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room in the spool place '{place}': {error.strerror}", hint=HINT)
    return ConfigInvalid(f"no spool can be made in '{place}': {error.strerror}", hint=HINT)

"""Make what a restore writes durable: files, then the directories that name them."""

# Paths are bytes, which pathlib does not take.
# ruff: noqa: PTH118

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pgvault.errors import DiskFull, PgvaultError


def write_file(path: Path, content: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a file that must not exist yet, durable when this returns. Raises DiskFull, PgvaultError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(content)
            if owner is not None:
                os.chown(file.fileno(), *owner)
            os.chmod(file.fileno(), mode)  # noqa: PTH101  the open file, not whatever has its name
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error
    sync_file(path.parent)


def sync_tree(root: Path, *, jobs: int) -> None:
    """Make every file below `root` durable, then every directory from the bottom up, `root` last."""
    with ThreadPoolExecutor(jobs, thread_name_prefix="sync") as pool:
        for parent, _, names in os.walk(os.fsencode(root), topdown=False, onerror=_raise):
            plain = (os.path.join(parent, name) for name in names)
            for _ in pool.map(sync_file, [path for path in plain if not os.path.islink(path)]):  # noqa: PTH114
                pass
            sync_file(parent)


def sync_file(path: bytes | Path) -> None:
    """Make one file or directory durable. Raises DiskFull, PgvaultError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: bytes | Path, error: OSError) -> PgvaultError:
    """Say that a path of the restored cluster could not be written."""
    failure = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else PgvaultError
    return failure(f"{os.fsdecode(path)!r} can not be written: {error.strerror}")


def _raise(error: OSError) -> None:
    raise unwritable(Path(error.filename or "?"), error) from error

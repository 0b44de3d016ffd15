"""May a restore go there? Everything that speaks against a directory, before a byte is fetched.

A directory to restore into is absent or empty; it is not, is not inside and does not contain a data directory, a
repository or another directory of the same restore, whatever links and bind mounts call it (device and inode of
every directory above are compared, pitfall 46). Nothing is ever emptied or deleted to make room.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import ClusterRunning, DirectoryNotEmpty, DiskFull, Refused
from pgvault.postgres.control import CONTROL_PATH
from pgvault.postgres.instance import postmaster_pid
from pgvault.repository.layout import IDENTITY

MARKS_SUFFIX = ".pgvault"
ELSEWHERE = "Name a new directory, or an empty one, elsewhere."


@dataclass(frozen=True, slots=True)
class Reserve:
    """Room on a file system that stays free beside what is restored."""

    at_least: int  # bytes
    share: float = 0.0  # of the whole file system

    def of(self, size: int) -> int:
        """Bytes to leave free on a file system of `size` bytes."""
        return max(self.at_least, int(size * self.share))


ROOM_KEPT = Reserve(64 << 20)  # lists, logs, the first WAL that a server writes


def marks_directory(data: Path) -> Path:
    """Return where what belongs to a restore lies: beside the data directory, never in it."""
    return data.with_name(f"{data.name}{MARKS_SUFFIX}")


def require_free_place(path: Path, *, forbidden: Mapping[str, Path]) -> None:
    """Raise unless a restore may fill `path`: ClusterRunning, DirectoryNotEmpty, Refused.

    `forbidden` names other directories by what they are, for messages.
    """
    if path.is_dir() and (pid := postmaster_pid(path)) is not None:
        raise ClusterRunning(
            f"a server with process id {pid} runs on '{path}'", hint="Stop it, or restore into another directory."
        )
    _require_empty(path)
    above = list(_existing_above(path))
    for directory in above:
        if (directory / CONTROL_PATH).exists():
            raise Refused(f"'{path}' lies inside the data directory '{directory}'", hint=ELSEWHERE)
        if (directory / IDENTITY).exists():
            raise Refused(f"'{path}' lies inside the repository '{directory}'", hint=ELSEWHERE)
    for what, other in forbidden.items():
        if _is_related(path, other):
            said = f"'{path}' and {what} '{other}' are the same directory, or one lies inside the other"
            raise Refused(said, hint=ELSEWHERE)


def require_apart(paths: Sequence[Path]) -> None:
    """Raise Refused when two directories of one restore are the same, or one lies inside the other."""
    for position, path in enumerate(paths):
        for other in paths[:position]:
            if _is_related(path, other):
                raise Refused(f"'{path}' and '{other}' must not lie inside each other")


def require_room(needs: Mapping[Path, int], *, reserve: Reserve = ROOM_KEPT) -> None:
    """Raise DiskFull unless every file system has room for all of `needs` on it, in bytes, and `reserve` is left."""
    wanted: dict[int, int] = {}
    free: dict[int, tuple[int, int, Path]] = {}
    for path, count in needs.items():
        there = next(_existing_above(path))
        device = there.stat().st_dev
        wanted[device] = wanted.get(device, 0) + count
        usage = shutil.disk_usage(there)
        free[device] = usage.free, reserve.of(usage.total), path
    for device, count in wanted.items():
        room, kept, path = free[device]
        if room < count + kept:
            raise DiskFull(
                f"the restore takes up to {count} bytes, {kept} must stay free, and the file system of '{path}' has"
                f" {room} left",
                hint="Nothing was fetched. Make room, or restore onto another file system.",
            )


def make_directory(path: Path, *, owner: tuple[int, int] | None = None) -> None:
    """Make a private directory, or take an empty one and make it private."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_empty(path)
    path.chmod(0o700)
    if owner is not None:
        os.chown(path, *owner)


def _require_empty(path: Path) -> None:
    try:
        names = [entry.name for entry in path.iterdir()]
    except FileNotFoundError:
        if path.is_symlink():
            raise Refused(f"'{path}' is a link that leads nowhere", hint=ELSEWHERE) from None
        return
    except NotADirectoryError:
        raise DirectoryNotEmpty(f"'{path}' is no directory", hint=ELSEWHERE) from None
    except OSError as error:
        raise Refused(f"'{path}' can not be looked into: {error.strerror}") from error
    if names == ["lost+found"]:
        raise DirectoryNotEmpty(f"'{path}' is a mount point", hint="Restore into a new directory below it.")
    if names:
        raise DirectoryNotEmpty(
            f"'{path}' is not empty: it holds {min(names)!r}",
            hint="Restore into a new or an empty directory; nothing is ever overwritten.",
        )


def _is_related(path: Path, other: Path) -> bool:
    """Tell whether two directories, existing or not, are the same or one lies inside the other."""
    one, two = path.resolve(), other.resolve()
    if one.is_relative_to(two) or two.is_relative_to(one):
        return True
    return _holds(one, two) or _holds(two, one)


def _holds(outer: Path, inner: Path) -> bool:
    """Tell whether `outer` exists and is one of the directories above `inner`, under whatever name."""
    if not outer.exists():
        return False
    status = outer.stat()
    identity = (status.st_dev, status.st_ino)
    return any((found.st_dev, found.st_ino) == identity for found in map(Path.stat, _existing_above(inner)))


def _existing_above(path: Path) -> Iterator[Path]:
    """Yield `path` and the directories above it, nearest first, those that exist."""
    real = path.resolve()
    yield from (directory for directory in (real, *real.parents) if directory.exists())

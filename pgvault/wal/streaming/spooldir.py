"""The directory that pg_receivewal writes into: part of what keeps WAL, since a slot lets go what lies here.

    <spool>/lock  receiver.pid  receiver.log
    <spool>/<system identifier>/<segment>             finished; the newest one always stays (pitfall 34)
                               /<segment>.partial     begun, exactly one segment long, zeros behind what has come
                               /<timeline>.history
                               /aside/…               what would mislead pg_receivewal; stored from here, then gone
                               /quarantine/…          of a size that pg_receivewal stumbles over; never cut, never
                                                      stored (pitfall 36), for people to look at

Everything is 0700: WAL holds all that the database holds. Nothing here talks to a server or a repository.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pgvault.errors import AlreadyRunning, DiskFull, PgvaultError, SourceUnreadable, UsageError
from pgvault.postgres.walname import PartialFile, SegmentFile, TimelineHistoryFile, WalSegment, parse_wal_name
from pgvault.wal.streaming.start import SpoolFile, StartPlan, receiver_start

logger = logging.getLogger(__name__)

PRIVATE = 0o700
LOCK = "lock"
ASIDE = "aside"
QUARANTINE = "quarantine"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in one directory."""

    segments: tuple[WalSegment, ...]  # whole, ascending by number and timeline
    partials: tuple[WalSegment, ...]  # of a segment's size; or empty, which is how they begin
    histories: tuple[TimelineHistoryFile, ...]
    odd: tuple[str, ...]  # segments and partials of any other size

    @property
    def files(self) -> tuple[SpoolFile, ...]:
        """What pg_receivewal chooses its beginning from."""
        whole = [SpoolFile(segment, is_partial=False) for segment in self.segments]
        return (*whole, *(SpoolFile(segment, is_partial=True) for segment in self.partials))


@contextlib.contextmanager
def locked_spool(root: Path) -> Iterator[None]:
    """Make the spool and hold it for this process. Raises AlreadyRunning, SourceUnreadable."""
    with _explained(root):
        root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"another pgvault wal stream uses the spool '{root}'",
                hint="One stream per cluster. Another cluster needs another --spool.",
            ) from None
        yield
    finally:
        os.close(descriptor)


class SpoolDirectory:
    """The part of a spool that belongs to one system."""

    def __init__(self, root: Path, system_identifier: int, *, segment_size: int) -> None:
        """Make it. Raises SourceUnreadable when that fails."""
        self.path = root / str(system_identifier)
        self.aside = self.path / ASIDE
        self.quarantine = self.path / QUARANTINE
        self.segment_size = segment_size
        self._lock = Lock()  # between what prepares a start and what removes a .partial
        with _explained(root):
            for directory in (self.path, self.aside, self.quarantine):
                directory.mkdir(mode=PRIVATE, exist_ok=True)

    def listing(self) -> Listing:
        """Look at what pg_receivewal sees."""
        return self._list(self.path)

    def listing_aside(self) -> Listing:
        """Look at what was taken aside."""
        return self._list(self.aside)

    def prepare(self, plan: StartPlan) -> None:
        """Make pg_receivewal begin where the plan says."""
        with _explained(self.path), self._lock:
            for file in plan.aside:
                if (self.path / file.name).exists():
                    self._move(file.name, self.aside)
                    logger.info("took %s aside: streaming begins at %s", file.name, plan.begin.name)
            # Looked at anew: since the plan was made, what has been stored may have been removed.
            if plan.needs_seed or receiver_start(self.listing().files) != plan.begin:
                (self.path / SpoolFile(plan.begin, is_partial=True).name).touch(mode=0o600)
            _sync(self.path)

    def retire(self, segment: WalSegment) -> None:
        """Remove the stored .partial of a segment that nothing will be written to: never the newest one."""
        with _explained(self.path), self._lock:
            if self.listing().partials[-1:] != (segment,):
                (self.path / SpoolFile(segment, is_partial=True).name).unlink(missing_ok=True)

    def clear_odd(self) -> None:
        """Move files of a wrong size out of pg_receivewal's way; it would refuse to go on beside them."""
        for name in self.listing().odd:
            with _explained(self.path):
                if _holds_nothing(self.path / name):
                    (self.path / name).unlink()  # pg_receivewal was killed while it made the file
                    continue
                kept = self._move(name, self.quarantine)
            logger.warning("%s has an odd size: moved to '%s', to be received again", name, kept)

    def forget_old(self, durable: frozenset[WalSegment]) -> tuple[WalSegment, ...]:
        """Remove durable segments, except the newest; return those that are gone."""
        gone = []
        for segment in self.listing().segments[:-1]:
            if segment in durable:
                (self.path / segment.name).unlink(missing_ok=True)
                gone.append(segment)
        for segment in self.listing_aside().segments:
            if segment in durable:
                (self.aside / segment.name).unlink(missing_ok=True)
                gone.append(segment)
        return tuple(gone)

    def _move(self, name: str, into: Path) -> Path:
        """Move a file; never over another one."""
        goal = into / name
        number = 0
        while goal.exists():
            number += 1
            goal = into / f"{name}.{number}"
        (self.path / name).rename(goal)
        _sync(into)
        return goal

    def _list(self, directory: Path) -> Listing:
        segments: list[WalSegment] = []
        partials: list[WalSegment] = []
        histories: list[TimelineHistoryFile] = []
        odd: list[str] = []
        with _explained(directory), os.scandir(directory) as entries:
            for entry in entries:
                try:
                    file = parse_wal_name(entry.name)
                    size = entry.stat(follow_symlinks=False).st_size
                except (UsageError, FileNotFoundError):
                    continue  # our own directories; a .partial that was finished meanwhile
                if isinstance(file, TimelineHistoryFile):
                    histories.append(file)
                elif isinstance(file, SegmentFile | PartialFile):
                    of = file.of if isinstance(file, PartialFile) else file
                    is_partial = isinstance(file, PartialFile)
                    if size != self.segment_size and not (is_partial and size == 0):
                        odd.append(entry.name)
                    else:
                        (partials if is_partial else segments).append(of.segment(self.segment_size))
        return Listing(_ordered(segments), _ordered(partials), tuple(sorted(histories)), tuple(sorted(odd)))


def _ordered(segments: list[WalSegment]) -> tuple[WalSegment, ...]:
    return tuple(sorted(segments, key=lambda segment: (segment.number, segment.timeline)))


def _holds_nothing(path: Path) -> bool:
    """Tell whether a file holds nothing but zeros."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if chunk.count(0) != len(chunk):
                return False
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Say of which spool an error of the file system speaks."""
    try:
        yield
    except PgvaultError:
        raise
    except OSError as error:
        kind = DiskFull if error.errno in {28, 122} else SourceUnreadable
        raise kind(
            f"spool '{place}' can not be used: {error.strerror}",
            hint="It must be a directory of ours on a disk that survives restarts: --spool DIR.",
        ) from error

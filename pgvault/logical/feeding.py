"""Let pg_restore read an archive of the directory format that is nowhere whole on disk.

    spool/<oid>/toc.dat  *.toc  small files        real files, up to a bound
               /4711.dat  large files              FIFOs, each filled from the packs once pg_restore has opened it

pg_restore takes the end of a file for the end of the data, wherever it comes: a table that was cut off would look
whole. So no FIFO is ever closed early. When anything goes wrong, pg_restore's whole group is killed, and only then do
our ends close; the server rolls back what was under way. And our own end, by SIGKILL even, closes nothing, since what
pg_restore reads it holds open for writing, too, without knowing it: before the first byte, the FIFO's descriptor is
sent to a socket that pg_restore inherited, and it waits there, unread, until all bytes are written and we take it back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from pgvault.errors import ObjectCorrupt, ProgramFailed
from pgvault.logical.complaints import Complaints
from pgvault.logical.content import Packs, fill_directory, read_file, read_whole, require_room
from pgvault.postgres.toc import TocEntry
from pgvault.process import Leashed, leashed
from pgvault.repository.filelist import FileRecord
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.restore.durable import unwritable
from pgvault.restore.files import Effort

logger = logging.getLogger(__name__)

SPOOL_BYTES = 256 << 20  # of real files
REAL_FILES_MAX = 20_000
PIPE_BYTES = 1 << 20
POLL_SECONDS = (0.0005, 0.05)  # first, and at most
CLOSING_SECONDS = 10.0  # for killed readers to be gone


@dataclass(frozen=True, slots=True)
class Archive:
    """The files of one database that pg_restore will ask for."""

    real: tuple[FileRecord, ...]
    piped: tuple[tuple[FileRecord, ...], ...]  # rows of files; in each only the first can be asked for next

    @property
    def bytes(self) -> int:
        """What is passed to pg_restore."""
        return sum(each.size for each in self.real) + sum(each.size for row in self.piped for each in row)

    @property
    def spool_bytes(self) -> int:
        """What of it lies on disk."""
        return sum(each.size for each in self.real)


def plan_archive(
    entries: Iterable[TocEntry],
    directory: bytes,
    records: Mapping[bytes, FileRecord],
    large_objects: Mapping[str, Sequence[str]],
    *,
    limit: int = SPOOL_BYTES,
) -> Archive:
    """Decide which files will be real: the smallest, up to `limit` bytes; all others are piped.

    `large_objects` names the files of each `.toc`, in its order. Raises ObjectCorrupt when a file is not there.
    """

    def find(name: str) -> FileRecord:
        path = directory + b"/" + os.fsencode(name)
        if path not in records:
            raise ObjectCorrupt(f"the table of contents names {name!r}, which the backup does not hold")
        return records[path]

    real = [find("toc.dat")]
    rows: list[list[FileRecord]] = []
    for entry in entries:
        if entry.file is None:
            continue
        if entry.file in large_objects:
            real.append(find(entry.file))
            rows.append([find(name) for name in large_objects[entry.file]])
        else:
            rows.append([find(entry.file)])
    room = limit - sum(record.size for record in real)
    small: set[bytes] = set()
    for record in sorted((each for row in rows for each in row), key=lambda each: each.size):
        room -= record.size
        if room < 0 or len(small) == REAL_FILES_MAX:
            break
        small.add(record.path)
    real += [each for row in rows for each in row if each.path in small]
    piped = (tuple(each for each in row if each.path not in small) for row in rows)
    return Archive(tuple(real), tuple(row for row in piped if row))


def read_large_objects(
    repository: Repository,
    manifest: LogicalManifest,
    entries: Iterable[TocEntry],
    records: Mapping[bytes, FileRecord],
    directory: bytes,
) -> dict[str, list[str]]:
    """Return the files that each list of large objects names: lines of `<oid> <file>`. Raises ObjectCorrupt."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        if entry.file is not None and entry.file.endswith(".toc"):
            path = directory + b"/" + os.fsencode(entry.file)
            if path not in records:
                raise ObjectCorrupt(f"the table of contents names {entry.file!r}, which the backup does not hold")
            lines = read_whole(repository, manifest, records[path]).decode("ascii", "replace").splitlines()
            names = [line.partition(" ")[2] for line in lines]
            if any(not name or "/" in name for name in names):
                raise ObjectCorrupt(f"{entry.file!r} is no list of large objects")
            found[entry.file] = names
    return found


@dataclass(slots=True)
class _Pipe:
    """A FIFO that pg_restore has opened."""

    record: FileRecord
    path: Path
    descriptor: int
    is_complete: bool = False


@dataclass(slots=True)
class Feeder:
    """One archive, laid out in `spool`, for any number of runs of pg_restore that read each file once."""

    repository: Repository
    manifest: LogicalManifest
    spool: Path  # private, ours, empty
    archive: Archive
    jobs: int  # of pg_restore: it reads no more files than that at a time
    effort: Effort
    _rows: list[deque[FileRecord]] = field(default_factory=list)

    def lay_out(self) -> None:
        """Write the real files and make the FIFOs. Raises DiskFull, ObjectCorrupt, and what the store raises."""
        require_room(self.spool, self.archive.spool_bytes)
        fill_directory(self.repository, self.manifest, self.spool, records=self.archive.real, effort=self.effort)
        self._rows = [deque(row) for row in self.archive.piped]
        for row in self.archive.piped:
            for record in row:
                path = self._place(record)
                try:
                    os.mkfifo(path, 0o600)
                except OSError as error:
                    raise unwritable(path, error) from error

    def run(self, argv: Sequence[str | Path], *, env: Mapping[str, str], is_lenient: bool = False) -> None:
        """Run pg_restore and give it what it opens. Raises ProgramFailed, ObjectCorrupt, and what the store raises.

        `is_lenient`: it goes on after errors; all but those that mean nothing (complaints.py) end it.
        However this ends, pg_restore is gone, and what it had not read to its end was never closed before it was.
        """
        holds = [_Hold() for _ in range(self.jobs)]
        try:
            log = self.spool / "pg_restore.log"
            start = log.stat().st_size if log.exists() else 0
            feeding = _Feeding(self, holds, Complaints(log, start) if is_lenient else None)
            with leashed(argv, env=env, log=log, inherited=[hold.inherited for hold in holds]) as program:
                feeding.until_ended(program)
        finally:
            for hold in holds:
                hold.close()

    def require_all_read(self) -> None:
        """Raise ProgramFailed when pg_restore did not ask for everything that was laid out for it."""
        left = [record for row in self._rows for record in row]
        if left:
            raise ProgramFailed(
                f"pg_restore ended well and did not read {len(left)} files: {os.fsdecode(left[0].path)!r}"
            )

    def open_next(self) -> Iterator[_Pipe]:
        """Yield the FIFOs that pg_restore has opened since."""
        for row in self._rows:
            if not row:
                continue
            path = self._place(row[0])
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody reads it
                    continue
                raise unwritable(path, error) from error
            os.set_blocking(descriptor, True)
            with contextlib.suppress(OSError):  # a small pipe is slower, no more
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            yield _Pipe(row.popleft(), path, descriptor)
        self._rows = [row for row in self._rows if row]

    def _place(self, record: FileRecord) -> Path:
        return self.spool / os.fsdecode(record.path)


class _Hold:
    """A place where one descriptor waits as long as pg_restore lives, whatever becomes of us."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    @property
    def inherited(self) -> int:
        """The end that pg_restore gets."""
        return self._theirs.fileno()

    def put(self, descriptor: int) -> None:
        """Let it wait there, too."""
        socket.send_fds(self._ours, [b"h"], [descriptor])

    def take_back(self) -> None:
        """Nobody holds it there any more."""
        _, descriptors, _, _ = socket.recv_fds(self._theirs, 1, 1)
        for descriptor in descriptors:
            os.close(descriptor)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class _Feeding:
    """One run of pg_restore."""

    def __init__(self, feeder: Feeder, holds: Sequence[_Hold], complaints: Complaints | None) -> None:
        self._feeder = feeder
        self._complaints = complaints
        self._packs = Packs(feeder.repository, feeder.manifest, kept=feeder.jobs + 1)
        self._holds: SimpleQueue[_Hold] = SimpleQueue()
        for hold in holds:
            self._holds.put(hold)
        self._pipes: list[_Pipe] = []

    def until_ended(self, program: Leashed) -> None:
        """Feed the program to its end. Raises what went wrong, with the program gone."""
        pool = ThreadPoolExecutor(self._feeder.jobs, thread_name_prefix="feed")
        try:
            self._loop(program, pool)
        finally:
            # Only the dead read no end of file. Feeders that are blocked in a write wake up by that, too.
            program.end()
            pool.shutdown(cancel_futures=True)
            self._close()

    def _loop(self, program: Leashed, pool: ThreadPoolExecutor) -> None:
        active: set[Future[None]] = set()
        pause = POLL_SECONDS[0]
        while program.poll() is None:
            if self._complaints is not None:
                self._complaints.require_meaningless(program)
            if len(active) < self._feeder.jobs:
                for pipe in self._feeder.open_next():
                    self._pipes.append(pipe)
                    active.add(pool.submit(self._feed, pipe))
                    pause = POLL_SECONDS[0]
            if active:
                done, active = wait(active, timeout=pause, return_when=FIRST_COMPLETED)
                _settle(done)
                self._pipes = [pipe for pipe in self._pipes if not pipe.is_complete]
            else:
                time.sleep(pause)
            pause = min(pause * 1.5, POLL_SECONDS[1])
        done, _ = wait(active)  # nobody reads any more: they end at once
        if self._complaints is None:
            program.check()
        else:
            self._complaints.check(program)
        _settle(done)
        if any(not pipe.is_complete for pipe in self._pipes):
            raise ProgramFailed(f"pg_restore ended well before it had read all of {self._pipes[0].path.name!r}")

    def _feed(self, pipe: _Pipe) -> None:
        hold = self._holds.get()
        hold.put(pipe.descriptor)
        for piece in read_file(self._feeder.repository, self._feeder.manifest, pipe.record, packs=self._packs):
            rest = piece
            while rest:
                rest = rest[os.write(pipe.descriptor, rest) :]
            self._feeder.effort.progress.advance(len(piece))
        pipe.is_complete = True
        hold.take_back()
        self._holds.put(hold)
        os.close(pipe.descriptor)

    def _close(self) -> None:
        """Close what is not complete, once the system says that nobody has it open for reading any more."""
        for pipe in self._pipes:
            if not pipe.is_complete:
                poller = select.poll()
                poller.register(pipe.descriptor, 0)  # errors only: the last reader closed
                if not poller.poll(CLOSING_SECONDS * 1000):
                    # Open it does no harm; what is cut off by closing it would look whole.
                    logger.warning("pg_restore was killed and still has %s open", pipe.path)
                    continue
                os.close(pipe.descriptor)
        self._pipes = []


def _settle(done: Iterable[Future[None]]) -> None:
    """Raise what ended a feeder; a reader that went away is pg_restore's story, which its status will tell."""
    for future in done:
        error = future.exception()
        if error is not None and not isinstance(error, BrokenPipeError):
            raise error

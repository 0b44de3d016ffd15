r"""Fetch the segments that a recovering server will ask for next: one process beside a restore.

    fetch ──(unix socket)──► <BLAKE3 of the plan> <segment>\n                    or: quit\n
          ◄──────────────── ready <BLAKE3> <bytes> <system> <path>…\n            it lies in the spool: compare, rename
          ◄──────────────── direct\n                                             fetch it yourself

The window is the segment asked for last and the next ones of the plan. What is in the spool was opened and checked as
`fetch_wal` does, and searched for tablespaces: <path>, in hex, is where one is created. A request waits for a
segment that is on its way. A failure is said to who asks, once, and then forgotten: here nothing is ever absent.
Histories are not looked ahead at.

It ends, and takes its spool along, when the plan's last segment has been taken, when nobody asked for a minute, and
when the plan, the spool or the server has gone.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from pgvault.errors import PgvaultError
from pgvault.postgres.lsn import MIB
from pgvault.repository.repository import Repository
from pgvault.wal.fetch import read_hashed
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.occupied import created_tablespaces
from pgvault.wal.spool import QUIT, Spool, files_ahead, socket_address

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
SLOW_REPLAY_BYTES_PER_SECOND = 4 * MIB  # a large segment keeps a server busy for longer than that
TICK_SECONDS = 0.2
WAIT_SECONDS = 10.0  # for a segment on its way
SLOW_BYTES_PER_SECOND = 32 * MIB  # a large segment may take longer
REQUEST_SECONDS = 30.0  # for a client to say what it wants, and to take it
CLEAN_UP_SECONDS = 10.0
THREADS = 4
WORTH_STARTING = 2  # segments
REQUEST_BYTES = 256
DIRECT = b"direct\n"

OpenRepository = Callable[[], Repository]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A segment in the spool."""

    blake3: bytes
    length: int
    tablespaces: tuple[bytes, ...]  # paths at which replaying it creates some


@dataclass(frozen=True, slots=True)
class Restore:
    """The restore that is looked ahead for."""

    plan_path: Path
    plan: FetchPlan
    digest: str  # of the plan's bytes
    postmaster: Path | None = None  # the server's postmaster.pid

    @classmethod
    def load(cls, plan_path: Path, *, data: Path | None = None) -> Restore:
        """Read the plan. Raises ConfigInvalid, OSError."""
        digest = blake3(plan_path.read_bytes()).hexdigest()
        postmaster = None if data is None else data / "postmaster.pid"
        return cls(plan_path, FetchPlan.load(plan_path), digest, postmaster)


class LookAhead:
    """Fills one spool and answers who asks for what is in it."""

    def __init__(self, restore: Restore, spool: Spool, *, after: str, ahead: int) -> None:
        """Look at what follows the segment `after`. Binds the socket; `run` does the rest."""
        self._restore = restore
        self._spool = spool
        self._order = segment_order(restore.plan)
        self._index = {name: at for at, name in enumerate(self._order)}
        self._ahead = files_ahead(ahead, restore.plan.segment_size)
        self._begin = self._index.get(after, -1) + 1  # of the window
        self._found: dict[str, Waiting | None] = {}  # None: could not be had
        self._loading: set[str] = set()
        self._is_paused = False  # after a failure, until somebody asks
        self._is_ending = False
        self._connections = 0
        self._taken = self._asked = 0
        self._asked_at = time.monotonic()
        self._change = threading.Condition()
        self._writing = threading.Lock()
        self._plan_stat = restore.plan_path.stat()
        self._server = self._server_id()
        self._listener = socket.socket(socket.AF_UNIX)
        with socket_address(spool.directory) as address:
            self._listener.bind(address)
        self._listener.listen()
        self._listener.settimeout(TICK_SECONDS)

    def run(self, open_repository: OpenRepository) -> None:
        """Serve until it is over, and remove the spool. Threads that wait for a store are left behind."""
        threading.Thread(target=self._open, args=(open_repository,), daemon=True).start()
        try:
            while not self._is_over():
                with suppress(TimeoutError):
                    connection, _ = self._listener.accept()
                    threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
        finally:
            self.stop()
            with self._change:
                self._change.notify_all()
            has_lock = self._writing.acquire(timeout=CLEAN_UP_SECONDS)
            self._listener.close()
            self._spool.remove()
            if has_lock:
                self._writing.release()
            logger.info("%d of %d segments were taken from the spool", self._taken, self._asked)

    def stop(self) -> None:
        """Make `run` end soon. Safe in a signal handler."""
        self._is_ending = True

    def _is_over(self) -> bool:
        if self._is_ending:
            return True
        with self._change:
            idle = self._connections == 0
            if idle and self._begin >= len(self._order):
                return True
            patience = max(IDLE_SECONDS, self._restore.plan.segment_size / SLOW_REPLAY_BYTES_PER_SECOND)
            if idle and time.monotonic() - self._asked_at > patience:
                return True
        return not self._is_current()

    def _is_current(self) -> bool:
        """Tell whether plan, spool and server are those that this began with."""
        try:
            found = self._restore.plan_path.stat()
        except OSError:
            return False
        same = os.path.samestat(found, self._plan_stat) and found.st_mtime_ns == self._plan_stat.st_mtime_ns
        return same and self._spool.is_there() and self._server_id() == self._server

    def _server_id(self) -> int | None:
        """The process id of the server that recovers, None where none does."""
        if self._restore.postmaster is None:
            return None
        try:
            number = int(self._restore.postmaster.read_text().split("\n", 1)[0])
            with suppress(PermissionError):  # then it is somebody else's, and there
                os.kill(number, 0)
        except (OSError, ValueError):
            return None
        return number

    # Requests

    def _answer(self, connection: socket.socket) -> None:
        with self._change:
            self._connections += 1
        name = ""
        try:
            with connection:
                connection.settimeout(REQUEST_SECONDS)
                request = read_line(connection)
                if request == QUIT:
                    self.stop()
                    return  # the other side waits for the lock to go
                if not request:
                    return  # a look whether anybody is here
                digest, _, name = request.decode("ascii").strip().partition(" ")
                if digest != self._restore.digest or not self._is_current():
                    self.stop()
                    name = ""
                    connection.sendall(DIRECT)
                    return
                connection.sendall(self._reply(name))
                while connection.recv(REQUEST_BYTES):
                    pass
        except (OSError, ValueError) as error:
            logger.debug("a request was cut: %s", error)
        finally:
            with self._change:
                self._connections -= 1
                self._pass(name)
                self._change.notify_all()

    def _reply(self, name: str) -> bytes:
        """Wait for a segment of the plan and say what it must hold, or that it is to be fetched directly."""
        at = self._index.get(name)
        with self._change:
            self._asked_at = time.monotonic()
            if at is None:
                return DIRECT
            self._asked += 1
            self._is_paused = False
            self._move(at)
            self._change.notify_all()
            seconds = max(WAIT_SECONDS, self._restore.plan.segment_size / SLOW_BYTES_PER_SECOND)
            self._change.wait_for(lambda: name in self._found or self._is_ending, timeout=seconds)
            waiting = self._found.get(name)
        if waiting is None:
            return DIRECT
        words = ["ready", waiting.blake3.hex(), str(waiting.length), str(self._restore.plan.system_identifier)]
        return " ".join([*words, *(path.hex() for path in waiting.tablespaces)]).encode() + b"\n"

    def _move(self, begin: int) -> None:
        """Begin the window elsewhere; what is outside it goes. Holds the lock."""
        self._begin = begin
        inside = set(self._order[begin : begin + self._ahead + 1])
        for name in [name for name in self._found if name not in inside]:
            del self._found[name]
            self._spool.drop(name)

    def _pass(self, name: str) -> None:
        """Note that a segment was taken, or thrown away. Holds the lock."""
        at = self._index.get(name)
        if at is None:
            return
        if self._found.get(name) is not None and not self._spool.holds(name):
            self._taken += 1
        self._asked_at = time.monotonic()
        if self._begin == at:
            self._move(at + 1)

    # Fetching

    def _open(self, open_repository: OpenRepository) -> None:
        try:
            repository = open_repository()
        except Exception as error:  # noqa: BLE001  whatever it is, whoever asks shall not wait for us
            logger.warning("the repository can not be opened: %s", error)
            self.stop()
            with self._change:
                self._change.notify_all()
            return
        for _ in range(min(self._ahead, THREADS)):
            threading.Thread(target=self._work, args=(repository,), daemon=True).start()

    def _work(self, repository: Repository) -> None:
        while (name := self._next()) is not None:
            waiting: Waiting | None = None
            try:
                waiting = self._load(repository, name)
            except (PgvaultError, OSError) as error:
                logger.warning("%s can not be fetched ahead: %s", name, error)
            except Exception:
                logger.exception("%s can not be fetched ahead", name)
            with self._change:
                self._loading.discard(name)
                self._is_paused = self._is_paused or waiting is None
                if self._begin <= self._index[name] <= self._begin + self._ahead:
                    self._found[name] = waiting
                else:  # passed meanwhile
                    self._spool.drop(name)
                self._change.notify_all()

    def _next(self) -> str | None:
        """Wait for something to fetch; None at the end."""
        with self._change:
            while not self._is_ending:
                if (name := self._missing()) is not None:
                    self._loading.add(name)
                    return name
                self._change.wait(TICK_SECONDS * 5)
        return None

    def _missing(self) -> str | None:
        if self._is_paused:
            return None
        window = self._order[self._begin : self._begin + self._ahead]
        return next((name for name in window if name not in self._found and name not in self._loading), None)

    def _load(self, repository: Repository, name: str) -> Waiting | None:
        plan = self._restore.plan
        if not self._spool.has_room(plan.segment_size):
            logger.info("%s is not fetched ahead: too little room", name)
            return None
        content, digest = read_hashed(repository, plan, name)
        waiting = Waiting(digest, len(content), tuple(created_tablespaces(content)))
        with self._writing:
            if self._is_ending:
                return None
            self._spool.write(name, content)
        return waiting


def segment_order(plan: FetchPlan) -> list[str]:
    """Return the names of a plan's segments as a recovery asks for them: by place, the older timeline first."""
    found = []
    for each in plan.segments:
        segment = each.first
        found.append(segment)
        while segment != each.last:
            segment = segment.next()
            found.append(segment)
    return [segment.name for segment in sorted(found, key=lambda one: (one.number, one.timeline))]


def is_worth_it(plan: FetchPlan, name: str) -> bool:
    """Tell whether so many segments follow `name` that a process which fetches them is no waste."""
    order = segment_order(plan)
    return name in order[:-WORTH_STARTING]


def read_line(connection: socket.socket) -> bytes:
    """Read one short line, or what comes before the other side stops talking."""
    line = b""
    while not line.endswith(b"\n") and len(line) < REQUEST_BYTES:
        more = connection.recv(REQUEST_BYTES)
        if not more:
            break
        line += more
    return line

r"""Serve WAL to a scratch instance over a socket, from outside of it.

    scratch server ── restore_command ── walclient.py ──(unix socket: NAME\n)──► WalService ──► repository
                   ◄── rename ────────── spool/NAME ◄──(ok PATH\n | absent\n | error …\n)──┘

The service obeys the restore's plan: what it lists is delivered whole and checked, or recovery stops; what lies
beyond is absent. Before a segment is served it is searched for CREATE TABLESPACE: replaying one would work at its
absolute path, on this very host (tried: a replayed DROP deleted a production file).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Self

from pgvault.drill.scratch import Scratch
from pgvault.errors import DiskFull, DrillNotRun, ObjectMissing, PgvaultError
from pgvault.postgres.programs import Programs
from pgvault.postgres.waldump import tablespace_paths
from pgvault.postgres.walname import SegmentFile, WalSegment, parse_wal_name
from pgvault.repository.repository import Repository
from pgvault.wal.fetch import Budget, FetchOutcome, fetch_wal
from pgvault.wal.fetchplan import FetchPlan

logger = logging.getLogger(__name__)

NAME_BYTES = 128
REQUEST_SECONDS = 30
JOIN_SECONDS = 30  # a fetch under way may go on trying for longer, for a server that is gone


class WalService:
    """Answers one scratch instance; use as a context manager."""

    def __init__(self, repository: Repository, plan: FetchPlan, scratch: Scratch, *, programs: Programs) -> None:
        """Nothing is made before the context is entered."""
        directory = scratch.sockets
        self.socket_path = directory / "wal"
        self.failure: PgvaultError | None = None  # the first thing that made it refuse
        self.served_bytes = 0
        self._repository = repository
        self._plan = plan
        self._programs = programs
        self._scratch = scratch
        self._spool = directory / "spool"
        self._scan = directory / "scan"
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve, name="wal-service", daemon=True)

    def __enter__(self) -> Self:
        for path in (self._spool, self._scan):
            path.mkdir(mode=0o700)
        self._listener.bind(os.fspath(self.socket_path))
        self._listener.listen()
        for path in (self._spool, self.socket_path):
            self._scratch.give(path)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(JOIN_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed: the drill is over
            with connection:
                connection.settimeout(REQUEST_SECONDS)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            request = b""
            while not request.endswith(b"\n") and len(request) < NAME_BYTES:
                request += connection.recv(NAME_BYTES) or b"\n"
            connection.sendall(self._deliver(request.strip().decode("ascii", "replace")) + b"\n")
        except OSError as error:
            logger.debug("a request for WAL was cut: %s", error)

    def _deliver(self, name: str) -> bytes:
        """Return the answer to a request; an error is remembered, since the scratch only learns that there was one."""
        path = self._spool / name
        try:
            file = parse_wal_name(name)
            if not self._fetch(name, path):
                return b"absent"
            if isinstance(file, SegmentFile):
                self._refuse_tablespaces(file.segment(self._plan.segment_size), path)
        except PgvaultError as error:
            self.failure = self.failure or error
            return b"error"
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = f"'{error.filename or self._spool}' can not be written: {error.strerror}"
            self.failure = self.failure or (DiskFull(what) if full else DrillNotRun(what))
            return b"error"
        self.served_bytes += path.stat().st_size
        self._scratch.give(path)
        return b"ok " + os.fsencode(path)

    def _fetch(self, name: str, path: Path) -> bool:
        """Put a file that the plan lists at `path`, checked; what was looked ahead at is there already."""
        if not self._plan.lists(name):
            return False
        ahead = self._scan / name
        if ahead.exists():
            ahead.replace(path)
            return True
        outcome = fetch_wal(lambda: self._repository, self._plan, name, path, budget=Budget())
        return outcome is FetchOutcome.DELIVERED

    def _refuse_tablespaces(self, segment: WalSegment, path: Path) -> None:
        """Look at a segment together with the next one: a record may begin here and end there."""
        names = [segment.name]
        following = segment.next().name
        here = self._scan / segment.name
        os.link(path, here)
        try:
            if self._fetch(following, self._scan / following):
                names.append(following)
        except ObjectMissing:
            pass  # then nothing that ends there is replayed either
        try:
            found = self._made_in(names)
        finally:
            here.unlink()
        # One without a path lies inside the data directory (allow_in_place_tablespaces).
        if outside := [place for place in found if place]:
            raise DrillNotRun(
                f"segment {segment.name} creates a tablespace at {outside[0]!r}: replaying it here would write there",
                hint="Drill this backup on another host, or to a target before that.",
            )

    def _made_in(self, names: list[str]) -> list[str]:
        """Paths at which the first of one or two segments makes tablespaces, wherever the record ends."""
        found = self._paths(names)
        if not found or len(names) == 1:
            return found
        # What lies whole in the second is looked at when that is asked for, and may be behind the target.
        alone, second = (self._paths([name]) for name in names)
        return alone + [path for path in found if path not in {*alone, *second}]

    def _paths(self, names: list[str]) -> list[str]:
        return tablespace_paths(self._programs, self._scan, names, cut_at=self._plan.cut_at(names[-1]))

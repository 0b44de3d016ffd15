"""Serve WAL to a scratch instance, from outside of it, through files in its directory (waldoor.py).

    scratch server ── restore_command ── walclient.sh ──(spool/ask.NAME)────────► WalService ──► repository
                   ◄── rename ────────── spool/NAME ◄──(ok | absent | error)──────────┘

The service obeys the restore's plan: what it lists is delivered whole and checked, or recovery stops; what lies
beyond is absent. Before a segment is served it is searched for CREATE TABLESPACE: replaying one would work at its
absolute path, on this very host (tried: a replayed DROP deleted a production file). In a sandbox or a container
recovery is stopped there, a directory of the scratch is bound over that path, and recovery goes on; beside us it is
refused.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Self

from pgvault.drill.scratch import Scratch
from pgvault.drill.waldoor import WalDoor, client_words
from pgvault.errors import DiskFull, DrillNotRun, ObjectMissing, PgvaultError
from pgvault.postgres.programs import Programs
from pgvault.postgres.waldump import tablespace_paths
from pgvault.postgres.walname import SegmentFile, WalSegment, parse_wal_name
from pgvault.progress import NoProgress, Progress
from pgvault.repository.repository import Repository
from pgvault.wal.fetch import Budget, FetchOutcome, fetch_wal
from pgvault.wal.fetchplan import FetchPlan

NOBODY = NoProgress()


class WalService:
    """Answers one scratch instance; use as a context manager."""

    def __init__(
        self,
        repository: Repository,
        plan: FetchPlan,
        scratch: Scratch,
        *,
        programs: Programs,
        progress: Progress = NOBODY,
    ) -> None:
        """Nothing is made before the context is entered; `progress` hears of each segment that was served."""
        self.failure: PgvaultError | None = None  # the first thing that made it refuse
        self.wanted: tuple[str, ...] = ()  # paths at which the next segment makes tablespaces: to be bound first
        self.served_bytes = 0
        self._repository = repository
        self._plan = plan
        self._programs = programs
        self._progress = progress
        self._scratch = scratch
        self._bound: set[str] = set()
        self._spool = scratch.sockets / "spool"
        self._scan = scratch.root / "scan"  # ours alone: who looks into it may be root without its rights
        self._door = WalDoor(self._spool, self._deliver, scratch.give)

    def __enter__(self) -> Self:
        for path in (self._spool, self._scan):
            path.mkdir(mode=0o700)
        self._scratch.give(self._spool)
        self._door.open()
        return self

    def __exit__(self, *unused: object) -> None:
        self._door.close()

    @property
    def client_words(self) -> list[str]:
        """What restore_command runs to ask; the file's name and its destination go behind."""
        return client_words(self._scratch.client, self._spool)

    def bound(self) -> None:
        """Go on: a directory of the scratch is bound over each path that was wanted."""
        self._bound.update(self.wanted)
        self.wanted = ()

    def _deliver(self, name: str) -> str:
        """Return the answer to a request; an error is remembered, since the scratch only learns that there was one."""
        path = self._spool / name
        try:
            file = parse_wal_name(name)
            if not self._fetch(name, path):
                return "absent"
            if isinstance(file, SegmentFile):
                self.wanted = self._unbound(file.segment(self._plan.segment_size), path)
            if self.wanted:
                return "error"  # recovery stops, and goes on here when the server is started again
        except PgvaultError as error:
            self.failure = self.failure or error
            return "error"
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = f"'{error.filename or self._spool}' can not be written: {error.strerror}"
            self.failure = self.failure or (DiskFull(what) if full else DrillNotRun(what))
            return "error"
        self.served_bytes += path.stat().st_size
        if isinstance(file, SegmentFile):
            self._progress.advance(self._plan.segment_size)
        self._scratch.give(path)
        return "ok"

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

    def _unbound(self, segment: WalSegment, path: Path) -> tuple[str, ...]:
        """Return where a segment makes tablespaces that would lie on this host. Raises DrillNotRun where they would.

        It is looked at together with the next one: a record may begin here and end there.
        """
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
        outside = tuple(place for place in dict.fromkeys(found) if place and place not in self._bound)
        if outside and not self._scratch.launcher.can_bind:
            raise DrillNotRun(
                f"segment {segment.name} creates a tablespace at {outside[0]!r}: replaying it here would write there",
                hint="Drill in a sandbox or a container, on another host, or to a target before that.",
            )
        return outside

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

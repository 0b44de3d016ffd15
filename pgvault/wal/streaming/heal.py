"""After a gap only a new backup makes the recovery window go on: take one at once, without a person.

A child process, `pgvault backup`, while streaming goes on: the backup waits for its WAL. Whether one is needed is told
by the repository alone (a recorded gap behind which no backup has begun), so it is not forgotten when we are killed.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pgvault.errors import PgvaultError, ProgramFailed
from pgvault.process import Process, start
from pgvault.repository.gaps import GapRecord
from pgvault.wal.streaming.outage import Backoff, Condition

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
FIRST_SECONDS = 5.0
LONGEST_SECONDS = 600.0  # between two attempts
STOP_SECONDS = 3.0
QUOTED_LINES = 3


@dataclass(frozen=True, slots=True)
class BackupCommand:
    """How to take a full backup of this cluster."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path


class Healer:
    """Takes a backup whenever there is a gap that none has healed; works in one thread."""

    def __init__(self, command: BackupCommand, open_gaps: Callable[[], Sequence[GapRecord]]) -> None:
        self._command = command
        self._open_gaps = open_gaps
        self._backoff = Backoff(first=FIRST_SECONDS, longest=LONGEST_SECONDS)
        self._condition = Condition(logger, "the backup that a gap asks for")
        self.wake = Event()  # set: there may be a new gap

    def run(self, stop: Event) -> None:
        """Work until `stop` is set; whoever sets it also sets `wake`."""
        while not stop.is_set():
            self.wake.wait()
            self.wake.clear()
            while not stop.is_set() and not self._heal(stop):
                stop.wait(self._backoff.next())
            self._backoff.reset()

    def _heal(self, stop: Event) -> bool:
        """Take a backup if one is needed; tell whether there is nothing more to be done."""
        try:
            gaps = self._open_gaps()
            if not gaps:
                return True
            logger.info("taking a full backup: %s to %s of WAL are lost", gaps[-1].start_lsn, gaps[-1].end_lsn)
            status = self._take(stop)
            if status == 0 and self._open_gaps():
                # Never one full backup after another: this server is not where the gap is.
                logger.warning("a full backup was taken, and does not lie behind the gap at %s", gaps[-1].start_lsn)
        except PgvaultError as error:
            self._condition.fails(str(error), kind=type(error).__name__)
            return False
        if status == 0:
            self._condition.works("was taken")
            return True
        if not stop.is_set():
            self._condition.fails(f"failed with status {status}: {self._last_words()}", level=logging.ERROR)
        return False

    def _take(self, stop: Event) -> int:
        self._command.log.unlink(missing_ok=True)
        child = start(list(self._command.argv), env=self._command.environment, log=self._command.log)
        while (status := child.poll()) is None:
            if stop.wait(POLL_SECONDS):
                return _end(child)
        if status == 0:
            logger.info("took a full backup after a gap")
        return status

    def _last_words(self) -> str:
        lines = self._command.log.read_text(errors="replace").splitlines()
        return "; ".join(line.strip() for line in lines[-QUOTED_LINES:])


def _end(child: Process) -> int:
    """End an unfinished backup; it marks its label as aborted on the way out."""
    child.signal(signal.SIGTERM)
    try:
        return child.wait(STOP_SECONDS)
    except ProgramFailed:
        child.signal(signal.SIGKILL)
        return child.wait(STOP_SECONDS)

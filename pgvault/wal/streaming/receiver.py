"""pg_receivewal as a child: how it is called, how it ends, and that none is left behind by a supervisor that died.

    setpriv --pdeathsig INT -- pg_receivewal --no-password --no-loop -s 1 -S SLOT -D DIRECTORY -d CONNINFO

Without --synchronous: it then confirms to the slot what it has flushed at the end of a segment, so that after a power
cut here the server still has whatever our disk lost; tails are durable in the repository, not here. --no-sync never.
It does not reconnect by itself (--no-loop): where to go on is decided anew each time (start.py).

It must not outlive us: it would hold the slot and fill a directory that nobody empties. The kernel interrupts it when
our main thread ends (setpriv, where it is installed); and its process id and start time are written down, so that
the next supervisor ends one that was left.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgvault.errors import DiskFull, PgvaultError, ProgramFailed
from pgvault.postgres.replication import ServerAddress
from pgvault.process import Process, run, start

logger = logging.getLogger(__name__)

STATUS_SECONDS = 1  # how often it tells the server how far it is
STOP_SECONDS = 4.0
DEATH_SIGNAL = ("setpriv", "--pdeathsig", "INT", "--")
QUOTED_LINES = 3
LOG_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class ReceiverPlace:
    """Where the receiver's traces are kept: the spool, not the system's directory below it."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root / "receiver.log"

    @property
    def record(self) -> Path:
        return self.root / "receiver.pid"


class Receiver:
    """A running pg_receivewal."""

    def __init__(self, process: Process, place: ReceiverPlace) -> None:
        self._process = process
        self._place = place
        self.started_at = time.monotonic()  # seconds

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        """Tell whether it is gone."""
        if self._process.poll() is None:
            return False
        self._place.record.unlink(missing_ok=True)
        return True

    def stop(self) -> None:
        """Let it finish what it has, and kill it if that takes too long."""
        self._process.signal(signal.SIGINT)
        try:
            self._process.wait(STOP_SECONDS)
        except ProgramFailed:
            logger.warning("pg_receivewal did not end within %.0f s and was killed", STOP_SECONDS)
            self._process.signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
        self._place.record.unlink(missing_ok=True)

    def last_words(self) -> str:
        """What it said before it ended, in the server's language."""
        try:
            text = self._place.log.read_bytes()[-LOG_BYTES_MAX:].decode("utf-8", "replace")
        except OSError:
            return "nothing"
        lines = [line.strip().removeprefix("pg_receivewal: ").removeprefix("error: ") for line in text.splitlines()]
        telling = [line for line in lines if line and line != "disconnected"]
        return "; ".join(telling[-QUOTED_LINES:]) or "nothing"


def start_receiver(
    program: Path, address: ServerAddress, slot: str, *, directory: Path, environment: Mapping[str, str]
) -> Receiver:
    """Start pg_receivewal into `directory`, below the spool. To be called by the main thread.

    `environment` is what libpq may need of ours (PGPASSFILE, HOME, …). Raises ProgramMissing, DiskFull.
    """
    place = ReceiverPlace(directory.parent)
    argv: list[str | Path] = [program, "--no-password", "--no-loop", "-s", str(STATUS_SECONDS), "-S", slot]
    argv += ["-D", directory, "-d", address.replication_dsn()]
    password = {} if address.password is None else {"PGPASSWORD": address.password}
    place.log.unlink(missing_ok=True)
    wrapped = [*DEATH_SIGNAL, *argv] if can_die_with_us() else argv
    # Client messages are read by people who search for them; the server's come in its own language anyway.
    process = start(wrapped, env=dict(environment) | password | {"LC_ALL": "C"}, log=place.log)
    try:
        place.record.write_text(f"{process.pid} {_start_ticks(process.pid) or 0}\n")
    except OSError as error:
        process.signal(signal.SIGKILL)
        raise DiskFull(f"spool '{place.root}' can not be written to: {error.strerror}") from error
    return Receiver(process, place)


def end_orphan(root: Path) -> bool:
    """End the pg_receivewal that an earlier supervisor of this spool left behind; tell whether there was one."""
    record = ReceiverPlace(root).record
    try:
        pid, ticks = (int(word) for word in record.read_text().split())
    except (OSError, ValueError):
        return False
    found = pid > 0 and ticks > 0 and _start_ticks(pid) == ticks  # a process id alone may be somebody else's by now
    if found:
        _signal(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _start_ticks(pid) == ticks:
            if time.monotonic() > deadline:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.05)
    record.unlink(missing_ok=True)
    return found


@cache
def can_die_with_us() -> bool:
    """Whether setpriv is here and knows --pdeathsig; asked once."""
    if shutil.which(DEATH_SIGNAL[0]) is None:
        return False
    try:
        run([*DEATH_SIGNAL, "true"], timeout=10)
    except PgvaultError:
        return False
    return True


def _start_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

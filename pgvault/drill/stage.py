"""What every kind of drill does alike: phases, a scratch that is cleared away, and an ending that says what it proves.

A drill *failed* when the backup did; it *could not run* when this host, the store or the key was missing something.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pgvault.checks.result import CheckResult
from pgvault.drill.report import DrillReport
from pgvault.drill.scratch import Scratch, make_scratch, remove_scratch
from pgvault.errors import (
    DiskFull,
    DrillNotRun,
    KeyUnusable,
    PgvaultError,
    ProgramFailed,
    ProgramMissing,
    ServerUnfit,
    StoreDenied,
    StoreUnreachable,
    WrongKey,
)
from pgvault.instants import Clock
from pgvault.postgres.instance import Instance, ShutdownMode
from pgvault.progress import Progress
from pgvault.restore.place import Reserve

logger = logging.getLogger(__name__)

# These say nothing about the backup: 52, not 50.
NOT_RUN = (DrillNotRun, DiskFull, KeyUnusable, ProgramMissing, ServerUnfit, StoreDenied, StoreUnreachable, WrongKey)
END_SECONDS = 30.0  # for a server that is told to stop at once
RESERVE = Reserve(1 << 30, 0.05)  # production may write to the same file system
EMPTY_BYTES = 512 << 20  # an empty cluster and its WAL
FULL = "No space left on device"
KILLED = "was terminated by signal 9"


@dataclass(frozen=True, slots=True)
class Stage:
    """A drill's report, and what it is written with."""

    report: DrillReport
    clock: Clock
    progress: Progress

    def __post_init__(self) -> None:
        """From now on it is being restored."""
        began = self.clock.monotonic()
        self.report.elapsed = lambda: self.clock.monotonic() - began

    @contextmanager
    def phase(self, name: str, total_bytes: int | None = None) -> Iterator[None]:
        """Show a phase and measure it, however it ends."""
        self.progress.phase(name, total_bytes)
        began = self.clock.monotonic()
        try:
            yield
        finally:
            self.report.phases[name] = self.clock.monotonic() - began

    @contextmanager
    def scratch(self, place: Path) -> Iterator[Scratch]:
        """Make a scratch directory, and remove it. Raises DrillNotRun when none can be made."""
        with scratch_at(place, tell=self.report.notes.append) as scratch:
            yield scratch

    def perform(self, act: Callable[[], None]) -> None:
        """Run a drill and write down how it ended; what it raises is a finding, or why it could not run."""
        report = self.report
        try:
            act()
        except NOT_RUN as error:
            report.could_run = False
            report.error = str(error)
        except PgvaultError as error:
            report.error = str(error)
        except psycopg.Error as error:
            report.error = f"the restored server does not answer: {str(error).strip()}"
        except OSError as error:  # of this host's files
            report.could_run = False
            report.error = f"'{error.filename}': {error.strerror}" if error.filename else str(error)


@contextmanager
def scratch_at(place: Path, *, tell: Callable[[str], None]) -> Iterator[Scratch]:
    """Make a scratch directory, and remove it; `tell` is told when that fails. Raises DrillNotRun as `make_scratch`."""
    scratch = make_scratch(place)
    try:
        yield scratch
    finally:
        try:
            remove_scratch(scratch)
        except (OSError, DrillNotRun) as error:  # says nothing about the backup
            logger.warning("scratch directory '%s' was not removed: %s", scratch.root, error)
            tell(f"'{scratch.root}' was not removed: {error}")


@contextmanager
def ending(instance: Instance, checks: Sequence[CheckResult] = ()) -> Iterator[None]:
    """End the scratch's server. Raises DiskFull when it ran out of room: what failed says nothing about the backup.

    `checks` are read at the end: one of them may have failed for that reason.
    """
    try:
        yield
    except (PgvaultError, psycopg.Error):
        require_room_left(instance)
        raise
    finally:
        end_server(instance)
    if any(check.failed for check in checks):
        require_room_left(instance)


def end_server(instance: Instance) -> None:
    """End a server whose data nobody needs any more; one that is gone is fine."""
    try:
        instance.stop(ShutdownMode.IMMEDIATE, timeout=END_SECONDS)
    except ProgramFailed:
        instance.kill()


def require_room_left(instance: Instance) -> None:
    """Raise DiskFull where the scratch's server has said so, DrillNotRun where its memory was not enough."""
    said = instance.log_text() if instance.log.exists() else ""
    if FULL in said:
        hint = "Drill where there is room: --scratch DIR, or drill: {scratch: DIR}."
        raise DiskFull(f"the scratch server on '{instance.data}' ran out of disk space", hint=hint)
    if KILLED in said:
        raise DrillNotRun(
            f"a process of the scratch server on '{instance.data}' was killed, as happens where memory is short",
            hint="In a container, raise drill.memory.",
        )

"""What verify found, and how it goes on after a problem: all of it is looked at, all problems are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pgvault.errors import PgvaultError, StoreUnreachable, VerifyFailed
from pgvault.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not whole."""

    what: str  # "backup LABEL", "WAL NAME"
    error: PgvaultError


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, and what was wrong with it."""

    backups: list[str] = field(default_factory=list)  # labels that were read back
    object_count: int = 0
    stored_bytes: int = 0
    segment_count: int = 0
    tail_count: int = 0
    notes: list[str] = field(default_factory=list)  # what is whole, and somebody may wonder at
    problems: list[Problem] = field(default_factory=list)

    def require_whole(self) -> None:
        """Raise VerifyFailed when there is any problem."""
        if self.problems:
            first = self.problems[0]
            raise VerifyFailed(
                f"{len(self.problems)} problems; first, {first.what}: {first.error}",
                hint="What is damaged is not deleted. Take a new backup now; then look at the store.",
            )


@dataclass(frozen=True, slots=True)
class Findings:
    """A report that is being made."""

    progress: Progress
    report: VerifyReport = field(default_factory=VerifyReport)

    def tried(self, what: str, look: Callable[[], None]) -> None:
        """Look at something; a problem with it is noted. Raises StoreUnreachable."""
        try:
            look()
        except StoreUnreachable:
            raise  # whatever else is asked would not be answered either
        except PgvaultError as error:
            self.note(what, error)

    def note(self, what: str, error: PgvaultError) -> None:
        """Take down a problem."""
        logger.warning("%s: %s", what, error)
        self.report.problems.append(Problem(what, error))

    def count(self, stored_bytes: int, *, advance: int | None = None) -> None:
        """Count an object that was read back."""
        self.report.object_count += 1
        self.report.stored_bytes += stored_bytes
        self.progress.advance(stored_bytes if advance is None else advance)

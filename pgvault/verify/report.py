"""What verify found, and how it goes on after a problem: all of it is looked at, all problems are told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pgvault.errors import PgvaultError, StoreUnreachable, VerifyFailed
from pgvault.pipeline.header import Kind
from pgvault.progress import Progress
from pgvault.repository.objects import Stored

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object that may be damaged or missing in the copy that was read; `verify --repair` looks at it again."""

    path: str
    kind: Kind | None = None  # None: not sealed, or whatever its header says
    expected: Stored | None = None  # what a root says of it; None: it is whole when it opens


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not whole."""

    what: str  # "backup LABEL", "WAL NAME"
    error: PgvaultError
    suspects: tuple[Suspect, ...] = ()  # the objects that it may be due to


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, and what was wrong with it."""

    backups: list[str] = field(default_factory=list)  # labels that were read back, as far as they were chosen
    object_count: int = 0
    stored_bytes: int = 0
    segment_count: int = 0
    tail_count: int = 0
    record_count: int = 0  # small objects of other kinds
    left_out_count: int = 0  # packs, maps and segments that were not chosen, of backups that were
    backups_left_out: int = 0  # backups that were not chosen: their roots were opened, and nothing else
    notes: list[str] = field(default_factory=list)  # what is whole, and somebody may wonder at
    problems: list[Problem] = field(default_factory=list)
    is_cut_short: bool = False  # the store stopped answering
    # Of backups of which every object was read: how many those were, and their bytes as stored.
    read_whole: dict[str, tuple[int, int]] = field(default_factory=dict)

    def problems_of(self, label: str) -> list[Problem]:
        """The problems of one backup."""
        return [problem for problem in self.problems if problem.what == backup_name(label)]

    def require_whole(self) -> None:
        """Raise VerifyFailed when there is any problem."""
        require_none([(problem.what, problem) for problem in self.problems])


def backup_name(label: str) -> str:
    """What a problem with a backup is said to be of."""
    return f"backup {label}"


def require_none(problems: list[tuple[str, Problem]]) -> None:
    """Raise VerifyFailed, with the first of them, when there is any problem; each with what it is said to be of."""
    if problems:
        what, first = problems[0]
        raise VerifyFailed(
            f"{len(problems)} problems; first, {what}: {first.error}",
            hint="What is damaged is not deleted. Take a new backup now; then look at the store. "
            "What another copy holds whole is healed by: pgvault verify --repair",
        )


@dataclass(frozen=True, slots=True)
class Findings:
    """A report that is being made."""

    progress: Progress
    report: VerifyReport = field(default_factory=VerifyReport)

    def tried(self, what: str, look: Callable[[], None], *suspects: Suspect) -> None:
        """Look at something; a problem with it is noted. Raises StoreUnreachable."""
        try:
            look()
        except StoreUnreachable:
            raise  # whatever else is asked would not be answered either
        except PgvaultError as error:
            self.note(what, error, suspects)

    def note(self, what: str, error: PgvaultError, suspects: Iterable[Suspect] = ()) -> None:
        """Take down a problem."""
        logger.warning("%s: %s", what, error)
        self.report.problems.append(Problem(what, error, tuple(suspects)))

    def count(self, stored_bytes: int, *, advance: int | None = None) -> None:
        """Count an object that was read back."""
        self.report.object_count += 1
        self.report.stored_bytes += stored_bytes
        self.progress.advance(stored_bytes if advance is None else advance)

"""How tests of planning say what they mean: a commit in a segment, a time in minutes, a plan."""

from __future__ import annotations

from pgvault.postgres.lsn import Lsn
from pgvault.recovery.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.recovery.target import Target, TargetOptions, TimeTarget
from tests.recovery.fakes import SIZE, Archive, FakeBackup, Record, lsn_in, minute


def commit_in(number: int, *, at: float | None = None, offset: int = 5000, timeline: int = 1) -> Record:
    return Record(lsn_in(number, offset), 700 + number, minute(number if at is None else at), timeline=timeline)


def time(minutes: float) -> TimeTarget:
    return TimeTarget(minute(minutes), "as written", None)


def plan(archive: Archive, target: Target, *, label: str | None = None, **options: object) -> RestorePlan:
    request = RestoreRequest(target, TargetOptions(**options), label)  # type: ignore[arg-type]
    return plan_restore(archive.facts, request)


def make_archive() -> Archive:
    """Segments 2 to 9, a commit in each at the minute of its number, backups in 2 and 6."""
    made = Archive()
    made.add_segment(1, *range(2, 10))
    made.add(*(commit_in(number) for number in range(2, 10)))
    made.backups.append(FakeBackup("early", lsn_in(2, 40), lsn_in(2, 400), minute(1.9)))
    made.backups.append(FakeBackup("late", lsn_in(6, 40), lsn_in(6, 400), minute(5.9)))
    return made


def promoted(archive: Archive, *, at: Lsn) -> Archive:
    """The server failed over at `at`; from there on everything is on timeline 2, a minute later."""
    first = at.value // SIZE
    archive.add_segment(2, *range(first, 12))
    archive.add(*(commit_in(number, at=number + 0.5, offset=9000, timeline=2) for number in range(first, 12)))
    archive.add_history(2, (1, at))
    return archive

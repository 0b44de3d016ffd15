from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pgvault.drill.choosing import OldestAim, Preferred, RandomAim, by_need, moment_of, prefer_unproven, settle_aim
from pgvault.errors import DrillNotRun
from pgvault.recovery.plan import RestoreRequest, plan_restore
from pgvault.recovery.target import ImmediateTarget, LatestTarget, TimeTarget
from pgvault.repository.drilled import Drilled, Outcome
from tests.recovery.fakes import Archive, FakeBackup, FakeWatermark, lsn_in, minute
from tests.recovery.planning import make_archive, time

LATEST = RestoreRequest(LatestTarget())


def mark(label: str, at: float, *, outcome: Outcome = Outcome.PASSED) -> Drilled:
    return Drilled(label, f"drill-{at:g}", minute(at), "latest", None, None, None, outcome, (), None, None)


def marks(*each: Drilled) -> dict[str, tuple[Drilled, ...]]:
    """By label, newest first."""
    newest_first = sorted(each, key=lambda one: one.at, reverse=True)
    return {one.label: tuple(other for other in newest_first if other.label == one.label) for one in each}


def prefer(archive: Archive, request: RestoreRequest, *known: Drilled) -> Preferred:
    return prefer_unproven(archive.facts, request, plan_restore(archive.facts, request), marks(*known))


def archive_of(*numbers: int) -> Archive:
    """Segments 2 to 9, and a backup in each of `numbers`."""
    archive = make_archive()
    archive.backups = [
        FakeBackup(f"in-{n}", lsn_in(n, 40), lsn_in(n, 400), minute(n - 0.1), stored_bytes=1 << 30) for n in numbers
    ]
    return archive


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], ["in-7", "in-5", "in-3"]),
        ([mark("in-7", 20)], ["in-5", "in-3", "in-7"]),
        ([mark("in-7", 20), mark("in-5", 30)], ["in-3", "in-7", "in-5"]),
        ([mark("in-7", 30), mark("in-5", 20), mark("in-3", 25)], ["in-5", "in-3", "in-7"]),
        ([mark("in-7", 20, outcome=Outcome.FAILED)], ["in-5", "in-3", "in-7"]),
        ([mark("in-7", 20, outcome=Outcome.FAILED), mark("in-5", 5), mark("in-3", 6)], ["in-7", "in-5", "in-3"]),
        (
            [mark("in-7", 20, outcome=Outcome.MISSED), mark("in-7", 30, outcome=Outcome.FAILED)],
            ["in-5", "in-3", "in-7"],
        ),
    ],
)
def test_the_backup_that_needs_a_proof_most_comes_first(known: list[Drilled], expected: list[str]) -> None:
    """Untried, failed, then the oldest proof; among equals the newest, which a restore would take."""
    assert [backup.label for backup in by_need(archive_of(3, 5, 7).backups, marks(*known))] == expected


def test_what_a_restore_would_take_is_drilled_first() -> None:
    """Nothing to note: its time counts."""
    found = prefer(archive_of(3, 5, 7), LATEST)

    assert (found.plan.backup_label, found.is_usual, found.note) == ("in-7", True, None)


def test_then_one_that_nobody_has_proven() -> None:
    """To the same target, on the same timeline; said, with what that means for the objective."""
    found = prefer(archive_of(3, 5, 7), LATEST, mark("in-7", 20))

    assert (found.plan.backup_label, found.plan.end_lsn, found.is_usual) == ("in-5", lsn_in(10) + -32, False)
    assert found.note is not None
    assert "which no drill has proven yet; a restore would take in-7" in found.note


def test_only_a_backup_that_reaches_the_target_counts() -> None:
    """Behind a hole, or newer than the moment."""
    archive = archive_of(3, 5, 7)
    assert prefer(archive, RestoreRequest(time(6)), mark("in-5", 20)).plan.backup_label == "in-3"

    archive.segments = {segment for segment in archive.segments if segment.number != 4}

    assert prefer(archive, RestoreRequest(time(6)), mark("in-5", 20)).plan.backup_label == "in-5"


def test_a_backup_with_a_year_of_wal_behind_it_is_left_to_its_own_moments() -> None:
    """A weekly drill must not take a day because an old backup was never proven."""
    archive = archive_of(3)
    archive.add_segment(1, *range(10, 300))
    archive.backups.append(FakeBackup("new", lsn_in(290, 40), lsn_in(290, 400), minute(290), stored_bytes=1 << 30))

    assert prefer(archive, LATEST, mark("new", 400)).plan.backup_label == "new"
    assert prefer(archive, RestoreRequest(time(5)), mark("in-3", 400)).plan.backup_label == "in-3"


def test_the_oldest_moment_is_the_end_of_the_first_backup() -> None:
    """Of the one that is named, where one is."""
    archive = archive_of(3, 5, 7)

    found = settle_aim(OldestAim(), LATEST, archive.facts)

    assert (found.target, found.backup_label) == (ImmediateTarget(), "in-3")
    named = settle_aim(OldestAim(), replace(LATEST, backup_label="in-5"), archive.facts)
    assert plan_restore(archive.facts, named).end_lsn == lsn_in(5, 400)


def test_a_random_moment_becomes_a_time() -> None:
    """The same for the same seed."""
    archive = archive_of(3, 5, 7)

    found = [settle_aim(RandomAim(7, number), LATEST, archive.facts) for number in (0, 1, 0)]

    assert found[0] == found[2] != found[1]
    assert isinstance(found[0].target, TimeTarget)
    assert plan_restore(archive.facts, found[0]).next_commit is not None


def test_where_no_moment_lies_behind_a_backup_nothing_is_drawn() -> None:
    """A backup of a minute ago on an idle server: that proves nothing, and is no failure either."""
    archive = archive_of(3)
    archive.all.clear()

    with pytest.raises(DrillNotRun, match="holds no moment to choose from"):
        settle_aim(RandomAim(7), LATEST, archive.facts)


def moment(
    archive: Archive, request: RestoreRequest, last_commit_at: datetime | None, *, is_standby: bool = False
) -> datetime | None:
    plan = plan_restore(archive.facts, request)
    stopped_at = None if is_standby else minute(2.9)
    return moment_of(plan, archive.facts, stopped_at=stopped_at, last_commit_at=last_commit_at)


def test_data_are_of_the_moment_that_was_asked_for() -> None:
    """A time is that time; the latest is the last commit, or how long idleness is proven; a backup is of its end."""
    archive = archive_of(3)

    assert moment(archive, RestoreRequest(time(5.5)), minute(5)) == minute(5.5)
    assert moment(archive, LATEST, minute(9)) == minute(9)
    assert moment(archive, RestoreRequest(ImmediateTarget()), None) == minute(2.9)
    archive.watermarks.append(FakeWatermark(minute(9) + timedelta(hours=1), lsn_in(9, 9000)))
    assert moment(archive, LATEST, minute(9)) == minute(69)


def test_a_backup_of_a_standby_does_not_tell_of_which_moment_it_is() -> None:
    """It may have lagged by hours: the last commit tells, or proven idleness, or nothing does."""
    archive = archive_of(3)
    immediate = RestoreRequest(ImmediateTarget())

    assert moment(archive, immediate, None, is_standby=True) is None
    assert moment(archive, immediate, minute(1), is_standby=True) == minute(1)
    assert moment(archive, LATEST, None, is_standby=True) is None
    archive.watermarks.append(FakeWatermark(minute(69), lsn_in(9, 9000)))
    assert moment(archive, LATEST, None, is_standby=True) == minute(69)

"""What a restore says of a target that can not be reached: the points on either side of it that can."""

from __future__ import annotations

import pytest

from pgvault.errors import TargetInvalid, TargetTooEarly, TargetTooLate, WalGap
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.target import LatestTarget, LsnTarget, NameTarget
from tests.recovery.fakes import SIZE, Archive, FakeBackup, FakeWatermark, lsn_in, minute
from tests.recovery.planning import make_archive, plan, promoted, time


@pytest.fixture
def archive() -> Archive:
    """Segments 2 to 9, a commit in each at the minute of its number, backups in 2 and 6."""
    return make_archive()


@pytest.fixture
def holed(archive: Archive) -> Archive:
    """Segment 4 is missing."""
    archive.segments.remove(WalSegment(1, 4, SIZE))
    return archive


def test_in_a_gap_both_sides_are_named(holed: Archive) -> None:
    """How far the WAL before the gap reaches, and where the next range begins, with which backup."""
    with pytest.raises(WalGap) as caught:
        plan(holed, time(4.5))

    assert str(caught.value) == (
        "WAL segment '000000010000000000000004' is missing between backup 'early' and time 2025-10-25T08:04:30+00:00;"
        " the furthest reachable point is 2025-10-25T08:02:59.999999+00:00 (LSN 0/3FFFFE0);"
        " the next range begins just after 2025-10-25T08:05:54+00:00, LSN 0/6000190, with backup 'late'"
    )
    assert plan(holed, time(5.91)).backup_label == "late"


def test_an_lsn_in_a_gap_names_both_sides(holed: Archive) -> None:
    """Likewise, and for WAL behind the gap that no backup leads to."""
    for lsn in (lsn_in(4, 100), lsn_in(5, 100)):
        with pytest.raises(WalGap, match=r"furthest.*\(?LSN 0/3FFFFE0\)?.*next range begins.*LSN 0/6000190.*'late'"):
            plan(holed, LsnTarget(lsn))


def test_before_every_backup_only_the_next_range_is_named(archive: Archive) -> None:
    """There is nothing before."""
    with pytest.raises(TargetTooEarly) as caught:
        plan(archive, time(1))

    assert "the next range begins just after 2025-10-25T08:01:54+00:00, LSN 0/2000190, with backup 'early'" in str(
        caught.value
    )
    assert "before it" not in str(caught.value)


def test_a_backup_that_can_not_be_restored_is_no_reachable_point(archive: Archive) -> None:
    """The oldest backup's own WAL is gone: the next one is named, not that."""
    archive.segments.remove(WalSegment(1, 2, SIZE))

    with pytest.raises(TargetTooEarly, match=r"next range begins just after 2025-10-25T08:05:54\+00:00.*'late'"):
        plan(archive, time(1))


def test_a_backup_without_its_wal_names_what_an_older_one_reaches(archive: Archive) -> None:
    """The newest backup is not whole; what its elders reach is told, and an older one's range is not a gap's end."""
    archive.segments -= {WalSegment(1, number, SIZE) for number in (6, 7, 8, 9)}
    archive.watermarks.append(FakeWatermark(minute(5.5), lsn_in(5, 6000)))

    with pytest.raises(WalGap, match=r"'late' cannot be restored.*reaches to at least 2025-10-25T08:05:30.*'early'$"):
        plan(archive, time(7))
    with pytest.raises(WalGap, match=r"'late' cannot be restored.*reaches to LSN 0/6000000, from backup 'early'$"):
        plan(archive, LatestTarget())


def test_behind_the_end_nothing_is_added(archive: Archive) -> None:
    """The planner has said how far it comes, and there is no later range."""
    with pytest.raises(TargetTooLate, match=r"08:08:59.999999.*or its archiver stopped$"):
        plan(archive, time(9.5))


def test_another_backup_that_reaches_it_is_named(archive: Archive) -> None:
    """Only the backup that was asked for is too new."""
    with pytest.raises(TargetTooEarly, match=r"'late'; it can be reached with backup 'early'$"):
        plan(archive, time(4), label="late")


def test_a_timeline_that_is_not_archived_names_those_that_are(archive: Archive) -> None:
    """… and the nearest points there: what stands between the operator and the restore is one number."""
    promoted(archive, at=lsn_in(8, 300))

    with pytest.raises(WalGap, match=r"'00000007.history'.*restore: 1, 2; it can be reached with backup 'early'"):
        plan(archive, time(4), timeline=7)
    with pytest.raises(WalGap, match=r"restore: 1, 2; the next range begins just after .* on timeline 2"):
        plan(archive, time(1), timeline=7)


def test_a_timeline_without_a_backup_names_those_with_one(archive: Archive) -> None:
    """A server that was promoted before the oldest backup that is kept."""
    archive.add_history(2, (1, lsn_in(1, 300)))
    archive.add_segment(2, 1, 2, 3)

    with pytest.raises(
        TargetTooEarly, match=r"no backup lies on the way to timeline 2; timelines .* restore: 1; it can"
    ):
        plan(archive, time(4), timeline=2)


def test_what_has_no_place_has_no_neighbours(holed: Archive) -> None:
    """A restore point that is nowhere is before or behind nothing."""
    with pytest.raises(TargetInvalid, match=r"'lost' does not occur in the archived WAL behind backup 'early' [^;]*$"):
        plan(holed, NameTarget("lost"))


def test_no_way_leads_anywhere() -> None:
    """Of an archive without any WAL the message does not promise a range."""
    archive = Archive()
    archive.backups.append(FakeBackup("only", lsn_in(2, 40), lsn_in(2, 400), minute(1.9)))

    with pytest.raises(WalGap, match=r"timelines with anything to restore: none$"):
        plan(archive, time(4))

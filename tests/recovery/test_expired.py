"""The window over an archive from which retention removed WAL."""

from __future__ import annotations

import pytest

from pgvault.postgres.walname import WalSegment
from pgvault.recovery.window import RecoveryWindow
from pgvault.repository.gaps import EXPIRED
from tests.recovery.fakes import SIZE, Archive, lsn_in, minute
from tests.recovery.planning import make_archive, promoted
from tests.recovery.test_window import Record, window


def expired(timeline: int, first: int, last: int) -> Record:
    """A record that retention removed these segments."""
    return Record(timeline, lsn_in(first), lsn_in(last + 1), EXPIRED)


def without(archive: Archive, timeline: int, *numbers: int) -> Archive:
    archive.segments -= {WalSegment(timeline, number, SIZE) for number in numbers}
    return archive


def told(found: RecoveryWindow) -> list[tuple[bool, bool]]:
    return [(each.has_gap_behind, each.has_expired_behind) for each in found.ranges]


def test_what_was_removed_on_purpose_is_no_gap() -> None:
    """The older backup restores to its end, and the window begins with the newer one."""
    archive = without(make_archive(), 1, 3, 4, 5)

    found = window(archive, expired(1, 0, 4), expired(1, 5, 5))

    assert found.gaps == ()
    assert told(found) == [(False, True), (False, False)]
    assert found.begins_at == found.ranges[1].starts_at > minute(2)


@pytest.mark.parametrize("records", [(), (expired(1, 3, 4),), (expired(2, 3, 5),)])
def test_what_is_not_wholly_explained_is_a_gap(records: tuple[Record, ...]) -> None:
    """A segment that vanished beside those that were removed must not hide among them."""
    archive = without(make_archive(), 1, 3, 4, 5)

    found = window(archive, *records)

    assert [(gap.start_lsn, gap.end_lsn) for gap in found.gaps] == [(lsn_in(3), lsn_in(6))]


def test_a_hole_that_came_first_is_still_one_behind_the_window() -> None:
    """Removing does not excuse what is missing later."""
    archive = without(make_archive(), 1, 3, 4, 5, 8)

    found = window(archive, expired(1, 3, 5))

    assert [(gap.start_lsn, gap.end_lsn) for gap in found.gaps] == [(lsn_in(8), lsn_in(9))]
    assert told(found) == [(False, True), (True, False)]


def test_the_segment_of_a_switch_is_the_newer_timelines() -> None:
    """What was removed on both sides of a promotion leaves no gap between."""
    archive = promoted(make_archive(), at=lsn_in(4, 300))
    del archive.backups[1]
    archive.segments = {each for each in archive.segments if each.timeline == 1 and each.number < 3}
    archive.add_segment(2, 9, 10)

    found = window(archive, expired(1, 3, 4), expired(2, 4, 8))

    assert found.gaps == ()
    assert [(each.timeline, each.end_lsn, each.has_expired_behind) for each in found.ranges] == [(1, lsn_in(3), True)]


def test_nothing_is_told_of_expired_wal_at_the_end() -> None:
    """A timeline that was left long ago: what it wrote at last is wanted by nobody."""
    archive = without(make_archive(), 1, 8, 9)

    found = window(archive, expired(1, 8, 9))

    assert found.gaps == ()
    assert told(found) == [(False, True)]


def test_a_backup_whose_own_wal_was_removed_is_lost() -> None:
    """That is never meant; it is told, and the hole with it."""
    archive = without(make_archive(), 1, 2, 3)

    found = window(archive, expired(1, 0, 3))

    assert [each.label for each in found.lost] == ["early"]
    assert [(gap.start_lsn, gap.end_lsn) for gap in found.gaps] == [(lsn_in(2), lsn_in(4))]

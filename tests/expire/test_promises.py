"""The boundaries of what a promise takes, one by one: which segments of a way, from where and up to where."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pgvault.expire.facts import PhysicalBackup
from pgvault.expire.needed import ENDLESS, Needed, Numbers, on_way
from pgvault.expire.promises import Promise, Trust, uphold, uphold_without_window
from pgvault.expire.reach import Reach
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.path import RecoveryPath
from pgvault.recovery.stretches import Stretch

SIZE = 16 * MIB
BEGIN = datetime(2025, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(hours: float) -> datetime:
    return BEGIN + hours * HOUR


def backup(number: int) -> PhysicalBackup:
    """Within segment `number`, which is written in hour `number`."""
    start = Lsn(number * SIZE + 40)
    return PhysicalBackup(f"b{number}", True, 1, 1, start, start + 400, at(number), at(number + 0.1))


def reach(*numbers: int, first: int = 1, is_open: bool = True, written_at: datetime | None = None) -> Reach:
    path = RecoveryPath(TimelineHistory(1), SIZE)
    stretch = Stretch(first, 20, Lsn(21 * SIZE), has_tail=False)
    return Reach(path, stretch, tuple(backup(number) for number in numbers), is_open, written_at=written_at)


def trust(sound: str, *, eligible: str = "b2 b5 b8 b12 b15") -> Trust:
    return Trust(eligible.split(), sound.split(), margin=HOUR)


def test_a_way_through_a_fork() -> None:
    """The segment of the switch is the newer timeline's, also where the older one has but one segment before it."""
    path = RecoveryPath(TimelineHistory(2, (HistoryEntry(1, Lsn(5 * SIZE + 8192), "promoted"),)), SIZE)

    assert list(on_way(path, 3)) == [Numbers(1, 3, 4), Numbers(2, 5, ENDLESS)]
    assert list(on_way(path, 4)) == [Numbers(1, 4, 4), Numbers(2, 5, ENDLESS)]
    assert list(on_way(path, 5)) == [Numbers(2, 5, ENDLESS)]
    assert list(on_way(path, 3, 4)) == [Numbers(1, 3, 4)]
    assert list(on_way(path, 4, 5)) == [Numbers(1, 4, 4), Numbers(2, 5, 5)]


def test_a_timeline_that_began_before_its_parent_has_no_bytes() -> None:
    """A recovery that stopped before timeline 2 began left it without a byte."""
    entries = (HistoryEntry(1, Lsn(5 * SIZE), "one"), HistoryEntry(2, Lsn(5 * SIZE), "two"))

    assert list(on_way(RecoveryPath(TimelineHistory(3, entries), SIZE), 3)) == [
        Numbers(1, 3, 4),
        Numbers(3, 5, ENDLESS),
    ]


def test_needed_segments_have_both_ends() -> None:
    """Runs that touch become one; both of their ends are in, what lies beside is not."""
    needed = Needed.of([Numbers(1, 3, 5), Numbers(1, 6, 7), Numbers(1, 9, 9), Numbers(2, 4, 4)])

    held = [number for number in range(12) if needed.holds(WalSegment(1, number))]

    assert held == [3, 4, 5, 6, 7, 9]
    assert needed.runs[1] == (Numbers(1, 3, 7), Numbers(1, 9, 9))
    assert not needed.holds(WalSegment(3, 4))


@pytest.mark.parametrize(
    ("since", "sound", "labels", "first"),
    [
        (8.2, "b2 b5 b8", "b8 b12 b15", 8),  # the newest that stopped before
        (8.1, "b2 b5 b8", "b5 b8 b12 b15", 5),  # one that stopped at that moment is too late
        (8.2, "b2", "b2 b5 b8 b12 b15", 2),  # those behind were not verified
        (8.2, "b12", "b2 b5 b8 b12 b15", 2),  # none before was
        (1.0, "b2", "b2 b5 b8 b12 b15", 2),  # there is none before
    ],
)
def test_the_window_begins_with_a_sound_full_that_stopped_before(
    since: float, sound: str, labels: str, first: int
) -> None:
    """Everything from there on stays, and the WAL from its start."""
    upheld = uphold(Promise(at(since), None, "the window"), [reach(2, 5, 8, 12, 15)], trust(sound))

    assert " ".join(label for label, _ in upheld.reasons) == labels
    assert upheld.wal.runs == {1: (Numbers(1, first, ENDLESS),)}


@pytest.mark.parametrize(("until", "last"), [(10.5, 12), (10.99, 12), (11.0, 15), (13.0, 15), (14.5, ENDLESS)])
def test_a_range_ends_where_the_first_backup_behind_it_begins(until: float, last: int) -> None:
    """… that was started later by more than clocks may be apart; its segment holds the last bytes of the range."""
    upheld = uphold(Promise(at(6), at(until), "hold"), [reach(2, 5, 8, 12, 15)], trust("b2 b5"))

    assert upheld.wal.runs == {1: (Numbers(1, 5, last),)}
    assert {label for label, _ in upheld.reasons} >= {"b5", "b8"}
    assert ("b15" in {label for label, _ in upheld.reasons}) is (until >= 15)


def test_where_a_standbys_backup_begins_ends_no_range() -> None:
    """Its primary may have been far ahead when it was started: what lies behind is of before that, too."""
    held = reach(2, 5, 8)
    of_standby = replace(backup(12), is_from_standby=True)
    held = replace(held, backups=(*held.backups, of_standby, backup(15)))

    upheld = uphold(Promise(at(6), at(10.5), "hold"), [held], trust("b2 b5"))

    assert upheld.wal.runs == {1: (Numbers(1, 5, 15),)}


@pytest.mark.parametrize(
    ("written_at", "followed_at", "is_open", "lasts"),
    [
        (None, None, False, True),  # nobody knows
        (8.0, None, False, True),
        (7.0, None, False, True),  # clocks may be an hour apart
        (6.9, None, False, False),
        (None, 8.0, False, False),  # by the server's own clock
        (None, 8.1, False, True),
        (9.0, 8.0, False, False),
        (1.0, 1.0, True, True),  # production is here
    ],
)
def test_when_a_stretch_has_ended(
    written_at: float | None, followed_at: float | None, is_open: bool, lasts: bool
) -> None:
    """A stretch whose age is not known lasts; one that is followed by a backup ended before that was started."""
    path = RecoveryPath(TimelineHistory(1), SIZE)
    times = [None if hours is None else at(hours) for hours in (followed_at, written_at)]
    found = Reach(path, Stretch(1, 2, Lsn(3 * SIZE), has_tail=False), (), is_open, *times)

    assert found.lasts_until(at(8), margin=HOUR) is lasts


def test_wal_to_which_no_backup_leads_stays_within_the_window() -> None:
    """A backup under way may begin in it, or what is missing may still arrive."""
    upheld = uphold(Promise(at(8), None, "the window"), [reach(first=3)], trust(""))

    assert upheld.wal.runs == {1: (Numbers(1, 3, ENDLESS),)}


def test_without_a_window_the_oldest_kept_full_counts() -> None:
    """From its start on; behind a hole the backups up to the first verified one, that one as well."""
    before, behind = reach(2, 5, is_open=False, written_at=at(6)), reach(8, 12, 15, first=8)

    upheld = uphold_without_window([before, behind], {"b5", "b15"}, trust("b5 b12 b15"))

    assert upheld.wal.runs == {1: (Numbers(1, 5, ENDLESS),)}
    assert upheld.reasons == (
        ("b15", "leads to where production is"),
        ("b8", "first behind a hole in WAL"),
        ("b12", "first behind a hole in WAL"),
    )

"""What came of slots: done, failed, pending; since when they count; when a backup is too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.monitor.slots import OVER, AgePromise, begun_at, count_since, judge_age, tally
from pgvault.schedule import CronSchedule

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAILY = CronSchedule("0 1 * * *")
HOURLY = CronSchedule("0 * * * *")
WEEKLY = CronSchedule("0 2 * * 0")
WEEKDAYS = CronSchedule("0 1 * * 1-5")
ON_THE_FIRST = CronSchedule("0 */6 1 * *")


def at(text: str) -> datetime:
    """A moment of November 2026, as `21 01:00`."""
    day, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2026-11-{day}T{time}+00:00")


def told(schedule: CronSchedule, *began: str, since: str = "18 00:00", now: datetime = NOW) -> tuple[list[int], ...]:
    """The days of the slots that are done, failed, pending."""
    found = tally(schedule, map(at, began), since=at(since), now=now, grace=2 * HOUR)
    return tuple([slot.day for slot in slots] for slots in (found.done, found.failed, found.pending))


def test_a_slot_is_done_by_a_backup_that_began_in_it() -> None:
    """At once, a minute early, or hours late; one that never came has failed."""
    assert told(DAILY, "18 01:00", "19 00:59", "21 11:00") == ([18, 19, 21], [20], [])


def test_a_backup_too_early_belongs_to_the_slot_before() -> None:
    """Two minutes before one o'clock is yesterday's, and two of one slot are one."""
    assert told(DAILY, "18 01:00", "19 00:58", "20 01:00", "20 13:00") == ([18, 20], [19, 21], [])


def test_a_slot_that_may_yet_be_done_is_pending() -> None:
    """For as long as a backup may take; then it has failed."""
    assert told(DAILY, "20 01:00", since="19 12:00", now=at("21 02:59")) == ([20], [], [21])
    assert told(DAILY, "20 01:00", since="19 12:00", now=at("21 03:00")) == ([20], [21], [])


def test_nothing_over_is_no_rate() -> None:
    """A claim over no slots is none."""
    empty = tally(DAILY, [], since=at("21 02:00"), now=NOW, grace=HOUR)
    all_failed = tally(DAILY, [], since=at("18 00:00"), now=NOW, grace=HOUR)

    assert (empty.rate, all_failed.rate) == (None, 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10 * 24 * 60)), st.integers(0, 5 * 24 * 60), st.sampled_from([DAILY, HOURLY, WEEKLY]))
def test_every_slot_is_told_once(minutes: list[int], grace: int, schedule: CronSchedule) -> None:
    """Done, failed or pending; one more backup never makes it worse."""
    since = NOW - timedelta(days=10)
    began = [since + timedelta(minutes=each) for each in minutes]

    found = tally(schedule, began, since=since, now=NOW, grace=timedelta(minutes=grace))
    more = tally(schedule, [*began, NOW - HOUR], since=since, now=NOW, grace=timedelta(minutes=grace))

    assert sorted((*found.done, *found.failed, *found.pending)) == list(schedule.slots(since, NOW))
    assert set(found.done) <= set(more.done)
    assert len(found.done) <= len(began)
    assert all(NOW - slot < timedelta(minutes=grace) for slot in found.pending)


def test_slots_count_for_thirty_days_at_most() -> None:
    """And since the cluster is known: a backup right then has done its slot."""
    long_known = NOW - timedelta(days=400)

    assert count_since(NOW, known_since=long_known, days=None, count=None, began=[]) == NOW - OVER
    assert count_since(NOW, known_since=at("20 01:00"), days=None, count=None, began=[]) == at("20 00:59")


@pytest.mark.parametrize(
    ("days", "count", "since"),
    [
        (7, 2, NOW - timedelta(days=7)),
        (90, 2, NOW - OVER),
        (1, 3, at("19 00:59")),  # three are kept, however old
        (None, 2, at("20 00:59")),
        (None, 9, NOW - OVER),  # there are fewer, so none was removed
        (None, None, NOW - OVER),
    ],
)
def test_what_retention_removed_is_no_failure(days: int | None, count: int | None, since: datetime) -> None:
    """Before what is kept for certain nobody knows."""
    began = [at("19 01:00"), at("20 01:00"), at("21 01:00")]

    assert count_since(NOW, known_since=NOW - 2 * OVER, days=days, count=count, began=began) == since


def age(promise: AgePromise, began: str, now: datetime = NOW) -> str | None:
    began_at = at(began)
    return judge_age(promise, began_at=began_at, stopped_at=began_at + timedelta(minutes=20), now=now).too_old


@pytest.mark.parametrize(
    ("promise", "began", "now", "why"),
    [
        (AgePromise(), "20 11:41", NOW, None),
        (AgePromise(), "20 11:39", NOW, "older than 24 h"),
        (AgePromise(objective=HOUR), "21 10:39", NOW, "older than 1 h"),
        (AgePromise(objective=HOUR), "21 10:41", NOW, None),
        # A day old while today's is being taken is not stale; once it should have been there, it is.
        (AgePromise(schedule=DAILY), "20 01:00", at("21 02:30"), None),
        (AgePromise(schedule=DAILY), "20 01:00", at("21 03:01"), "older than 24 h"),
        (AgePromise(schedule=DAILY), "20 23:00", NOW, "the slot of 2026-11-21 01:00 UTC was missed"),
        (AgePromise(schedule=HOURLY), "21 09:00", NOW, "the slot of 2026-11-21 10:00 UTC was missed"),
        (AgePromise(schedule=HOURLY), "21 10:30", NOW, None),
        # On weekdays only, or many times on the first: nothing is stale between them. The 21st is a Saturday.
        (AgePromise(schedule=WEEKDAYS), "20 01:00", NOW, None),
        (AgePromise(schedule=WEEKDAYS), "20 01:00", at("23 02:59"), None),
        (AgePromise(schedule=WEEKDAYS), "20 01:00", at("23 03:01"), "older than 24 h"),
        (AgePromise(schedule=WEEKDAYS), "19 01:00", NOW, "the slot of 2026-11-20 01:00 UTC was missed"),
        (AgePromise(schedule=ON_THE_FIRST), "01 18:00", NOW, None),
        (AgePromise(schedule=ON_THE_FIRST), "01 12:00", NOW, "the slot of 2026-11-01 18:00 UTC was missed"),
        (AgePromise(schedule=WEEKLY), "15 02:00", NOW, None),
        (AgePromise(schedule=WEEKLY), "08 02:00", NOW, "the slot of 2026-11-15 02:00 UTC was missed"),
        (AgePromise(objective=48 * HOUR, schedule=DAILY), "20 01:00", NOW, None),
        (AgePromise(objective=24 * HOUR, schedule=DAILY), "20 01:00", at("21 02:30"), "older than 24 h"),
    ],
)
def test_too_old(promise: AgePromise, began: str, now: datetime, why: str | None) -> None:
    """By the objective alone where there is one; by the slots of the schedule; by a day where nothing is said."""
    assert age(promise, began, now) == why


def test_a_missed_slot_is_known_whatever_is_promised() -> None:
    """It is told where the objective is still kept."""
    promise = AgePromise(objective=48 * HOUR, schedule=DAILY)

    found = judge_age(promise, began_at=at("20 01:00"), stopped_at=at("20 01:20"), now=NOW)

    assert (found.too_old, found.missed, found.limit) == (None, at("21 01:00"), 48 * HOUR)


def test_a_backup_began_when_its_label_says() -> None:
    """By its host's clock; the server's counts where the label is none of ours, or no time."""
    assert begun_at("20261121T010000Z-f7c2", NOW) == at("21 01:00")
    assert begun_at("20269921T010000Z-f7c2", NOW) == NOW
    assert begun_at("newest", NOW) == NOW

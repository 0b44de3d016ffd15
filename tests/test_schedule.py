"""Cron expressions: which moments they name, in zones whose clocks are set forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.errors import UsageError
from pgvault.schedule import CronSchedule, read_cron

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(cron: str, zone: str, after: str, until: str) -> list[str]:
    """The slots in between, as the clocks of the zone show them."""
    found = CronSchedule(cron, zone).slots(at(after), at(until))
    return [slot.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for slot in found]


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("hourly", "0 * * * *"),
        ("Daily", "0 1 * * *"),
        ("weekly", "0 2 * * 0"),
        ("monthly", "0 3 1 * *"),
        ("@daily", "0 0 * * *"),
        (" 5 4 * * mon-fri ", "5 4 * * mon-fri"),
        ("*/15 * * * *", "*/15 * * * *"),
    ],
)
def test_words_and_expressions_are_read(text: str, cron: str) -> None:
    """Words of promises, nicknames of cron, five fields."""
    assert read_cron(text) == cron


@pytest.mark.parametrize(
    "text", ["", "dailys", "0 1 * *", "0 0 1 * * *", "61 1 * * *", "0 24 * * *", "0 1 31 2 *", "@reboot", "0 1 * * 9"]
)
def test_what_cron_would_not_run_is_refused_with_its_value(text: str) -> None:
    """Among them a day that never comes, and a sixth field, which cron takes for the command."""
    with pytest.raises(UsageError, match="neither hourly, daily, weekly, monthly nor a cron expression") as caught:
        read_cron(text)
    assert repr(text) in str(caught.value)


def test_slots_lie_after_the_first_instant_and_not_after_the_last() -> None:
    """Half open, so that stretches beside each other share no slot and lose none."""
    assert shown("0 * * * *", "UTC", "2026-11-21T08:00", "2026-11-21T10:00") == [
        "2026-11-21T09:00+00:00",
        "2026-11-21T10:00+00:00",
    ]


@pytest.mark.parametrize(
    ("cron", "after", "until", "expected"),
    [
        # 29 March 2026: 02:00 to 03:00 does not exist. 25 October 2026: 02:00 to 03:00 comes twice.
        ("30 2 * * *", "2026-03-28T12:00", "2026-03-30T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0,30 2 * * *", "2026-03-28T12:00", "2026-03-29T12:00", ["2026-03-29T03:00+02:00"]),
        ("30 2 * * *", "2026-10-24T12:00", "2026-10-26T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("0 1 * * *", "2026-03-28T12:00", "2026-03-30T12:00", ["2026-03-29T01:00+01:00", "2026-03-30T01:00+02:00"]),
        (
            "0 * * * *",
            "2026-10-24T23:30",
            "2026-10-25T02:00",
            ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
        ),
        ("0 * * * *", "2026-03-29T00:00", "2026-03-29T02:00", ["2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]),
    ],
)
def test_summer_time_is_kept_as_cron_keeps_it(cron: str, after: str, until: str, expected: list[str]) -> None:
    """A fixed hour that is skipped runs late, one that comes twice runs once; every hour is every real hour."""
    assert shown(cron, BERLIN, after, until) == expected


def test_within_the_hour_that_comes_twice_nothing_runs_again() -> None:
    """Asked between the two, the next slot is tomorrow's, and the last one today's first."""
    between = at("2026-10-25T01:10")  # 02:10 for the second time
    schedule = CronSchedule("30 2 * * *", BERLIN)

    assert schedule.next_slot(between) == at("2026-10-26T01:30")
    assert schedule.previous_slot(between) == at("2026-10-25T00:30")


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", "2026-11-21T08:05"),
        ("0 1 * * *", "2026-11-21T01:00"),
        ("0 2 * * 0", "2026-11-15T02:00"),
        ("0 3 1 * *", "2026-11-01T03:00"),
        ("0 0 1 1 *", "2026-01-01T00:00"),
        ("0 0 29 2 *", "2024-02-29T00:00"),
    ],
)
def test_the_last_slot_is_found_however_long_ago(cron: str, expected: str) -> None:
    """Minutes, a week, a leap year."""
    assert CronSchedule(cron).previous_slot(at("2026-11-21T08:05")) == at(expected)


CRONS = st.builds(
    "{} {} {} * {}".format,
    st.sampled_from(["0", "30", "5,45", "*/20", "*"]),
    st.sampled_from(["*", "2", "1-3", "*/6", "0,23"]),
    st.sampled_from(["*", "1", "*/10"]),
    st.sampled_from(["*", "0", "1-5"]),
)
ZONES = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
YEAR = timedelta(days=365)
INSTANTS = st.integers(0, int(2 * YEAR.total_seconds())).map(lambda s: at("2025-01-01") + timedelta(seconds=s))


@settings(max_examples=60, deadline=None)
@given(CRONS, ZONES, INSTANTS, st.integers(0, 60 * 24 * 3))
def test_slots_are_one_series_from_wherever_one_looks(cron: str, zone: str, after: datetime, minutes: int) -> None:
    """In order, each once; split anywhere nothing is lost or told twice; next and previous are neighbours in it."""
    schedule = CronSchedule(cron, zone)
    middle, until = after + timedelta(minutes=minutes), after + timedelta(days=3)

    whole = list(schedule.slots(after, until))

    assert all(earlier < later for earlier, later in pairwise(whole))
    assert [*schedule.slots(after, middle), *schedule.slots(middle, until)] == whole
    for slot in whole[:3]:
        assert schedule.previous_slot(slot) == slot
        assert schedule.next_slot(slot - timedelta(seconds=1)) == slot
    if whole:
        assert schedule.next_slot(after) == whole[0]
        assert schedule.previous_slot(until) == whole[-1]

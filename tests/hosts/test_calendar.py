"""A timer of systemd starts at the very moments that a cron expression names."""

from __future__ import annotations

import random
import re
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pgvault.errors import UsageError
from pgvault.hosts.calendar import calendar_lines
from pgvault.hosts.jobs import JOBS
from pgvault.process import attempt
from pgvault.schedule import CronSchedule, read_cron
from tests.hosts.systemdcalendar import elapses

NOW = datetime(2026, 11, 22, tzinfo=UTC)
# Set at night, set at midnight, and one that is no whole hours from UTC. (Not Lord Howe, set by half an hour: cronsim
# loses slots there, of jobs like `*/20 0 * * *`.)
ZONES = ("Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kolkata", "UTC")
CHANGES = ("2027-03-13", "2027-03-27", "2027-04-03", "2027-09-05", "2027-10-02", "2027-10-30", "2027-11-06")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def fields(last: int, first: int = 0) -> st.SearchStrategy[str]:
    """One field of cron: stars, steps, ranges, lists."""
    number = st.integers(first, last)
    pairs = st.tuples(number, number).map(sorted)
    step = st.integers(2, 9)
    terms = st.one_of(
        st.just("*"),
        number.map(str),
        pairs.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(pairs, step).map(lambda each: f"{each[0][0]}-{each[0][1]}/{each[1]}"),
        st.tuples(number, step).map(lambda each: f"{each[0]}/{each[1]}"),
        step.map(lambda each: f"*/{each}"),
    )
    return st.lists(terms, min_size=1, max_size=2).map(",".join)


DAYS = st.one_of(st.just("*"), fields(31, 1), st.sampled_from(["L", "LW", "L,15", "1,LW", "31"]))
WEEKDAYS = st.one_of(
    st.just("*"), fields(7), st.sampled_from(["mon-fri", "5#2", "5L", "0,1#5", "7", "sat,sun", "*,3L"])
)
MONTHS = st.one_of(st.just("*"), fields(12, 1), st.just("feb,dec"))
HOURS = st.one_of(st.just("*"), fields(23))
MINUTES = st.one_of(st.just("*/20"), st.integers(0, 59).map(str), st.just("5,35"))


def is_schedule(cron: str) -> bool:
    """Whether such a day ever comes."""
    try:
        read_cron(cron)
    except UsageError:
        return False
    return True


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.just("17"), st.sampled_from(["3", "5,22"]), DAYS, MONTHS, WEEKDAYS).map(" ".join).filter(is_schedule)
)
def test_days_are_the_same_through_a_year(cron: str) -> None:
    """Day and weekday together are either of them, or both where one begins with a star; ends of months are ends."""
    until = NOW + timedelta(days=500)  # with a 29th of February
    try:
        lines = calendar_lines(cron, "UTC", now=NOW)
    except UsageError:
        assume(False)  # that it refuses only what it must, other tests say
        raise

    assert elapses(lines, NOW, until) == list(CronSchedule(cron).slots(NOW, until))


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(MINUTES, HOURS, st.just("*"), st.just("*"), st.sampled_from(["*", "6-7", "0", "1"])).map(" ".join),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
)
def test_a_changed_clock_loses_no_slot_and_makes_none(cron: str, zone: str, change: str) -> None:
    """What systemd skips, and what it takes for over, is named by its date."""
    since = datetime.fromisoformat(change).replace(tzinfo=UTC)
    until = since + timedelta(days=3)

    lines = calendar_lines(cron, zone, now=NOW)

    assert elapses(lines, since, until) == list(CronSchedule(cron, zone).slots(since, until))


@pytest.mark.parametrize(
    ("cron", "zone", "lines"),
    [
        ("30 1 * * 1-5", "Europe/Berlin", ("Mon..Fri *-*-* 01:30:00 Europe/Berlin",)),
        ("*/15 * * * *", "Europe/Berlin", ("*-*-* *:00,15,30,45:00 UTC",)),
        ("0 * * * *", "Asia/Kolkata", ("*-*-* *:30:00 UTC",)),
        ("0 3 1,15 * 0", "UTC", ("*-*-01,15 03:00:00 UTC", "Sun *-*-* 03:00:00 UTC")),
        ("0 3 LW * *", "UTC", ("Mon..Fri *-*~01 03:00:00 UTC", "Fri *-*~02..03 03:00:00 UTC")),
    ],
)
def test_lines_are_as_people_write_them(cron: str, zone: str, lines: tuple[str, ...]) -> None:
    """Without dates where none are needed."""
    assert calendar_lines(cron, zone, now=NOW) == lines


def test_weekly_backup_at_two_is_not_lost_in_march() -> None:
    """The hour from two to three is not there on that Sunday, and cron runs at its end."""
    lines = calendar_lines(JOBS["logical"].cron, "Europe/Berlin", now=NOW)

    assert lines[:2] == ("Sun *-*-* 02:00:00 Europe/Berlin", "2027-03-28 01:00:00 UTC")
    assert lines[-1] == "2036-03-30 01:00:00 UTC"


def test_what_has_no_words_is_refused() -> None:
    """Every other day, but only if it is the last Friday."""
    with pytest.raises(UsageError, match=re.escape("'0 3 */2 * 5L' is no schedule of systemd: systemd")):
        calendar_lines("0 3 */2 * 5L", "UTC", now=NOW)


@needs_systemd
@pytest.mark.endurance
def test_systemd_itself_comes_to_the_same_moments() -> None:
    """It is asked for the next ten of each line, over random expressions: these tests read as it does."""
    draw = random.Random(20261122)
    crons = [job.cron for job in JOBS.values()]
    days, weekdays = ["*", "L", "LW", "1,15", "*/9", "2-30/7"], ["*", "1-5", "0", "5#2", "6L", "*/2"]
    crons += [
        f"{draw.randrange(60)} {draw.randrange(24)} {draw.choice(days)} * {draw.choice(weekdays)}" for _ in range(25)
    ]
    for cron in crons:
        zone, since = draw.choice(ZONES), NOW + timedelta(days=draw.randrange(700))
        try:
            lines = calendar_lines(cron, zone, now=NOW)
        except UsageError:
            continue
        for line in lines[:3]:
            words = [
                "systemd-analyze",
                "calendar",
                "--iterations=10",
                f"--base-time={since:%Y-%m-%d %H:%M:%S} UTC",
                line,
            ]
            finished = attempt(words, timeout=30, env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"})
            assert finished.status == 0, (cron, line, finished.errors)
            shown = re.findall(r"(?:elapse|Iter. #\d+): \w+ (\S+ \S+) UTC", finished.output)
            told = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in shown]
            until = max(told, default=since)
            assert told == elapses([line], since, until), (cron, zone, line)

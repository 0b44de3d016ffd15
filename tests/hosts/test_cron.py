"""Lines for /etc/cron.d: what cron and the shell make of them, and when they run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pgvault.config import Config, parse_config
from pgvault.errors import UsageError
from pgvault.hosts.cron import cron_file, cron_word
from pgvault.hosts.cronfields import in_zone, plain_fields, shifted
from pgvault.hosts.entries import spread
from pgvault.hosts.host import ScheduleOrder
from pgvault.hosts.jobs import JOBS
from pgvault.process import run
from pgvault.schedule import CronSchedule
from tests.hosts.crons import CronLine, read_cron_file

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WEEK, HALF_AN_HOUR = timedelta(days=8), timedelta(minutes=30)
CONFIG = Path("/etc/pgvault/pgvault.yaml")
PROGRAM = ("/opt/pgvault/bin/pgvault",)
SHELL = {"PATH": "/usr/bin:/bin"}
NEVER = dict.fromkeys(JOBS, "off")


def configured(*, timezone: str = "UTC", copies: int = 1, **cluster: object) -> Config:
    """One cluster, called main."""
    document = {
        "repository": {"key": "file:/k", "copies": {f"c{n}": {"url": f"file:///{n}"} for n in range(copies)}},
        "timezone": timezone,
        "clusters": {"main": {"dsn": "", **cluster}},
    }
    return parse_config(document, where="here")


def order(*, zone: str = "UTC", jitter: timedelta | None = None, user: str = "postgres") -> ScheduleOrder:
    return ScheduleOrder(PROGRAM, CONFIG, {"main": user}, host="db7", zone=zone, jitter=jitter)


def lines_of(config: Config, given: ScheduleOrder) -> list[CronLine]:
    return read_cron_file(cron_file(config, given, now=NOW).content, strips_backslash=True)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\\\r")), min_size=1, max_size=4))
@example(['it\'s 100% "odd" $HOME `x` #;', "", "%", "a b"])
def test_words_come_through_cron_and_the_shell(words: list[str]) -> None:
    """Whether that cron takes the backslash before a percent sign away, or leaves it to the shell."""
    show = r"""show() { for word; do printf '%s\0' "$word"; done; }"""

    for strips in (True, False):
        line = f"* * * * * postgres show {' '.join(map(cron_word, words))}"
        (read,) = read_cron_file(line, strips_backslash=strips)
        shown = run(["sh", "-c", f"{show}; {read.command}"], timeout=30, env=SHELL)
        assert shown.split("\0")[:-1] == words


@pytest.mark.parametrize("word", ["a\\b", "a\nb", "a\0b"])
def test_what_no_cron_reads_alike_is_refused(word: str) -> None:
    """A backslash is taken away by some, a newline ends the line."""
    with pytest.raises(UsageError, match="a line of cron can not hold"):
        cron_word(word)


def test_each_job_has_its_line() -> None:
    """With the user, the absolute path, and the configuration in the environment."""
    lines = lines_of(configured(schedule={**NEVER, "backup": "30 1 * * mon-fri", "logical": "weekly"}), order())

    assert [(line.fields, line.user, line.command) for line in lines] == [
        ("30 1 * * 1-5", "postgres", "/opt/pgvault/bin/pgvault backup --cluster main"),
        (
            "0 2 * * 0",
            "postgres",
            f"{PROGRAM[0]} backup --type logical --cluster main && {PROGRAM[0]} drill --logical latest --cluster main",
        ),
    ]
    assert lines[0].environment["PGVAULT_CONFIG"] == str(CONFIG)
    assert lines[0].environment["SHELL"] == "/bin/sh"
    assert "MAILTO" not in lines[0].environment


def test_usual_times_are_spread_and_said_ones_are_kept() -> None:
    """By the host's and the cluster's name, always alike; what to write into the configuration stands above it."""
    minutes = spread("db7/main", 16)
    assert minutes
    config = configured(copies=2, schedule={"backup": "0 1 * * *"})

    content = cron_file(config, order(), now=NOW).content
    fields = [line.fields for line in read_cron_file(content, strips_backslash=True)]

    assert fields[0] == "0 1 * * *"
    assert fields[1] == f"{minutes} 2 * * 0"
    assert fields[-1] == f"{minutes % 15 or '*'}-59/15 * * * *".replace("*-59", "*")
    assert f'schedule: {{logical: "{minutes} 2 * * 0"}}' in content
    assert "schedule: {backup:" not in content
    calm = [line.fields for line in lines_of(config, order(jitter=timedelta(0)))]
    assert calm[1] == JOBS["logical"].cron


def test_classes_and_checks_run_when_they_say_themselves() -> None:
    """`status` counts those slots too."""
    check = {"name": "orphaned orders", "query": "SELECT 0", "threshold": 0, "schedule": "hourly"}
    config = configured(
        classes={"financial": {"tables": ["public.a"], "backup": "5/15 * * * *"}}, checks=[check], schedule=NEVER
    )

    assert [(line.fields, line.command) for line in lines_of(config, order())] == [
        ("5-59/15 * * * *", f"{PROGRAM[0]} backup --type logical --class financial --cluster main"),
        ("0 * * * *", f"{PROGRAM[0]} checks run --live --check 'orphaned orders' --cluster main"),
    ]


def test_the_one_backup_of_a_managed_cluster_may_be_called_either_way() -> None:
    """As `status` reads it."""
    config = configured(
        source="logical", schedule={"backup": "daily", "schema": "off", "verify": "off", "expire": "off"}
    )

    (line,) = lines_of(config, order())

    assert line.fields == "0 1 * * *"
    assert "backup --type logical" in line.command


@pytest.mark.parametrize(
    ("cron", "plain"),
    [
        ("5/15 * * * mon,fri", "5-59/15 * * * 1,5"),
        ("0 1 1 JAN-mar *", "0 1 1 1-3 *"),
        ("*/5 1-3/2 * * 7", "*/5 1-3/2 * * 7"),
    ],
)
def test_fields_are_plain(cron: str, plain: str) -> None:
    """Numbers for names, and a range where a step begins at a number, which crons read in two ways."""
    assert plain_fields(cron) == plain


@pytest.mark.parametrize("cron", ["0 1 L * *", "0 1 * * 5#2", "0 1 LW * *", "0 1 * * 5L"])
def test_what_cron_has_no_word_for_is_refused(cron: str) -> None:
    """systemd has."""
    with pytest.raises(UsageError, match="cron has no word for"):
        plain_fields(cron)


@pytest.mark.parametrize("name", JOBS)
def test_moved_jobs_run_as_often(name: str) -> None:
    """Each slot is late by the same few minutes."""
    cron, moved = JOBS[name].cron, shifted(JOBS[name].cron, 7)
    before = list(CronSchedule(cron).slots(NOW, NOW + WEEK - HALF_AN_HOUR))
    after = list(CronSchedule(moved).slots(NOW, NOW + WEEK))

    assert set(after) >= {slot + timedelta(minutes=7) for slot in before}
    assert len(after) <= len(before) + 2


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["0", "5,50", "*/20", "30"]),
    st.sampled_from(["*", "0", "1,23", "*/6", "9-17"]),
    st.sampled_from(["*", "1,15", "*/2"]),
    st.sampled_from(["*", "1-5", "0", "*/2", "7,3"]),
    st.sampled_from(["Asia/Kolkata", "Asia/Tokyo", "UTC", "Asia/Kathmandu", "America/Phoenix"]),
    st.sampled_from(["Asia/Kolkata", "UTC", "America/Caracas", "Pacific/Kiritimati"]),
)
def test_times_said_in_the_zone_of_the_host_are_the_same_moments(
    minute: str, hour: str, day: str, weekday: str, zone: str, host_zone: str
) -> None:
    """In one line or several; where a date would have to be another, there is none."""
    fields = f"{minute} {hour} {day} * {weekday}"
    said = in_zone(fields, zone, host_zone, now=NOW)
    assume(said is not None)
    assert said is not None
    until = NOW + timedelta(days=40)

    told = sorted(slot for each in said for slot in CronSchedule(each, host_zone).slots(NOW, until))

    assert told == list(CronSchedule(fields, zone).slots(NOW, until))


def test_a_zone_whose_clocks_change_is_said_by_cron_tz_and_warned_of() -> None:
    """Debian's cron does not know it, and nobody may believe that it does."""
    schedule = {**NEVER, "backup": "30 1 * * *"}
    file = cron_file(configured(timezone="Europe/Berlin", schedule=schedule), order(), now=NOW)
    there = cron_file(configured(timezone="Europe/Berlin", schedule=schedule), order(zone="Europe/Berlin"), now=NOW)
    moved = cron_file(configured(timezone="Asia/Tokyo", schedule=schedule), order(), now=NOW)

    assert "\nCRON_TZ=Europe/Berlin\n" in file.content
    assert file.warning is not None
    assert "Debian's reads them in UTC" in file.content
    assert "CRON_TZ" not in there.content + moved.content
    assert there.warning is moved.warning is None
    assert [line.fields for line in read_cron_file(moved.content, strips_backslash=True)] == ["30 16 * * *"]


def test_a_date_that_would_be_another_is_not_moved() -> None:
    """The first of a month in Tokyo is no day of its own in London."""
    assert in_zone("30 1 1 * *", "Asia/Tokyo", "UTC", now=NOW) is None
    assert in_zone("30 12 1 * *", "Asia/Tokyo", "UTC", now=NOW) == ("30 3 1 * *",)


def test_a_user_that_is_two_words_is_refused() -> None:
    """The second would be a command, run by root's cron."""
    with pytest.raises(UsageError, match="user 'root reboot' can not stand"):
        cron_file(configured(), order(user="root reboot"), now=NOW)

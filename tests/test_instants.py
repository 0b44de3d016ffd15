from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import TargetInvalid, UsageError
from pgvault.instants import SystemClock, is_naive, iso, load_zone, parse_duration, parse_instant

NOW = datetime(2025, 10, 25, 12, 0, tzinfo=UTC)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2025-10-25T10:00", "UTC", utc(2025, 10, 25, 10)),
        ("2025-10-25T10:00", "Europe/Berlin", utc(2025, 10, 25, 8)),
        ("2025-10-25T10:00", "Asia/Kolkata", utc(2025, 10, 25, 4, 30)),
        ("2025-10-25 10:00:05", "Europe/Berlin", utc(2025, 10, 25, 8, 0, 5)),
        ("2025-10-25T10:00:05.25", "UTC", utc(2025, 10, 25, 10, 0, 5, 250000)),
        ("2025-10-25T10:00:05.123456Z", "Europe/Berlin", utc(2025, 10, 25, 10, 0, 5, 123456)),
        ("2025-10-25t10:00z", "Europe/Berlin", utc(2025, 10, 25, 10)),
        ("2025-10-25T10:00+02:00", "UTC", utc(2025, 10, 25, 8)),
        ("2025-10-25T10:00+0530", "UTC", utc(2025, 10, 25, 4, 30)),
        ("2025-10-25 10:00:00+02", "UTC", utc(2025, 10, 25, 8)),
        ("2025-10-25 10:00:00.5 -03:30", "UTC", utc(2025, 10, 25, 13, 30, 0, 500000)),
        ("2025-10-26T02:30+02:00", "Europe/Berlin", utc(2025, 10, 26, 0, 30)),
        ("2025-10-26T02:30+01:00", "Europe/Berlin", utc(2025, 10, 26, 1, 30)),
        ("10 minutes ago", "Europe/Berlin", utc(2025, 10, 25, 11, 50)),
        ("1 minute ago", "UTC", utc(2025, 10, 25, 11, 59)),
        ("1h30m ago", "UTC", utc(2025, 10, 25, 10, 30)),
        ("2 days 1 hour ago", "UTC", utc(2025, 10, 23, 11)),
        (" 2 Weeks Ago ", "UTC", utc(2025, 10, 11, 12)),
    ],
)
def test_a_time_is_read_as_one_instant(text: str, zone: str, instant: datetime) -> None:
    """An offset counts before the zone; what people write comes out aware and in UTC."""
    read = parse_instant(text, zone=zone, now=NOW)

    assert read == instant
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "yesterday",
        "2025-10-25",
        "10:00",
        "2025-13-01T10:00",
        "2025-02-29T10:00",
        "2025-10-25T24:00",
        "2025-10-25T10:00:60",
        "2025-10-25T10:00:00.1234567",
        "2025-10-25T10:00+25:00",
        "2025-10-25T10:00+02:60",
        "2025-10-25T10:00 CEST",
        "0001-01-01T00:00+02:00",
        "২০২৫-10-25T10:00",
        "minutes ago",
        "10 fortnights ago",
        "0 minutes ago",
        "999999999 weeks ago",
        "-5 minutes ago",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Anything that is not exactly one of the forms is refused with how to write it."""
    with pytest.raises(TargetInvalid) as caught:
        parse_instant(text, zone="UTC", now=NOW)

    assert repr(text) in str(caught.value)
    assert caught.value.hint


def test_a_time_that_happened_twice_is_refused_with_both_instants() -> None:
    """Clocks in Berlin showed 02:30 twice on 2025-10-26; the message can be copied back into the command."""
    with pytest.raises(TargetInvalid) as caught:
        parse_instant("2025-10-26T02:30", zone="Europe/Berlin", now=NOW)

    assert str(caught.value) == (
        "2025-10-26T02:30 happened twice in Europe/Berlin: 2025-10-26T02:30+02:00 (2025-10-26T00:30:00+00:00)"
        " and 2025-10-26T02:30+01:00 (2025-10-26T01:30:00+00:00)"
    )


def test_a_time_that_never_happened_is_refused() -> None:
    """Clocks in Berlin jumped from 02:00 to 03:00 on 2025-03-30."""
    with pytest.raises(TargetInvalid, match="2025-03-30T02:30 does not exist in Europe/Berlin") as caught:
        parse_instant("2025-03-30T02:30", zone="Europe/Berlin", now=NOW)

    assert "2025-03-30T01:30:00+01:00 (2025-03-30T00:30:00+00:00)" in str(caught.value)
    assert "2025-03-30T03:30:00+02:00 (2025-03-30T01:30:00+00:00)" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["2025-10-26T01:59:59.999999", "2025-10-26T03:00", "2025-03-30T01:59:59", "2025-03-30T03:00"]
)
def test_times_beside_a_change_of_clocks_are_read(text: str) -> None:
    """Only the hour itself is refused."""
    read = parse_instant(text, zone="Europe/Berlin", now=NOW)

    assert read.astimezone(load_zone("Europe/Berlin")).replace(tzinfo=None) == datetime.fromisoformat(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../etc/passwd", "/etc/localtime", ""])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """A zone is a name of the time zone database, never a path."""
    with pytest.raises(TargetInvalid, match="there is no time zone"):
        parse_instant("2025-10-25T10:00", zone=zone, now=NOW)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31)),  # noqa: DTZ001
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
)
def test_a_local_time_is_exact_or_refused(local: datetime, zone: str) -> None:
    """Whatever is accepted shows the same wall clock in that zone, and no other instant shows it too."""
    try:
        read = parse_instant(local.isoformat(), zone=zone, now=NOW)
    except TargetInvalid:
        return

    shown = [
        (read + timedelta(minutes=minutes)).astimezone(load_zone(zone)).replace(tzinfo=None)
        for minutes in (-60, -30, 0, 30, 60)
    ]
    assert [clock == local for clock in shown] == [False, False, True, False, False]


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_iso_prints_is_read_back(instant: datetime) -> None:
    """`iso` and `parse_instant` are inverse."""
    assert parse_instant(iso(instant), zone="Europe/Berlin", now=NOW) == instant


def test_iso_prints_utc() -> None:
    """Whatever the zone of an instant, it is printed with +00:00."""
    berlin = datetime(2025, 10, 25, 10, tzinfo=load_zone("Europe/Berlin"))

    assert iso(berlin) == "2025-10-25T08:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "naive"),
    [
        ("2025-10-25T10:00", True),
        ("2025-10-25 10:00:00.5", True),
        ("2025-10-25T10:00Z", False),
        ("2025-10-25T10:00+02", False),
        ("10 minutes ago", False),
        ("latest", False),
    ],
)
def test_naive_is_a_time_without_an_offset(text: str, naive: bool) -> None:
    """Only such a time depends on a zone."""
    assert is_naive(text) is naive


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("4h", 14400),
        ("1h30m", 5400),
        ("30d", 30 * 86400),
        ("2w", 14 * 86400),
        ("7y", 7 * 365 * 86400),
        ("1 year", 365 * 86400),
        ("15 minutes", 900),
        ("1 hour", 3600),
        ("5 mins", 300),
    ],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    """Numbers with units, several in a row add up."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "0s", "-5m", "1.5h", "5 parsecs", "5ss", "999999999w", "9s 999999999w", "1h 30"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """No unit, no number, nothing, or more than a clock can hold."""
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


def test_the_system_clock_is_aware_and_monotonic() -> None:
    """Its present is UTC."""
    clock = SystemClock()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()

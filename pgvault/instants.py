"""Instants and durations: what people write, read as one moment or refused.

    2025-10-25T10:00[:05[.123456]]           read in the zone that is passed in
    2025-10-25 10:00:05+02:00, …Z, …+02      says its own offset
    10 minutes ago · 1h30m ago               counted back from `now`
    15m · 4h · 30d · 2w · 7y · 1h30m · 15 minutes      durations; a year is 365 days

Every instant that leaves here is aware and UTC. A local time that a clock showed twice, or never, is refused
with what it could have meant: guessing would restore an hour too much or too little. Dates without a time,
names like `yesterday` and leap seconds are not read.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pgvault.errors import TargetInvalid, UsageError

# Every spelling of a unit begins with the letter that names it in short.
UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
DURATION_PART = re.compile(
    r"(\d{1,9})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?|y|years?)(?![a-z])\s*", re.ASCII
)
AGO = re.compile(r"(.+?)\s+ago", re.ASCII | re.IGNORECASE)
ISO_TEXT = re.compile(
    r"""
    (?P<local>
        \d{4}-\d{2}-\d{2} [T ]
        \d{2}:\d{2} (?: :\d{2} (?: \.\d{1,6} )? )?
    )
    \s? (?P<offset> Z | [+-]\d{2} (?: :?\d{2} )? )?
    """,
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)

FORMS = "Write 2025-10-25T10:00, with seconds and an offset where you like, or '10 minutes ago'."


class Clock(Protocol):
    """Where the time comes from; passed in, so that tests stand still."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment; never set back."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment; never set back."""
        return time.monotonic()


def iso(instant: datetime) -> str:
    """Print an instant in UTC: 2025-10-25T08:00:00+00:00, with a fraction only where there is one."""
    return instant.astimezone(UTC).isoformat()


def parse_duration(text: str) -> timedelta:
    """Read `15m`, `1h30m` or `15 minutes`; longer than nothing. Raises UsageError otherwise."""
    words = text.strip().lower()
    duration = timedelta()
    if DURATION_PART.sub("", words) == "":
        with suppress(OverflowError):
            parts = (UNITS[unit[0]] * int(number) for number, unit in DURATION_PART.findall(words))
            duration = sum(parts, timedelta())
    if not duration:
        raise UsageError(f"{text!r} is not a duration", hint="Write 90s, 15m, 4h, 30d, 2w, 7y or 1h30m.")
    return duration


def say_seconds(seconds: float) -> str:
    """Print a span of time for people: 0.002 s, 3.4 s, 12 min, 2 h 05 min, 3 d 4 h."""
    if seconds < 120:
        return f"{seconds:.3f} s" if 0 < seconds < 0.1 else f"{seconds:.1f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    if hours >= 72:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def is_naive(text: str) -> bool:
    """Tell whether `text` is a time that says no offset, so that a zone decides what it means."""
    match = ISO_TEXT.fullmatch(text.strip())
    return match is not None and match["offset"] is None


def parse_instant(text: str, *, zone: str, now: datetime) -> datetime:
    """Read a time as one instant, in UTC; a time without an offset is read in `zone`.

    Raises TargetInvalid when it is no time, no zone, or a local time that was shown twice or never.
    """
    words = text.strip()
    if ago := AGO.fullmatch(words):
        return _before(now, ago[1], text)
    match = ISO_TEXT.fullmatch(words)
    if match is None:
        raise TargetInvalid(f"{text!r} is not a time", hint=FORMS)
    try:
        local = datetime.fromisoformat(match["local"].upper())
        if match["offset"]:
            return local.replace(tzinfo=_offset(match["offset"])).astimezone(UTC)
        return _in_zone(local, zone)
    except (ValueError, OverflowError) as error:
        raise TargetInvalid(f"{text!r} is not a time: {error}", hint=FORMS) from error


def load_zone(name: str) -> tzinfo:
    """Return the time zone called `name`. Raises TargetInvalid when there is none."""
    if name.upper() in {"UTC", "Z"}:
        return UTC  # also where no time zone database is installed
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TargetInvalid(
            f"there is no time zone {name!r}",
            hint="Time zones are named as in Europe/Berlin; UTC always works.",
        ) from error


def _before(now: datetime, amount: str, text: str) -> datetime:
    try:
        return (now - parse_duration(amount)).astimezone(UTC)
    except (UsageError, OverflowError) as error:
        raise TargetInvalid(f"{text!r} is not a time", hint=FORMS) from error


def _offset(text: str) -> timezone:
    if text in {"Z", "z"}:
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if hours > 15 or minutes > 59:  # PostgreSQL's own bound is 15:59:59
        raise ValueError(f"there is no offset {text}")
    amount = timedelta(hours=hours, minutes=minutes)
    return timezone(-amount if text[0] == "-" else amount)


def _in_zone(local: datetime, zone: str) -> datetime:
    """Read a local time. PEP 495: of a time shown twice, fold 0 is the first; in a hole, the offset before it."""
    where = load_zone(zone)
    first, second = (local.replace(tzinfo=where, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    # What stands in the message can be copied into the command: same wall clock, with the offset said.
    readings = [reading.astimezone(UTC) for reading in (first, second)]
    shown = local.isoformat(timespec="minutes" if not (local.second or local.microsecond) else "auto")
    if readings[0].astimezone(where).replace(tzinfo=None) == local:
        written = [f"{shown}{_shown_offset(reading)} ({iso(reading)})" for reading in (first, second)]
        raise TargetInvalid(
            f"{shown} happened twice in {zone}: {written[0]} and {written[1]}",
            hint="Say which one, by writing the offset.",
        )
    candidates = sorted(readings)
    nearby = [f"{reading.astimezone(where).isoformat()} ({iso(reading)})" for reading in candidates]
    raise TargetInvalid(
        f"{shown} does not exist in {zone}, the clocks were set forward past it:"
        f" it could mean {nearby[0]} or {nearby[1]}",
        hint="Write a time that the clocks showed, or an offset.",
    )


def _shown_offset(reading: datetime) -> str:
    return reading.isoformat()[len(reading.replace(tzinfo=None).isoformat()) :]

"""A cron expression as systemd says it: lines of OnCalendar= that name the same moments.

    30 1 * * 1-5     Europe/Berlin    Mon..Fri *-*-* 01:30:00 Europe/Berlin
    0 3 1,15 * 0     either of them   *-*-01,15 03:00:00 UTC, and Sun *-*-* 03:00:00 UTC
    0 2 * * 0        Europe/Berlin    Sun *-*-* 02:00:00 Europe/Berlin, and 2027-03-28 01:00:00 UTC, …

systemd differs from cron on the days on which clocks are changed: a moment that they skip does not come at all, and of
an hour that comes twice only the first counts (tried with systemd 252). Jobs of every hour are therefore said in UTC,
and for all others what would be missed is named by its date, ten years ahead. What `status` counts as a slot, and what
a timer starts, are then the same moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from pgvault.errors import UsageError
from pgvault.instants import load_zone
from pgvault.schedule import EARLIEST, CronSchedule

if TYPE_CHECKING:
    from cronsim import CronSim

AHEAD = timedelta(days=3653)  # of clock changes that are named
AROUND = timedelta(hours=2)  # beside a change, and what was skipped or comes twice, nothing is another than its name
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WHOLE_WEEK = frozenset(range(7))
WORKING = frozenset(range(5))
FRIDAY = 4
WHOLE_MONTH = frozenset(range(1, 32))
WHOLE_YEAR = frozenset(range(1, 13))
WHOLE_DAY = frozenset(range(24))
WHOLE_HOUR = frozenset(range(60))
LAST_WEEK = frozenset(range(1, 8))  # counted from the end
FROM_FIRST, FROM_LAST = "-", "~"


@dataclass(frozen=True, slots=True)
class Days:
    """Some days of any month: those that are both."""

    weekdays: frozenset[int] = WHOLE_WEEK  # Monday is 0
    days: frozenset[int] = WHOLE_MONTH  # from 1
    counted: str = FROM_FIRST  # or FROM_LAST: 1 is then the last day

    def __and__(self, other: Days) -> Days:
        """Those that are in both. Raises UsageError where no line can say it."""
        weekdays = self.weekdays & other.weekdays
        for one, two in ((self, other), (other, self)):
            if one.days == WHOLE_MONTH:
                return Days(weekdays, two.days, two.counted)
        if self.counted != other.counted:
            raise UsageError("systemd can not count days from both ends of a month at once")
        return Days(weekdays, self.days & other.days, self.counted)


def calendar_lines(cron: str, zone: str, *, now: datetime) -> tuple[str, ...]:
    """Return what OnCalendar= is to say, a line each. Raises UsageError for days that systemd has no words for."""
    from cronsim import CronSim

    fields = CronSim(cron, EARLIEST)
    here = load_zone(zone)
    changes = tuple(offset_changes(here, now - AROUND, now + AHEAD))
    shift = _shift_of_every_hour(fields, here, (now, *changes))
    if shift is not None:
        minutes = {(minute - shift) % 60 for minute in fields.minutes}
        return (f"*-*-* *:{_numbers(minutes, WHOLE_HOUR)}:00 UTC",)
    try:
        days = [each for each in _days(fields) if each.weekdays and each.days]
    except UsageError as error:
        raise UsageError(f"{cron!r} is no schedule of systemd: {error}", hint="Write it as two rules.") from error
    time = f"{_numbers(fields.hours, WHOLE_DAY)}:{_numbers(fields.minutes, WHOLE_HOUR)}:00"
    months = _numbers(fields.months, WHOLE_YEAR)
    named = "UTC" if here is UTC else zone
    lines = [
        f"{_weekdays(each.weekdays)}*-{months}{each.counted}{_numbers(each.days, WHOLE_MONTH)} {time} {named}"
        for each in days
    ]
    missed = sorted({slot for change in changes for slot in _missed(CronSchedule(cron, zone), fields, change)})
    return (*dict.fromkeys(lines), *(f"{slot:%Y-%m-%d %H:%M:%S} UTC" for slot in missed))


def _days(fields: CronSim) -> list[Days]:
    """Return the days of a cron expression, as a union. Raises UsageError."""
    of_month, of_week = list(_days_of_month(fields)), list(_days_of_week(fields))
    if fields.day_and:
        return [one & two for one in of_month for two in of_week]
    return [*of_month, *of_week]


def _days_of_month(fields: CronSim) -> Iterator[Days]:
    if plain := frozenset(day for day in fields.days if day > 0):
        yield Days(days=plain)
    if fields.LAST in fields.days:
        yield Days(days=frozenset({1}), counted=FROM_LAST)
    if fields.LAST_WEEKDAY in fields.days:
        yield Days(WORKING, frozenset({1}), FROM_LAST)
        yield Days(frozenset({FRIDAY}), frozenset({2, 3}), FROM_LAST)


def _days_of_week(fields: CronSim) -> Iterator[Days]:
    """Cron begins with Sunday, which is 0 and 7."""
    if plain := frozenset((day - 1) % 7 for day in fields.weekdays if isinstance(day, int)):
        yield Days(plain)
    for weekday, which in sorted(day for day in fields.weekdays if isinstance(day, tuple)):
        only = frozenset({(weekday - 1) % 7})
        if which == fields.LAST:
            yield Days(only, LAST_WEEK, FROM_LAST)
        else:
            yield Days(only, frozenset(range(7 * which - 6, 7 * which + 1)) & WHOLE_MONTH)


def offset_changes(zone: tzinfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the moments, to the minute, at which the clocks of a zone are changed."""
    day = timedelta(days=1)
    at = since.astimezone(UTC).replace(second=0, microsecond=0)
    before = offset_at(zone, at)
    while at < until:
        after = offset_at(zone, at + day)
        if after != before:
            low, high = at, at + day
            while high - low > timedelta(minutes=1):
                middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
                low, high = (middle, high) if offset_at(zone, middle) == before else (low, middle)
            yield high
        at, before = at + day, after


def offset_at(zone: tzinfo, at: datetime) -> timedelta:
    """Return how far the clocks of a zone are ahead of UTC."""
    return at.astimezone(zone).utcoffset() or timedelta()


def _shift_of_every_hour(fields: CronSim, zone: tzinfo, moments: Iterable[datetime]) -> int | None:
    """Return by how many minutes a zone differs from UTC within the hour, for a job of every hour that there is.

    None for any other job, and where that changes with the clocks.
    """
    is_wild = any(part.startswith("*") for part in fields.parts[1:3])  # seconds come first
    week = {day % 7 for day in fields.weekdays if isinstance(day, int)}
    is_any_day = fields.days >= WHOLE_MONTH and fields.months == WHOLE_YEAR and week == WHOLE_WEEK
    if not (is_wild and is_any_day and fields.hours == WHOLE_DAY):
        return None
    shifts = {offset_at(zone, at) % timedelta(hours=1) for at in moments}
    return shifts.pop() // timedelta(minutes=1) if len(shifts) == 1 else None


def _missed(schedule: CronSchedule, fields: CronSim, change: datetime) -> Iterator[datetime]:
    """Yield the slots around a change of the clocks that systemd would not come to by their names."""
    zone = load_zone(schedule.zone)
    size = abs(offset_at(zone, change) - offset_at(zone, change - timedelta(minutes=1)))
    for slot in schedule.slots(change - AROUND, change + size + AROUND):
        local = slot.astimezone(zone)
        is_named = local.month in fields.months and fields.match_day(local.date())
        is_named = is_named and local.hour in fields.hours and local.minute in fields.minutes
        if not is_named or local.fold:
            yield slot


def _weekdays(chosen: frozenset[int]) -> str:
    if chosen == WHOLE_WEEK:
        return ""
    return ",".join(f"{WEEKDAYS[a]}..{WEEKDAYS[b]}" if b > a else WEEKDAYS[a] for a, b in _runs(chosen)) + " "


def _numbers(chosen: Iterable[int], whole: frozenset[int]) -> str:
    numbers = frozenset(chosen)
    if numbers == whole:
        return "*"
    return ",".join(f"{a:02}..{b:02}" if b > a else f"{a:02}" for a, b in _runs(numbers))


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of what follows on another."""
    first = last = -1
    for number in sorted(numbers):
        if first >= 0 and number == last + 1:
            last = number
            continue
        if first >= 0:
            yield first, last
        first = last = number
    if first >= 0:
        yield first, last

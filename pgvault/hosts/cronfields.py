"""Five fields of cron, as every cron reads them: moved by minutes, and said in another zone.

A configuration may say more than cron knows: the last day of a month, a second Friday, `5/15`. What can be written
plainly is, and the rest is refused. Moving keeps what a star at the beginning of a field means: day and weekday
together are then both meant, not either of them, and the job follows real time when clocks are changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from pgvault.errors import UsageError
from pgvault.hosts.calendar import AHEAD, AROUND, offset_at, offset_changes
from pgvault.instants import load_zone
from pgvault.schedule import EARLIEST

HOUR, DAY = 60, 24 * 60  # minutes
PLAIN = re.compile(r"(\*|\d+|\d+-\d+)(/\d+)?")
NAMES = {
    name: str(number)
    for names, first in (("SUN MON TUE WED THU FRI SAT", 0), ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 1))
    for number, name in enumerate(names.split(), first)
}
LAST = (59, 23, 31, 12, 7)  # of each field


def plain_fields(cron: str) -> str:
    """Return the fields with numbers for names and a range where a step begins somewhere. Raises UsageError."""
    return " ".join(
        ",".join(_plain_term(term, last, cron) for term in field.split(","))
        for field, last in zip(cron.upper().split(), LAST, strict=True)
    )


def _plain_term(term: str, last: int, cron: str) -> str:
    numbered = re.sub("[A-Z]+", lambda name: NAMES.get(name[0], name[0]), term)
    match = PLAIN.fullmatch(numbered)
    if match is None:
        raise UsageError(f"cron has no word for {term!r} in {cron!r}", hint="systemd has: pgvault schedule systemd.")
    return f"{match[1]}-{last}{match[2]}" if match[2] and match[1].isdecimal() else numbered


def shifted(cron: str, minutes: int) -> str:
    """Return a usual schedule moved by some minutes, less than come between two of its runs, within the hour."""
    minute, *others = cron.split()
    if minute.startswith("*/"):
        step = int(minute[2:])
        begin = minutes % step
        return " ".join((minute if begin == 0 else f"{begin}-59/{step}", *others))
    return " ".join((str((int(minute) + minutes) % HOUR), *others))


def in_zone(fields: str, zone: str, host_zone: str, *, now: datetime) -> tuple[str, ...] | None:
    """Return the same moments in the zone of a host, in as many lines as that takes; None where it can not be said.

    It can where both zones keep one distance for years, and no date has to become the day before or after.
    """
    here, there = load_zone(zone), load_zone(host_zone)
    if zone == host_zone or here == there:
        return (fields,)
    moments = [now, *(at for each in (here, there) for at in offset_changes(each, now - AROUND, now + AHEAD))]
    distances = {offset_at(there, at) - offset_at(here, at) for at in moments}
    if len(distances) > 1:
        return None
    distance = distances.pop() // timedelta(minutes=1)
    return (fields,) if distance == 0 else _moved(fields, distance)


def _moved(fields: str, distance: int) -> tuple[str, ...] | None:
    from cronsim import CronSim

    parsed = CronSim(fields, EARLIEST)
    _, hour, day, month, weekday = fields.split()
    is_any_date = day == month == "*"
    if hour == weekday == "*" and is_any_date:  # of every hour: only the minutes move
        return (" ".join((_list((each + distance) % HOUR for each in parsed.minutes), hour, day, month, weekday)),)
    groups: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for at_minute in sorted(parsed.minutes):
        carry, to_minute = divmod(at_minute + distance, HOUR)
        for at_hour in sorted(parsed.hours):
            days, to_hour = divmod(at_hour + carry, 24)
            minutes, hours = groups.setdefault((carry, days), (set(), set()))
            minutes.add(to_minute)
            hours.add(to_hour)
    lines = []
    for (_, days), (minutes, hours) in groups.items():
        if days and not (is_any_date and all(isinstance(each, int) for each in parsed.weekdays)):
            return None
        moved = weekday
        if days and weekday != "*":
            moved = _list({(int(str(each)) + days) % 7 for each in parsed.weekdays})
        lines.append(" ".join((_list(minutes), _list(hours), day, month, moved)))
    return tuple(lines)


def _list(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(numbers)))

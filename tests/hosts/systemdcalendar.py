"""What systemd makes of an OnCalendar= line, written anew for tests: systemd.time(7), and what it was seen to do."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

LINE = re.compile(
    r"(?:(?P<week>[A-Z]\S*) )?(?P<year>\S+?)-(?P<month>\S+?)(?P<end>[-~])(?P<day>\S+) "
    r"(?P<hour>\S+?):(?P<minute>\S+?):00 (?P<zone>\S+)"
)
WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Calendar:
    """One line."""

    weekdays: frozenset[int]
    years: frozenset[int]
    months: frozenset[int]
    is_from_end: bool
    days: frozenset[int]
    hours: list[int]
    minutes: list[int]
    zone: ZoneInfo

    @classmethod
    def parse(cls, line: str) -> Calendar:
        match = LINE.fullmatch(line)
        assert match is not None, line
        return cls(
            frozenset(_chosen(match["week"] or "*", range(7))),
            frozenset(_chosen(match["year"], range(1970, 2100))),
            frozenset(_chosen(match["month"], range(1, 13))),
            match["end"] == "~",
            frozenset(_chosen(match["day"], range(1, 32))),
            sorted(_chosen(match["hour"], range(24))),
            sorted(_chosen(match["minute"], range(60))),
            ZoneInfo(match["zone"]),
        )

    def names(self, date: datetime) -> bool:
        """Whether a date is one of its days."""
        last = calendar.monthrange(date.year, date.month)[1]
        day = last + 1 - date.day if self.is_from_end else date.day
        is_month = date.year in self.years and date.month in self.months
        return is_month and day in self.days and date.weekday() in self.weekdays

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield what lies in between; a time that the clocks skip is none, and of one that comes twice the first is."""
        date = datetime.combine(after.astimezone(self.zone).date(), datetime.min.time())
        while date.replace(tzinfo=self.zone).astimezone(UTC) <= until:
            for minutes in (hour * 60 + minute for hour in self.hours for minute in self.minutes if self.names(date)):
                local = (date + timedelta(minutes=minutes)).replace(tzinfo=self.zone)
                slot = local.astimezone(UTC)
                if (
                    slot.astimezone(self.zone).replace(tzinfo=None) == local.replace(tzinfo=None)
                    and after < slot <= until
                ):
                    yield slot
            date += timedelta(days=1)


def elapses(lines: Iterable[str], after: datetime, until: datetime) -> list[datetime]:
    """When a timer of these lines elapses: once, where two of them say so."""
    return sorted({slot for line in lines for slot in Calendar.parse(line).slots(after, until)})


def _chosen(text: str, whole: range) -> Iterator[int]:
    for part in text.split(","):
        if part == "*":
            yield from whole
            continue
        first, _, last = part.partition("..")
        begin, end = _number(first), _number(last or first)
        assert begin <= end, text
        assert {begin, end} <= set(whole), text
        yield from range(begin, end + 1)


def _number(text: str) -> int:
    return WEEK.index(text) if text in WEEK else int(text)

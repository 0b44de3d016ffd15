"""When something should run: a cron expression in a time zone, and the moments, called slots, that it names.

    minute hour day month weekday     0 1 * * *    30 2 * * 0    */15 * * * *    0 3 1 jan,jul *

Summer time is kept as cron keeps it: a job at a fixed hour that the clocks skip runs as soon as the hole is over, one
in an hour that comes twice runs the first time; jobs of every hour, or every so many minutes, follow the real time.
Day and weekday together mean either of them, unless one begins with a star. Slots are aware UTC instants.

Nothing here knows what ran: who compares slots with what happened is `monitor/slots.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from pgvault.errors import UsageError
from pgvault.instants import load_zone

# A schedule may be said by a word, as promises mostly are; or by those of cron.
WORDS = {
    "hourly": "0 * * * *",
    "daily": "0 1 * * *",
    "weekly": "0 2 * * 0",
    "monthly": "0 3 1 * *",
}
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIELDS = 5
# Wherever the clocks are set back, it is by less: an iteration that begins earlier meets every slot once.
FOLD = timedelta(hours=3)
# How far back the last slot is looked for, step by step; the 29th of February is at most eight years away.
STEPS = (timedelta(hours=2), timedelta(days=2), timedelta(days=40), timedelta(days=400), timedelta(days=3300))
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def read_cron(text: str) -> str:
    """Return the five fields of a cron expression, of a word, or of a nickname. Raises UsageError for anything else."""
    from cronsim import CronSim, CronSimError  # whoever reads a configuration without schedules never pays for it

    words = text.strip()
    expression = WORDS.get(words.lower(), NICKNAMES.get(words.lower(), words))
    neither = f"{text!r} is neither {', '.join(WORDS)} nor a cron expression of five fields"
    if len(expression.split()) != FIELDS:
        raise UsageError(neither, hint="Write '0 1 * * *' for one o'clock every day.")
    try:
        next(CronSim(expression, EARLIEST))
    except (CronSimError, StopIteration) as error:
        why = f": {error}" if str(error) else ": it names no day that there is"
        raise UsageError(neither + why, hint="Write '0 1 * * *' for one o'clock every day.") from error
    return expression


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A cron expression in a time zone."""

    cron: str  # five fields, as `read_cron` returns them
    zone: str = "UTC"

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the slots later than `after`, up to and with `until`, oldest first, each once."""
        return takewhile(lambda slot: slot <= until, self._from(after))

    def next_slot(self, after: datetime) -> datetime | None:
        """Return the first slot later than `after`; None where there is none for half a century."""
        return next(self._from(after), None)

    def previous_slot(self, at: datetime) -> datetime | None:
        """Return the last slot not later than `at`."""
        for step in STEPS:
            slot = None
            for slot in self.slots(at - step, at):  # noqa: B007 - the last of them
                pass
            if slot is not None:
                return slot
        return None

    def _from(self, after: datetime) -> Iterator[datetime]:
        from cronsim import CronSim

        last = after
        for slot in CronSim(self.cron, (after - FOLD).astimezone(load_zone(self.zone))):
            found = slot.astimezone(UTC)
            if found > last:
                yield found
                last = found

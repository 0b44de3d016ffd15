"""Compare the slots of a schedule with the backups that were committed: what was due, and what came of it.

    slot 01:00        slot 02:00        slot 03:00 (now 03:10)
      ├──── done: a committed backup began here, from a minute before the slot on
                        ├──── failed: none did, whether it was aborted, killed, or never begun
                                          ├──── pending: none yet, and there is time left

A backup that was killed leaves no root, so nobody has to notice the death. Slots before the cluster had anything here
are nobody's, nor are those whose backups retention may have removed since: what is gone is no witness either way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgvault.config import Objectives
from pgvault.repository.layout import LABEL, stamped_at
from pgvault.schedule import CronSchedule

EARLY = timedelta(minutes=1)  # by which a run may begin before its slot: clocks differ
USUAL_GRACE = timedelta(hours=2)  # until a slot without a backup has failed, where no objective says how long one takes
OVER = timedelta(days=30)
AHEAD = timedelta(hours=1)  # of us, by which the clock of a backup may be
STALE = timedelta(hours=24)  # of the newest backup, where nothing else is said
DAY = timedelta(hours=25)  # between two slots of a daily schedule, on the day on which the clocks are set back


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of the slots of a stretch of time."""

    since: datetime
    done: tuple[datetime, ...]
    failed: tuple[datetime, ...]
    pending: tuple[datetime, ...]

    @property
    def rate(self) -> float | None:
        """The share of slots that have a backup, of those that are over; None where none is."""
        count = len(self.done) + len(self.failed)
        return len(self.done) / count if count else None

    @property
    def is_last_done(self) -> bool | None:
        """Whether the newest slot that is over has a backup; None where none is."""
        newest = max((*self.done, *self.failed), default=None)
        return None if newest is None else newest in self.done


@dataclass(frozen=True, slots=True)
class AgePromise:
    """What says when the newest backup of a kind is too old."""

    objective: timedelta | None = None  # objectives.backup_age
    schedule: CronSchedule | None = None
    grace: timedelta = USUAL_GRACE

    def limit(self, now: datetime) -> timedelta | None:
        """The age that is too much whatever is scheduled; None: the slots alone say.

        A schedule may be daily on some days only: what counts is how far the slots before and after `now` are apart.
        """
        if self.objective is not None:
            return self.objective
        if self.schedule is None:
            return STALE
        last, coming = self.schedule.previous_slot(now), self.schedule.next_slot(now)
        return STALE if last is not None and coming is not None and coming - last <= DAY else None


@dataclass(frozen=True, slots=True)
class Age:
    """Whether the newest backup is too old."""

    limit: timedelta | None
    too_old: str | None  # why, in a clause; None: it is not
    missed: datetime | None  # the last slot that is over, where no backup came of it


def judge_age(promise: AgePromise, *, began_at: datetime, stopped_at: datetime, now: datetime) -> Age:
    """Judge the newest backup: against the objective, else against the schedule, else it is stale after a day.

    While the backup of a slot may yet come, one from the slot before is not stale for being a day old.
    """
    limit, schedule = promise.limit(now), promise.schedule
    missed = last = None
    if schedule is not None:
        last = schedule.previous_slot(now)
        over = schedule.previous_slot(now - promise.grace)
        missed = over if over is not None and began_at < over - EARLY else None
    is_pending = last is not None and missed is None and began_at < last - EARLY and promise.objective is None
    if limit is not None and now - stopped_at > limit and not is_pending:
        return Age(limit, f"older than {_hours(limit)}", missed)
    if missed is not None and promise.objective is None:
        return Age(limit, f"the slot of {missed:%Y-%m-%d %H:%M} UTC was missed", missed)
    return Age(limit, None, missed)


def tally(
    schedule: CronSchedule, began: Iterable[datetime], *, since: datetime, now: datetime, grace: timedelta
) -> Tally:
    """Count the slots after `since`; `began` are the beginnings of committed backups."""
    slots = list(schedule.slots(since, now))
    ends = [*slots[1:], schedule.next_slot(now) or datetime.max.replace(tzinfo=UTC)]
    starts = sorted(began)
    done, failed, pending = [], [], []
    for slot, end in zip(slots, ends, strict=False):
        found = bisect_left(starts, slot - EARLY)
        if found < len(starts) and starts[found] < end - EARLY:
            done.append(slot)
        elif now - slot < grace:
            pending.append(slot)
        else:
            failed.append(slot)
    return Tally(since, tuple(done), tuple(failed), tuple(pending))


def count_since(
    now: datetime, *, known_since: datetime, days: int | None, count: int | None, began: Sequence[datetime]
) -> datetime:
    """Return since when slots are counted: at most 30 days, since the cluster is known, and no further than kept.

    `days` and `count` are what retention keeps of this kind for certain; neither: all of them.
    """
    kept: list[datetime] = []
    if days is not None:
        kept.append(now - timedelta(days=days))
    if count is not None and (days is not None or len(began) >= count):
        kept.extend(at - EARLY for at in sorted(began, reverse=True)[count - 1 : count])
    return max(now - OVER, known_since - EARLY, min(kept, default=now - OVER))


def grace_of(objectives: Objectives) -> timedelta:
    """How long a slot may be without its backup: as long as one may take."""
    return objectives.backup_duration or USUAL_GRACE


def begun_at(label: str, started_at: datetime) -> datetime:
    """When a backup began: its label says it by the clock of its host, which is the one that cron goes by.

    `started_at` is the server's clock; it counts for labels that are none of ours.
    """
    stamped = stamped_at(label) if LABEL.fullmatch(label) else None
    return started_at if stamped is None else stamped


def _hours(value: timedelta) -> str:
    hours = value.total_seconds() / 3600
    return f"{hours:g} h" if hours >= 1 else f"{value.total_seconds() / 60:g} min"

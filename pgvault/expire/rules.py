"""Which backups the rules of retention keep, in one copy, and why: `full`, `days`, `gfs`, `logical`, `schema`, `keep`,
and the last normal one (normal.py).

Any rule keeps; none takes away what another one keeps. Redundancy is counted in fulls that were verified in this copy
and whose WAL is still here. Whatever is newer than the last full that counts stays, verified or not: it is what will
count next. Every reason is a clause that an operator reads in `expire --dry-run`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from pgvault.config import GfsConfig, LogicalRetention
from pgvault.expire.facts import BackupFacts, LogicalBackup, PhysicalBackup
from pgvault.expire.normal import last_normal
from pgvault.expire.policy import Policy

Reason = tuple[str, str]  # label, why it stays


@dataclass(frozen=True, slots=True)
class Judged:
    """The backups of one copy that rules choose from."""

    copy: str
    backups: tuple[BackupFacts, ...]
    sound: frozenset[str]  # labels of fulls that count as redundancy
    verified: frozenset[str]  # labels of whichever kind that were read back whole

    @property
    def physical(self) -> list[PhysicalBackup]:
        """Fulls and incrementals, oldest first."""
        return in_order(each for each in self.backups if isinstance(each, PhysicalBackup))

    @property
    def logical(self) -> list[LogicalBackup]:
        """Logical and schema backups, oldest first."""
        found = (each for each in self.backups if isinstance(each, LogicalBackup))
        return sorted(found, key=lambda backup: (backup.stopped_at, backup.label))


def in_order(backups: Iterable[PhysicalBackup]) -> list[PhysicalBackup]:
    """Return backups oldest first, as their WAL says: a clock that was set back must not turn them round.

    A backup counts as taken no earlier than any other that lies before it on the same timeline of the same system.
    """
    ordered: list[tuple[datetime, PhysicalBackup]] = []
    latest: dict[tuple[int, int], datetime] = {}
    for backup in sorted(backups, key=lambda each: (each.stop_lsn, each.stopped_at)):
        place = (backup.system_identifier, backup.timeline)
        latest[place] = max(backup.stopped_at, latest.get(place, backup.stopped_at))
        ordered.append((latest[place], backup))
    return [backup for _, backup in sorted(ordered, key=lambda each: (each[0], each[1].stop_lsn, each[1].label))]


def apply_rules(judged: Judged, policy: Policy, *, now: datetime) -> Iterator[Reason]:
    """Yield whatever the rules keep, with each reason."""
    retention = policy.retention
    if retention is None:
        yield from ((backup.label, "nothing expires: there is no retention section") for backup in judged.backups)
        return
    physical = judged.physical
    days = retention.incremental_days or retention.days
    yield from _floor(judged, retention.full, with_incrementals=days is None)
    yield from _within((each for each in physical if each.is_full), retention.days, now=now, what="days")
    yield from _within((each for each in physical if not each.is_full), days, now=now, what="days")
    yield from _in_window(physical, retention.window, now=now)
    yield from _gfs(physical, retention.gfs, policy, sound=judged.sound)
    yield from _logical(judged, policy, now=now)
    yield from _schema(judged, now=now, days=retention.schema_backups)
    whole = judged.sound | {each.label for each in judged.logical if each.label in judged.verified}
    yield from last_normal((*physical, *judged.logical), policy.anomaly, whole=whole, now=now)


def is_floor_met(judged: Judged, count: int) -> bool:
    """Tell whether a copy holds as many verified fulls as policy wants."""
    return len(judged.sound) >= count


def _floor(judged: Judged, count: int, *, with_incrementals: bool) -> Iterator[Reason]:
    """Keep the newest `count` fulls that count, whatever full is newer, and perhaps the incrementals among them."""
    newest_first = judged.physical[::-1]
    is_met = is_floor_met(judged, count)
    counted = 0
    for backup in newest_first:
        if is_met and counted == count:
            return
        if backup.label in judged.sound:
            counted += 1
            yield backup.label, f"full {counted} of {count}"
        elif not backup.is_full:
            if with_incrementals:
                yield backup.label, "goes with the fulls that are kept"
        elif is_met:
            yield backup.label, "newer than the last full that counts, and not verified yet"
        else:
            yield backup.label, f"only {len(judged.sound)} of {count} fulls are verified"


def _within(backups: Iterable[BackupFacts], days: int | None, *, now: datetime, what: str) -> Iterator[Reason]:
    if days is not None:
        since = now - timedelta(days=days)
        yield from ((each.label, f"within {days} {what}") for each in backups if each.stopped_at >= since)


def _in_window(backups: Iterable[BackupFacts], window: timedelta | None, *, now: datetime) -> Iterator[Reason]:
    if window is not None:
        why = f"within {describe_window(window)}"
        yield from ((each.label, why) for each in backups if each.stopped_at >= now - window)


def describe_window(window: timedelta) -> str:
    """Name a window as an operator wrote it, or nearly: the 72 h window."""
    hours = window / timedelta(hours=1)
    return f"the {hours:g} h window"


def _gfs(backups: Sequence[BackupFacts], gfs: GfsConfig, policy: Policy, *, sound: Collection[str]) -> Iterator[Reason]:
    """Keep the newest backup of each of so many periods that have one; and the newest sound one, if that is another."""
    periods: tuple[tuple[str, int, Callable[[datetime], str]], ...] = (
        ("daily", gfs.daily, lambda at: at.strftime("%Y-%m-%d")),
        ("weekly", gfs.weekly, lambda at: at.strftime("%G-W%V")),
        ("monthly", gfs.monthly, lambda at: at.strftime("%Y-%m")),
        ("yearly", gfs.yearly, lambda at: at.strftime("%Y")),
    )
    for rule, count, name_of in periods:
        named = [(name_of(each.stopped_at.astimezone(policy.time_zone)), each) for each in backups]
        named.sort(key=lambda each: each[0])  # stable: within a period in the order they were given
        groups = [(name, [each for _, each in group]) for name, group in groupby(named, key=lambda each: each[0])]
        for name, members in groups[::-1][:count]:
            yield members[-1].label, f"{rule} {name}"
            whole = [each for each in members if each.label in sound]
            if whole and whole[-1] is not members[-1]:
                yield whole[-1].label, f"{rule} {name}, where the newest one is not verified"


def _logical(judged: Judged, policy: Policy, *, now: datetime) -> Iterator[Reason]:
    """Keep logical backups, each data class by itself: one of other tables is no substitute."""
    retention = policy.retention
    assert retention is not None
    rules = retention.logical or LogicalRetention(days=retention.days, gfs=retention.gfs)
    dumps = [each for each in judged.logical if not each.is_schema]
    for class_name in dict.fromkeys(each.class_name for each in dumps):
        members = [each for each in dumps if each.class_name == class_name]
        keep = policy.class_keeps.get(class_name or "")
        yield from _newest(members, judged.verified, what="logical backup")
        if keep is None and rules == LogicalRetention():
            yield from ((each.label, "no rule says how long logical backups stay") for each in members)
        if keep is not None:
            why = f"within the {keep.total_seconds() / 86400:g} days of class {class_name!r}"
            yield from ((each.label, why) for each in members if each.stopped_at >= now - keep)
        for position, backup in enumerate(members[::-1][: rules.count or 0], start=1):
            yield backup.label, f"logical {position} of {rules.count}"
        yield from _within(members, rules.days, now=now, what="days")
        yield from _gfs(members, rules.gfs, policy, sound=judged.verified)


def _schema(judged: Judged, *, now: datetime, days: str | int) -> Iterator[Reason]:
    schemas = [each for each in judged.logical if each.is_schema]
    if isinstance(days, int):
        yield from _newest(schemas, judged.verified, what="schema backup")
        yield from _within(schemas, days, now=now, what="days of schema backups")
    else:
        yield from ((each.label, "schema backups stay for ever") for each in schemas)


def _newest(backups: Sequence[LogicalBackup], verified: Collection[str], *, what: str) -> Iterator[Reason]:
    """Keep the newest of its kind, and the newest that was verified: they have no other floor."""
    if backups:
        yield backups[-1].label, f"newest {what}"
    whole = [each for each in backups if each.label in verified]
    if whole and whole[-1] is not backups[-1]:
        yield whole[-1].label, f"newest verified {what}"

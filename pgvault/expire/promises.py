"""What is promised to stay reachable, and which backups and WAL that takes, in one copy.

    promise          since ├───────────────────────────────┤ until, or for ever
    stretch     ═══●═════●═╪═════●═══════════●═════════════╪════●═══════
                   A     B       C           D                  E
    kept                 B       C           D                              WAL from the start of B to that of E

The first backup is the newest verified full that stopped before `since`: from there every promised moment of the
stretch is reached. Where a stretch has none, because it begins later, or nothing before was verified, all its backups
are kept, and the WAL from the first one's start on: who knows which of them is whole. The backups behind the first are
kept, too: they make restores shorter, and stand in for it should it turn out to be damaged.

Without a window, WAL is kept from the start of the oldest backup that rules keep; on a stretch behind a hole that one
does not reach, the first backups do, up to the first verified full; where production is, the newest one always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.expire.facts import PhysicalBackup
from pgvault.expire.needed import ENDLESS, NOTHING, Needed, Numbers, on_way
from pgvault.expire.reach import Reach


@dataclass(frozen=True, slots=True)
class Promise:
    """A range of time of which every moment that can be reached must stay so."""

    since: datetime
    until: datetime | None  # None: for ever
    what: str  # "the 72 h window", "hold X"


@dataclass(frozen=True, slots=True)
class Trust:
    """Which backups may be built upon, and how far clocks may be apart."""

    eligible: Collection[str]  # labels that are not to be removed
    sound: Collection[str]  # of fulls that were verified in this copy and whose WAL is still here
    margin: timedelta


@dataclass(frozen=True, slots=True)
class Upheld:
    """What keeping a promise takes."""

    reasons: tuple[tuple[str, str], ...] = ()  # labels and why
    wal: Needed = NOTHING


def uphold(promise: Promise, reaches: Iterable[Reach], trust: Trust) -> Upheld:
    """Return the backups and the WAL by which every moment of a promise stays reachable that is."""
    reasons: dict[tuple[str, str], None] = {}
    needed: list[Numbers] = []
    for reach in reaches:
        if not reach.lasts_until(promise.since, margin=trust.margin):
            continue
        backups = _eligible(reach, trust)
        if not backups:
            if promise.until is None:  # a backup under way may begin in it, or what is missing may still arrive
                needed += on_way(reach.path, reach.stretch.first)
            continue
        chosen = _choose(backups, promise, trust)
        if not chosen:
            continue
        reasons |= {(each.label, _reason(each, promise)): None for each in chosen}
        needed += _from(reach, chosen, last=_last_number(reach, promise, trust.margin))
    return Upheld(tuple(reasons), Needed.of(needed))


def uphold_without_window(reaches: Sequence[Reach], kept: Collection[str], trust: Trust) -> Upheld:
    """Return what it takes to reach every moment since the oldest backup of `kept`, on each way."""
    reasons: dict[tuple[str, str], None] = {}
    needed: list[Numbers] = []
    for timeline in dict.fromkeys(reach.path.timeline for reach in reaches):
        is_behind = False
        for reach in (each for each in reaches if each.path.timeline == timeline):
            backups = _eligible(reach, trust)
            rooted = [each for each in backups if each.label in kept]
            if reach.is_open:
                newest = _newest(backups, trust)
                reasons |= {(each.label, "leads to where production is"): None for each in newest}
                needed += _from(reach, newest) if newest else on_way(reach.path, reach.stretch.first)
            if is_behind:
                first = _first_ones(backups, trust)
                reasons |= {(each.label, "first behind a hole in WAL"): None for each in first}
                needed += _from(reach, first) if first else on_way(reach.path, reach.stretch.first)
            elif rooted:
                needed += _from(reach, rooted)
            is_behind = is_behind or bool(rooted)
    return Upheld(tuple(reasons), Needed.of(needed))


def own_wal(reaches: Iterable[Reach]) -> Needed:
    """Return the segments start…stop of backups, on every way that leads through them."""
    return Needed.of(number for reach in reaches for backup in reach.backups for number in _own_numbers(reach, backup))


def _own_numbers(reach: Reach, backup: PhysicalBackup) -> Iterator[Numbers]:
    """Yield the segments that hold a byte of a backup's start…stop."""
    size = reach.path.segment_size
    return on_way(reach.path, backup.start_lsn.value // size, (backup.stop_lsn.value - 1) // size)


def _eligible(reach: Reach, trust: Trust) -> list[PhysicalBackup]:
    return [backup for backup in reach.backups if backup.label in trust.eligible]


def _choose(backups: Sequence[PhysicalBackup], promise: Promise, trust: Trust) -> list[PhysicalBackup]:
    anchors = [
        index
        for index, backup in enumerate(backups)
        if backup.stopped_at < promise.since and backup.label in trust.sound
    ]
    chosen = backups[anchors[-1] if anchors else 0 :]
    return [each for each in chosen if promise.until is None or each.started_at <= promise.until]


def _first_ones(backups: Sequence[PhysicalBackup], trust: Trust) -> Sequence[PhysicalBackup]:
    """Return the backups from the first to the first sound one."""
    sound = [index for index, backup in enumerate(backups) if backup.label in trust.sound]
    return backups[: sound[0] + 1] if sound else backups


def _newest(backups: Sequence[PhysicalBackup], trust: Trust) -> Sequence[PhysicalBackup]:
    """Return the newest sound backup, else the newest of all; at most one."""
    sound = [backup for backup in backups if backup.label in trust.sound]
    return (sound or backups)[-1:]


def _from(reach: Reach, chosen: Sequence[PhysicalBackup], *, last: int = ENDLESS) -> Iterator[Numbers]:
    first = min(backup.start_lsn.value for backup in chosen) // reach.path.segment_size
    return on_way(reach.path, first, last)


def _last_number(reach: Reach, promise: Promise, margin: timedelta) -> int:
    """Return the last segment of a promise that ends: that in which a backup starts which was started later."""
    if promise.until is None:
        return ENDLESS
    # Where a standby's begins tells nothing: its primary may have been far ahead, and that WAL is still wanted.
    later = [
        each.start_lsn.value
        for each in reach.backups
        if each.started_at > promise.until + margin and not each.is_from_standby
    ]
    return min(later, default=ENDLESS * reach.path.segment_size) // reach.path.segment_size


def _reason(backup: PhysicalBackup, promise: Promise) -> str:
    if promise.until is None and backup.stopped_at >= promise.since:
        return f"within {promise.what}"
    return f"reaches into {promise.what}" if promise.until is None else f"wanted by {promise.what}"

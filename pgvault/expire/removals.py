"""Which marked backups are removed now, what keeps the others waiting, and which unfinished labels are swept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.expire.actions import Removal, Sweep, Waiting
from pgvault.expire.facts import CopyFacts, ExpireFacts
from pgvault.expire.survey import Survey
from pgvault.instants import iso

IN_GRACE = "its grace is not over"
LONGEST_SILENCE = timedelta(days=7)  # of production, after which our clock may as well be wrong


@dataclass(frozen=True, slots=True)
class Removals:
    """Which of the marked backups go."""

    now: tuple[Removal, ...]
    waiting: tuple[Waiting, ...]

    @property
    def labels(self) -> frozenset[str]:
        """The labels that go now."""
        return frozenset(each.label for each in self.now)


def find_removals(
    facts: ExpireFacts, surveyed: Survey, marked: Collection[str], *, grace: timedelta, abandoned: Collection[str]
) -> Removals:
    """Return what goes of `marked`: the labels whose mark stands after this run and was there before it."""
    hindrances = {label: why for label in marked if (why := _hindrance(facts, surveyed, label, grace, abandoned))}
    going = set(marked) - hindrances.keys()
    while needed := dict(_needed_by(facts, surveyed, going)):
        hindrances |= needed
        going -= needed.keys()
    return Removals(
        tuple(_removal(facts, label) for label in sorted(going)),
        tuple(
            Waiting(label, why, facts.tombstones[label].at + grace if why == IN_GRACE else None)
            for label, why in sorted(hindrances.items())
        ),
    )


def why_nothing_goes(surveyed: Survey) -> str | None:
    """Return why nothing at all is removed in this run; None where nothing hinders."""
    if surveyed.silent:
        return f"copy {surveyed.silent[0].name!r} did not answer: {surveyed.silent[0].silence}"
    for each in surveyed.copies:
        # One that the operator wants to go hinders nothing: what it alone refers to goes with it.
        unreadable = [label for label in each.copy.unreadable if label not in surveyed.deliberate]
        if unreadable:
            return f"the root of backup {unreadable[0]!r} does not open in copy {each.copy.name!r}"
    return None


def why_clock_is_doubted(facts: ExpireFacts) -> str | None:
    """Return why nothing goes by this host's clock: nothing that was stored is nearly as new. None: it may be right.

    A clock that is a year ahead would end every grace and every window at once. What an operator marked goes all the
    same, and of a cluster that is no more the rest can be deleted by name.
    """
    traces = [each.stopped_at for copy in facts.copies for each in copy.backups]
    traces += [at for copy in facts.copies for wal in copy.wal for at in wal.last_writes.values()]
    if not traces or facts.now - max(traces) <= LONGEST_SILENCE:
        return None
    days = (facts.now - max(traces)).days
    return f"the newest backup and WAL are of {iso(max(traces))}, {days} days ago by this host's clock: is it right?"


def who_pins(facts: ExpireFacts, label: str) -> str | None:
    """Return who reads a backup at the moment; None: nobody."""
    return next((pin.name for pin in facts.pins if label in pin.labels), None)


def find_sweeps(facts: ExpireFacts, *, young: datetime) -> Iterator[Sweep]:
    """Yield the labels that were begun before `young`, on which nobody works, and of which anything is left."""
    for each in facts.unfinished:
        is_left = not each.is_live and who_pins(facts, each.label) is None
        if is_left and each.started_at < young and (each.stored_bytes or not each.is_aborted):
            yield Sweep(each.label, not each.is_aborted, each.stored_bytes)


def _hindrance(
    facts: ExpireFacts, surveyed: Survey, label: str, grace: timedelta, abandoned: Collection[str]
) -> str | None:
    tombstone = facts.tombstones[label]
    if not tombstone.is_begun and facts.now < tombstone.at + grace:
        return IN_GRACE
    if not tombstone.is_begun and label in surveyed.held:
        return "a hold wants it"
    pinned = who_pins(facts, label)
    if pinned is not None:
        return f"it is read by {pinned}"
    nothing_goes = why_nothing_goes(surveyed)
    if nothing_goes is None and not tombstone.is_begun and not tombstone.is_deliberate:
        nothing_goes = why_clock_is_doubted(facts)
    if nothing_goes is not None:
        return nothing_goes
    if tombstone.is_begun:  # so every copy had it
        return None
    lacking = [copy.name for copy in facts.copies if copy.name not in abandoned and not _has_root(copy, label)]
    return None if not lacking else f"copy {lacking[0]!r} never got it"


def _has_root(copy: CopyFacts, label: str) -> bool:
    return label in copy.unreadable or any(backup.label == label for backup in copy.backups)


def _needed_by(facts: ExpireFacts, surveyed: Survey, going: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the labels of `going` that a backup refers to which stays."""
    staying: Mapping[str, frozenset[str]] = {
        label: backup.needs for label, backup in surveyed.present.items() if label not in going
    }
    for label in going:
        if facts.tombstones[label].is_begun:
            continue  # its root is gone, or will be; what others refer to stays without it
        dependants = sorted(other for other, needs in staying.items() if label in needs)
        if dependants:
            yield label, f"backup {dependants[0]} needs it"


def _removal(facts: ExpireFacts, label: str) -> Removal:
    answered = [copy for copy in facts.copies if copy.silence is None and label in copy.label_bytes]
    copies = tuple(copy.name for copy in reversed(answered))  # the deciding one is the first
    return Removal(label, copies, sum(copy.label_bytes[label] for copy in answered))

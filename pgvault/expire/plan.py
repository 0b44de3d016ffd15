"""Judge what an expiry does: pure, so that `--dry-run` shows exactly what would be done.

    present ── rules, window, holds, dependants ──► wanted: stays       marked all the same: the mark is withdrawn
       └────── nobody wants it ──► marked ── grace ──► removed          unless somebody reads it, or a copy hinders
    unfinished ── nobody works on it, older than the grace ──► aborted, swept
    WAL ── no promise of a window longer by the grace, no backup that is left or marked needs it ──► removed

Nothing is removed while any copy that counts did not answer, or holds a root that does not open: what that copy wants,
or what that backup refers to, is not known. Marking goes on, since it takes nothing away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pgvault.errors import Refused
from pgvault.expire.actions import EXPIRED, ExpirePlan, ExpireRequest, Kept, Mark, WalRemoval
from pgvault.expire.deletion import choose_deleted, require_confirmed_window
from pgvault.expire.facts import ExpireFacts, PhysicalBackup
from pgvault.expire.needed import Needed
from pgvault.expire.policy import Policy
from pgvault.expire.removals import find_removals, find_sweeps, who_pins, why_clock_is_doubted, why_nothing_goes
from pgvault.expire.rules import is_floor_met
from pgvault.expire.sparing import survey_patiently
from pgvault.expire.survey import Survey, survey
from pgvault.expire.walplan import plan_wal
from pgvault.expire.windows import compare_windows

NOTHING_ASKED = ExpireRequest()


def plan_expire(facts: ExpireFacts, policy: Policy, request: ExpireRequest = NOTHING_ASKED) -> ExpirePlan:
    """Return what an expiry does, or, where the request names labels, what deleting these does.

    Raises ObjectMissing for a label that is not there, Refused for what a safety rule forbids.
    """
    surveyed = survey(facts, policy, abandoned=request.abandoned)
    if request.delete:
        return _plan_deletion(facts, surveyed, request)
    wanted = _with_dependants(surveyed)
    marks = tuple(_marks(facts, surveyed, wanted))
    withdrawals = dict(_withdrawals(facts, wanted))
    staying = {each for each in wanted if each not in surveyed.deliberate | surveyed.begun}
    if surveyed.present and not staying and marks:
        raise Refused("nothing would be left", hint="Check the retention section; see: pgvault expire --dry-run")
    standing = facts.tombstones.keys() - withdrawals.keys()
    removals = find_removals(facts, surveyed, standing, grace=policy.grace, abandoned=request.abandoned)
    young = _young(facts, policy)
    left = _without(facts, removals.labels) if removals.labels else facts
    spared = (standing | {mark.label for mark in marks}) - surveyed.begun
    wal = _plan_wal(left, policy, survey_patiently(left, policy, abandoned=request.abandoned), spared, young)
    return ExpirePlan(
        cluster=facts.cluster,
        now=facts.now,
        marks=marks,
        withdrawals=withdrawals,
        removals=removals.now,
        sweeps=() if why_nothing_goes(surveyed) else tuple(find_sweeps(facts, young=young)),
        wal=tuple(wal),
        kept=tuple(_kept(facts, surveyed, wanted)),
        waiting=removals.waiting,
        windows=tuple(compare_windows(surveyed, kept=staying, removals=wal)),
        notes=tuple(_notes(facts, policy, surveyed, marks)),
    )


def _plan_deletion(facts: ExpireFacts, surveyed: Survey, request: ExpireRequest) -> ExpirePlan:
    marks = choose_deleted(facts, surveyed, request)
    gone = {mark.label for mark in marks} | surveyed.deliberate | surveyed.begun
    windows = tuple(compare_windows(surveyed, kept=surveyed.present.keys() - gone, removals=()))
    confirmation = require_confirmed_window(facts, surveyed, request, windows)
    return ExpirePlan(
        facts.cluster,
        facts.now,
        marks=marks,
        windows=windows,
        notes=() if confirmation is None else (confirmation,),
        needs_window=confirmation is not None,
    )


def _with_dependants(surveyed: Survey) -> dict[str, list[str]]:
    """Return why each wanted label stays; what a wanted backup refers to is wanted as well."""
    wanted = surveyed.wanted()
    followed: set[str] = set()
    while behind := sorted(wanted.keys() - followed):
        for label in behind:
            followed.add(label)
            backup = surveyed.present.get(label)
            for other in () if backup is None else backup.needs:
                if other in surveyed.present and other != label:
                    wanted.setdefault(other, []).append(f"needed by {label}")
    return wanted


def _marks(facts: ExpireFacts, surveyed: Survey, wanted: Mapping[str, object]) -> Iterator[Mark]:
    for label in sorted(surveyed.present):
        is_marked = label in facts.tombstones
        if label not in wanted and not is_marked and who_pins(facts, label) is None:
            yield Mark(label, is_deliberate=False, why=EXPIRED)


def _withdrawals(facts: ExpireFacts, wanted: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    for label, tombstone in sorted(facts.tombstones.items()):
        if label in wanted and not tombstone.is_deliberate and not tombstone.is_begun:
            yield label, wanted[label][0]


def _young(facts: ExpireFacts, policy: Policy) -> datetime:
    """Return since when everything is too young to go: a backup under way may need it, whose start is not known."""
    under_way = [each.started_at for each in facts.unfinished if each.is_live and each.start_lsn is None]
    return min([facts.now, *under_way]) - policy.grace


def _without(facts: ExpireFacts, labels: Collection[str]) -> ExpireFacts:
    """Return what the next run sees when these labels are gone: WAL that only they need goes with them."""
    copies = (
        replace(copy, backups=tuple(each for each in copy.backups if each.label not in labels)) for copy in facts.copies
    )
    tombstones = {label: each for label, each in facts.tombstones.items() if label not in labels}
    return replace(facts, copies=tuple(copies), tombstones=tombstones)


def _plan_wal(
    facts: ExpireFacts, policy: Policy, surveyed: Survey, spared: Collection[str], young: datetime
) -> list[WalRemoval]:
    if policy.retention is None or why_nothing_goes(surveyed) is not None or why_clock_is_doubted(facts) is not None:
        return []
    return plan_wal(facts, surveyed, spared=spared, young=young)


def _kept(facts: ExpireFacts, surveyed: Survey, wanted: Mapping[str, Sequence[str]]) -> Iterator[Kept]:
    promised = {system: surveyed.promised(system) for system in surveyed.systems}
    order = sorted(surveyed.present.values(), key=lambda backup: (backup.stopped_at, backup.label))
    for backup in order:
        label = backup.label
        if label in surveyed.deliberate | surveyed.begun:
            continue
        reasons = list(wanted.get(label, ()))
        if not reasons and label not in facts.tombstones and (reader := who_pins(facts, label)):
            reasons = [f"read by {reader}"]
        if reasons:
            yield Kept(label, tuple(dict.fromkeys(reasons)), _ends_there(surveyed, label, promised))


def _ends_there(surveyed: Survey, label: str, promised: Mapping[int, Needed]) -> bool:
    """Tell whether no WAL behind the stop of a physical backup is kept, on any way that leads on from it."""
    backup = surveyed.present[label]
    if not isinstance(backup, PhysicalBackup):
        return False
    paths = [
        reach.path
        for copy in surveyed.copies
        for system in copy.systems
        for reach in system.reaches
        if backup in reach.backups
    ]
    needed = promised.get(backup.system_identifier)
    if needed is None or not paths:
        return True
    return not any(needed.holds(path.segment(backup.stop_lsn.value // path.segment_size)) for path in paths)


def _notes(facts: ExpireFacts, policy: Policy, surveyed: Survey, marks: Sequence[Mark]) -> Iterator[str]:
    if policy.retention is None:
        yield f"cluster {facts.cluster!r} has no retention section: nothing expires"
        return
    for copy in surveyed.copies:
        count = policy.retention.full
        if copy.judged.physical and not is_floor_met(copy.judged, count):
            yield (
                f"copy {copy.copy.name!r} holds {len(copy.judged.sound)} of {count} verified fulls:"
                f" no full that it holds expires until pgvault verify --copy {copy.copy.name}"
            )
        for system in copy.systems:
            if system.unknown_timelines:
                timelines = ", ".join(map(str, system.unknown_timelines))
                yield (
                    f"no WAL of system {system.system_identifier} goes: copy {copy.copy.name!r} holds no history"
                    f" that opens of timeline {timelines}"
                )
    nothing_goes = why_nothing_goes(surveyed) or why_clock_is_doubted(facts)
    if nothing_goes is not None:
        yield f"nothing is removed in this run: {nothing_goes}"
    if len(marks) > 1 and len(marks) * 3 > len(surveyed.present):
        yield f"{len(marks)} of {len(surveyed.present)} backups are marked at once; pgvault undelete takes them back"

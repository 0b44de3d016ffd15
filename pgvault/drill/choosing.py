"""What a drill goes to, and from which backup: chosen from the facts, before anything is fetched.

    aim       random moment of the recovery window, or the oldest one ─► a target, as for a restore
    backup    those that reach the target, at a price ─► never proven first, then the oldest proof

A drill that always took what a restore takes would leave most backups unproven, and a restore may need each of them.
What it may cost beyond that is bounded: one of last year has a year of WAL behind it, and is proven by a drill of a
moment that is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pgvault.errors import DrillNotRun, TargetInvalid, TargetTooEarly, TargetTooLate, WalGap
from pgvault.instants import iso
from pgvault.recovery.covered import RememberingReader
from pgvault.recovery.facts import Backup, RestoreFacts
from pgvault.recovery.idleness import proven_until
from pgvault.recovery.path import find_path
from pgvault.recovery.plan import GIB, RestorePlan, RestoreRequest, plan_restore
from pgvault.recovery.reach import draw_instant, oldest_label, reachable_spans
from pgvault.recovery.target import ImmediateTarget, LatestTarget, Target, TimeTarget
from pgvault.repository.drilled import Drilled, last_proof

NEVER = datetime.min.replace(tzinfo=UTC)
FETCHED_MOST = 2  # times what a restore would fetch
FETCHED_ANYHOW = GIB  # bytes on top, which are nobody's trouble

Marks = Mapping[str, Sequence[Drilled]]  # by label, newest first


@dataclass(frozen=True, slots=True)
class RandomAim:
    """A moment drawn evenly from all that can be restored."""

    seed: int
    number: int = 0  # of the draw, where one seed draws several

    def __str__(self) -> str:
        return f"a random moment, draw {self.number + 1} of seed {self.seed}"


@dataclass(frozen=True, slots=True)
class OldestAim:
    """The oldest moment that can be restored: the end of the first backup."""

    def __str__(self) -> str:
        return "the oldest moment"


Aim = Target | RandomAim | OldestAim


def settle_aim(aim: RandomAim | OldestAim, request: RestoreRequest, facts: RestoreFacts) -> RestoreRequest:
    """Return the request with what the aim is now as its target. Raises what reading the window raises.

    Raises DrillNotRun where there is no moment to draw.
    """
    timeline = request.options.timeline
    if isinstance(aim, OldestAim):
        label = request.backup_label or oldest_label(facts, timeline=timeline)
        options = replace(request.options, timeline=None)  # that of the backup
        return replace(request, target=ImmediateTarget(), backup_label=label, options=options)
    try:
        at = draw_instant(reachable_spans(facts, timeline=timeline), seed=aim.seed, number=aim.number)
    except TargetTooEarly as error:  # nothing is wrong: no WAL has come since the backup
        raise DrillNotRun(str(error), hint=error.hint) from error
    return replace(request, target=TimeTarget(at, iso(at), None))


@dataclass(frozen=True, slots=True)
class Preferred:
    """The plan to drill."""

    plan: RestorePlan
    is_usual: bool  # from the backup that a restore would take
    note: str | None = None  # why not from that


def prefer_unproven(facts: RestoreFacts, request: RestoreRequest, usual: RestorePlan, marks: Marks) -> Preferred:
    """Return the plan from the backup that needs a proof most, among those that reach where `usual` goes."""
    facts = replace(facts, reader=RememberingReader(facts.reader))
    options = replace(request.options, timeline=usual.timeline)  # a backup that is named must not choose another
    for backup in by_need(facts.backups, marks):
        if backup.label == usual.backup_label:
            return Preferred(usual, is_usual=True)
        try:
            plan = plan_restore(facts, replace(request, backup_label=backup.label, options=options))
        except (TargetInvalid, TargetTooEarly, TargetTooLate, WalGap):
            continue  # it does not lead there
        if plan.fetch_bytes <= FETCHED_MOST * usual.fetch_bytes + FETCHED_ANYHOW:
            return Preferred(plan, is_usual=False, note=_why(backup.label, usual.backup_label, marks))
    return Preferred(usual, is_usual=True)


def by_need(backups: Sequence[Backup], marks: Marks) -> list[Backup]:
    """Return backups in the order in which they need a proof: untried, failed, oldest proof; among equals the newest.

    Newest first, since that is what a restore takes, and it has the least WAL to replay.
    """

    def need(backup: Backup) -> tuple[datetime, bool]:
        known = tuple(marks.get(backup.label, ()))
        proof = last_proof(known)
        return (NEVER if proof is None else proof.at, bool(known))

    newest_first = sorted(backups, key=lambda backup: (backup.stop_lsn, backup.stopped_at), reverse=True)
    return sorted(newest_first, key=need)


def moment_of(
    plan: RestorePlan, facts: RestoreFacts, *, stopped_at: datetime | None, last_commit_at: datetime | None
) -> datetime | None:
    """Return the moment that the restored data are of, by the server's clock; None where nothing tells.

    `stopped_at` is the backup's, None for that of a standby, which may have lagged; `last_commit_at` that of the last
    replayed transaction.
    """
    if isinstance(plan.target, TimeTarget):
        return plan.target.at
    known = [each for each in (stopped_at, last_commit_at) if each is not None]
    if isinstance(plan.target, LatestTarget):
        path = find_path(plan.timeline, facts.inventory)
        idle = proven_until(path, plan.wal_end_lsn, watermarks=facts.watermarks)
        known += [] if idle is None else [idle]
    return max(known, default=None)


def _why(label: str, usual: str, marks: Marks) -> str:
    proof = last_proof(tuple(marks.get(label, ())))
    since = "which no drill has proven yet" if proof is None else f"whose proof is of {iso(proof.at)}"
    return (
        f"backup {label} was drilled, {since}; a restore would take {usual}, so no objective rto is missed by this one"
    )

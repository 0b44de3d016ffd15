"""The last good moment: the newest position at which a drill passed, on the way that a restore follows.

    timeline 1   ──✔──✔──┬──✔ (abandoned)        followed is 2: the second ✔ counts, since timeline 2 goes through it;
    timeline 2           └──✘──                   the third lies behind where 1 was left, and is of another story

Newest is the position, not the drill: one that went far back proves an old moment. At one position the newest drill
counts. Where several timelines went on, only what lies on the way to all of them does, until --timeline says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pgvault.errors import PgvaultError, TargetInvalid
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.facts import RestoreFacts
from pgvault.recovery.path import RecoveryPath, find_path
from pgvault.recovery.proofs import Proof
from pgvault.recovery.target import LastGoodTarget


def find_last_good(facts: RestoreFacts, timelines: Sequence[int]) -> tuple[LastGoodTarget, tuple[str, ...]]:
    """Return where the last good moment on the way to all `timelines` is, and what to tell beside it.

    Raises TargetInvalid when there is none.

    Whether that can be reached still is for the planner to say.
    """
    paths = [find_path(each, facts.inventory) for each in timelines]

    def is_on_way(proof: Proof) -> bool:
        return all(path.timeline_of(proof.lsn + -1) == _written_on(facts, proof) for path in paths)

    on_way = _by_position([proof for proof in facts.proofs if is_on_way(proof)])
    good = [proof for proof in on_way.values() if proof.is_good]
    elsewhere = [proof for proof in facts.proofs if proof.is_good and not is_on_way(proof)]
    if not good:
        raise _none(elsewhere, paths)
    best = max(good, key=lambda proof: proof.lsn)
    target = LastGoodTarget(best.lsn, label=best.label, proven_by=f"drill {best.drill_id}, {best.moment}")
    return target, tuple(_notes(best, list(on_way.values()), elsewhere))


def _by_position(proofs: Sequence[Proof]) -> dict[Lsn, Proof]:
    """Return the drill that counts at each position: the newest, unless it did not ask what another found wrong there.

    A drill without the configuration has no checks; it does not make good what a check has shown to be bad.
    """
    counting: dict[Lsn, Proof] = {}
    for proof in sorted(proofs, key=lambda proof: proof.drilled_at):
        before = counting.get(proof.lsn)
        left = frozenset[str]() if before is None or before.is_good else before.failed - proof.asked
        if not proof.is_good:
            counting[proof.lsn] = replace(proof, failed=proof.failed | left)
        elif not left:
            counting[proof.lsn] = proof
    return counting


def _written_on(facts: RestoreFacts, proof: Proof) -> int:
    """Return the timeline of the last byte that a drill replayed: one that followed 2 may have stopped on 1."""
    try:
        return find_path(proof.timeline, facts.inventory).timeline_of(proof.lsn + -1)
    except PgvaultError:  # its history file is gone, or damaged
        return proof.timeline


def _notes(best: Proof, on_way: Sequence[Proof], elsewhere: Sequence[Proof]) -> Iterator[str]:
    yield f"the last good moment is {best.moment}: drill {best.drill_id} passed there, with backup {best.label}"
    later = [proof for proof in on_way if proof.lsn > best.lsn]
    if later:
        next_one = min(later, key=lambda proof: proof.lsn)
        yield f"the next moment that was drilled, {next_one.moment}, failed: {next_one.reason}"
    for proof in on_way:
        if proof.lsn < best.lsn and not proof.is_good and proof.drilled_at > best.drilled_at:
            yield f"drill {proof.drill_id} failed later at an earlier moment, {proof.moment}: {proof.reason}"
    beyond = [proof for proof in elsewhere if proof.lsn > best.lsn]
    if beyond:
        other = max(beyond, key=lambda proof: proof.lsn)
        yield (
            f"drill {other.drill_id} passed at LSN {other.lsn} of timeline {other.timeline}, which is not on the way; "
            f"--timeline {other.timeline} would go there"
        )


def _none(elsewhere: Sequence[Proof], paths: Sequence[RecoveryPath]) -> TargetInvalid:
    if not elsewhere:
        return TargetInvalid(
            "no drill has passed yet, so no moment is known to be good", hint="Prove one: pgvault drill"
        )
    other = max(elsewhere, key=lambda proof: proof.lsn)
    ways = " and ".join(str(path.timeline) for path in paths)
    return TargetInvalid(
        f"no drill has passed on the way to timeline {ways}; drill {other.drill_id} passed at LSN {other.lsn} of "
        f"timeline {other.timeline}, which is not on it",
        hint=f"To go there: --timeline {other.timeline}. To prove this way: pgvault drill",
    )

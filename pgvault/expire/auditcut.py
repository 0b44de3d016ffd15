"""Cut the beginning of this host's own audit chain: whole groups, older than `audit_keep`, behind a signed checkpoint.

    group 0 ── group 1 ── group 2 ── … ── end ── checkpoint        "first": 2000, "cut_sha256": of entry 1999
    └── older than kept ──┘                          │
       removed, each further copy first  ◄───────────┘             a copy that lacks the checkpoint keeps them

`audit verify` accepts what is missing before a number only where such an entry names it, so the checkpoint comes first,
and whoever is killed in between leaves entries that the next run removes. Only the chain's own key can say this: a host
cuts its own chain and no other. A chain that is not whole is never cut: what is left of it is evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pgvault.audit.chain import UNREADABLE, append, entry_at
from pgvault.audit.entry import Entry
from pgvault.audit.facts import CHECKPOINT, Cut, last_checkpoint
from pgvault.audit.signer import SigningKey
from pgvault.errors import PgvaultError
from pgvault.expire.removing import Remover, Tally
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.reader import SILENCE
from pgvault.repository.repository import Repository
from pgvault.repository.writing import decided

logger = logging.getLogger(__name__)

GROUP = layout.AUDIT_GROUP
TOO_YOUNG = "checkpoint {number} names entry {last}, {why}: nothing is cut: see pgvault audit verify"
NOT_WHOLE = "the chain is not whole, and is not cut: see pgvault audit verify"


@dataclass(frozen=True, slots=True)
class CutPlan:
    """What is to go of one chain."""

    signer: str
    cut: Cut | None = None  # None: nothing
    checkpoint: int | None = None  # number of the entry that says so; None: it is still to be written
    note: str | None = None  # why nothing goes, where that is worth a word


@dataclass(slots=True)
class CutReport:
    """What went."""

    plan: CutPlan
    tallies: dict[str, Tally] = field(default_factory=dict)  # by copy
    notes: list[str] = field(default_factory=list)
    problems: list[PgvaultError] = field(default_factory=list)

    def require_done(self) -> None:
        """Raise what kept a copy from being cut."""
        denials = [each.first_denial for each in self.tallies.values() if each.first_denial is not None]
        for error in (*self.problems, *denials):
            raise error


def choose_cut(
    numbers: Sequence[int], before: Callable[[int], Entry], *, begin: int, keep: timedelta, now: datetime
) -> Cut | None:
    """Choose what goes: the groups from `begin` on that are whole, not the last one, and whose last entry is too old.

    `before` reads the last entry before a group; it is asked of no more groups than need be.
    """
    held = set(numbers)
    found = None
    for group in range(begin // GROUP, max(numbers, default=0) // GROUP):
        first = (group + 1) * GROUP
        if not held.issuperset(range(max(begin, group * GROUP), first)):
            return found
        entry = before(group + 1)
        if entry.at > now - keep:
            return found
        found = Cut(first, entry.head.sha256, entry.at)
    return found


def plan_cut(repository: Repository, signer: str, *, keep: timedelta, now: datetime) -> CutPlan:
    """Look what may go of a chain. Raises what the deciding copy says that does not answer."""
    here = decided(repository)
    numbers = _numbers(here.copies[0], signer)
    if not numbers:
        return CutPlan(signer)

    def choose(begin: int) -> Cut | None:
        return choose_cut(
            numbers, lambda group: entry_at(here, signer, group * GROUP - 1), begin=begin, keep=keep, now=now
        )

    first = numbers[0]
    is_clean = not _is_ragged(numbers) and not any(
        _begins_before(copy, signer, first) for copy in repository.copies[1:]
    )
    try:
        if is_clean:
            cut = choose(first)
            if first == 0 or cut is None:
                return CutPlan(signer, cut)
        # What is gone by now must have been cut rightly; what an interrupted run left goes now.
        checkpoint = last_checkpoint(here, signer, numbers)
        said = None if checkpoint is None else Cut.of(checkpoint)
        if checkpoint is None or said is None or said.first < first:
            return CutPlan(signer, note=NOT_WHOLE)
        stays = entry_at(here, signer, said.first)
        why = said.why_not(said_at=min(checkpoint.at, now), first_at=stays.at, keep=keep)
        if why is not None:
            return CutPlan(signer, note=TOO_YOUNG.format(number=checkpoint.place.number, last=said.first - 1, why=why))
        cut = choose(said.first)
    except UNREADABLE:
        return CutPlan(signer, note=NOT_WHOLE)
    return CutPlan(signer, said, checkpoint.place.number) if cut is None else CutPlan(signer, cut)


def apply_cut(
    repository: Repository, plan: CutPlan, *, key: SigningKey, by: Mapping[str, Any], at: datetime
) -> CutReport:
    """Write the checkpoint, and remove what lies before; what a store guards or denies stays, and is told."""
    report = CutReport(plan)
    if plan.cut is None:
        return report
    number = plan.checkpoint
    if number is None:
        event = {"what": CHECKPOINT, "result": "ok", "cluster": None, "by": dict(by), "details": plan.cut.event()}
        number = append(repository, event, key=key, at=at).place.number
        logger.info("audit entries before %d are cut, as checkpoint %d says", plan.cut.first, number)
    path = layout.audit_entry(plan.signer, number)
    deciding, *further = repository.copies
    for copy in (*further, deciding):
        try:
            if not copy.has(path):
                report.notes.append(f"copy {copy.name!r} lacks the checkpoint as yet, and keeps its entries until then")
                continue
            report.tallies[copy.name] = _remove(copy, plan.signer, plan.cut.first)
        except SILENCE as error:
            report.problems.append(type(error)(f"copy {copy.name!r} was not cut: {error}", hint=error.hint))
    return report


def _remove(copy: Copy, signer: str, first: int) -> Tally:
    remover = Remover(copy)
    for name in copy.store.children(layout.audit_chain(signer)):
        if layout.is_audit_group(name) and int(name) < first // GROUP:
            remover.remove(remover.find(f"{layout.audit_chain(signer)}/{name}"))
    return remover.tally


def _numbers(copy: Copy, signer: str) -> list[int]:
    """Return the numbers of a chain's entries, sorted."""
    places = (layout.parse_audit_entry(entry.key) for entry in copy.store.list(layout.audit_chain(signer)))
    return sorted(place[1] for place in places if place is not None)


def _is_ragged(numbers: Sequence[int]) -> bool:
    """Whether the first group, which is not the last, is not whole."""
    group, last = numbers[0] // GROUP, numbers[-1] // GROUP
    return group < last and not set(numbers).issuperset(range(group * GROUP, (group + 1) * GROUP))


def _begins_before(copy: Copy, signer: str, first: int) -> bool:
    """Whether a further copy still holds a group that lies before the first entry."""
    try:
        names = copy.store.children(layout.audit_chain(signer))
    except SILENCE:
        return False  # it is told when it is to be cut
    return any(layout.is_audit_group(name) and int(name) < first // GROUP for name in names)

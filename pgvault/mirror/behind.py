"""How far a copy is behind: what it lacks, and since when the oldest of that has been in the deciding copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pgvault.mirror.plan import CopyPlan
from pgvault.repository.names import ROOT, is_audit, is_wal, parse_backup, tailed_segment

TIMELINE_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Behind:
    """What a copy lacks of one lane."""

    objects: int
    size: int  # bytes
    seconds: float | None  # since the oldest of it that has a time was pushed or committed; None: nothing has one
    different: int = 0  # objects that are damaged in one of the two, or can not be brought

    @property
    def is_level(self) -> bool:
        """Whether nothing is missing, and nothing different."""
        return not self.objects and not self.different


def dated(plan: CopyPlan) -> tuple[str, ...]:
    """Return those missing objects whose times bound that of all: a few, whatever a copy lacks.

    WAL is pushed in the order of its names, timeline by timeline; of backups the root says when. Tails and segments
    are apart, since a segment's first tail is older than the segment before it may be. Of an audit chain the first
    missing entry is the oldest.
    """
    first: dict[tuple[str, bool], str] = {}
    roots: list[str] = []
    chains: dict[str, str] = {}
    for path in sorted({transfer.path for transfer in plan.transfers} | {each.path for each in plan.problems}):
        name = parse_backup(path)
        if name is not None and name.rest == ROOT:
            roots.append(path)
        elif is_audit(path):
            chains.setdefault(path.split("/")[1], path)
        elif is_wal(path):
            place, _, file = (tailed_segment(path) or path).rpartition("/")
            system = place.split("/")[3]
            first.setdefault((f"{system}/{file[:TIMELINE_DIGITS]}", tailed_segment(path) is not None), path)
    return (*first.values(), *roots, *chains.values())


def measure_behind(plan: CopyPlan, times: Mapping[str, datetime], *, now: datetime) -> Behind:
    """Return how far the target of a plan is behind; `times` are those of `dated` that are known."""
    oldest = min(times.values(), default=None)
    seconds = None if oldest is None else max(0.0, (now - oldest).total_seconds())
    return Behind(len(plan.transfers), plan.size, seconds, len({problem.path for problem in plan.problems}))

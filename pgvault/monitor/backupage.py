"""Judge the newest backup that protects a cluster, whatever its kind: whether it is too old, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn
from pgvault.monitor.slots import AHEAD, AgePromise, begun_at, judge_age

NAME = "backup"
HINT = "Take one, and see why none was taken."
CLOCKS = "Set the clocks right, here or on the server, and take a backup."


@dataclass(frozen=True, slots=True)
class TakenBackup:
    """The newest one."""

    kind: str  # full, logical
    label: str
    started_at: datetime  # server clock
    stopped_at: datetime


def judge_backup(taken: TakenBackup, promise: AgePromise, said: str, figures: Figures, *, now: datetime) -> Finding:
    """Judge its age: stale is red, and a slot that was missed within an objective that is kept is told."""
    began_at = begun_at(taken.label, taken.started_at)
    judged = judge_age(promise, began_at=began_at, stopped_at=taken.stopped_at, now=now)
    ahead = taken.stopped_at - now
    figures = {
        **figures,
        "kind": taken.kind,
        "label": taken.label,
        "started_at": iso(taken.started_at),
        "last_at": iso(taken.stopped_at),
        "stopped_at": iso(taken.stopped_at),
        "age_seconds": None if ahead > AHEAD else (now - taken.stopped_at).total_seconds(),
        "duration_seconds": (taken.stopped_at - taken.started_at).total_seconds(),
        "limit_seconds": None if judged.limit is None else judged.limit.total_seconds(),
        "missed_slot_at": None if judged.missed is None else iso(judged.missed),
        "is_stale": judged.too_old is not None,
    }
    if ahead > AHEAD:
        return red(
            NAME, f"its clock is {span(ahead)} ahead, so nobody knows how old it is: {said}", figures, hint=CLOCKS
        )
    if judged.too_old is not None:
        return red(NAME, f"stale, {judged.too_old}: {said}", figures, hint=HINT)
    if judged.missed is not None:
        return warn(NAME, f"the slot of {judged.missed:%Y-%m-%d %H:%M} UTC was missed: {said}", figures, hint=HINT)
    return ok(NAME, said, figures)

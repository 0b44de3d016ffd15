"""Hold every objective that is configured against what the other findings measured; nothing is looked at again.

Each objective has a finding of its own, with its limit and the measure beside it, whether it is kept, broken or not
known. One that is broken is red whatever the finding says that it was measured for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from pgvault.config import Objectives
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn

NAME = "objective"
SHARE, SECONDS = "share", "seconds"

# Which figures of which findings an objective is measured by; of several, the worst counts.
MEASURED: dict[str, tuple[tuple[str, str], ...]] = {
    "rto": (("drill", "last_rto_seconds"), ("drill", "rto_seconds")),
    "rpo": (("WAL lag", "seconds"), ("data loss", "seconds")),
    "backup_age": (("backup", "age_seconds"),),
    "backup_duration": (("backup", "duration_seconds"),),
    "archive_lag": (("WAL lag", "seconds"),),
    "copy_lag": (("copy_lag", "seconds"),),
    "drill_age": (("drill", "age_seconds"),),
    "success_rate": (("success_rate", "rate"),),
}
# What was never done keeps no promise; what was not measured may still be kept.
NEVER = {"backup_age": ("backup", "count", "there is no backup"), "drill_age": ("drill", "count", "never drilled")}
UNKNOWN = {
    "rto": "no drill has measured it",
    "rpo": "nothing tells how old the oldest commit is that is not stored",
    "archive_lag": "nothing tells how old the oldest commit is that is not stored",
    "backup_duration": "there is no backup",
    "copy_lag": "no further copy was compared",
    "success_rate": "no slot of a schedule is over",
}
HINTS = {
    "rto": "See: pgvault drills",
    "rpo": "Commits since then would be lost: see WAL.",
    "backup_age": "Take one, and see why none was taken.",
    "backup_duration": "See how fast the store and the disks are, and jobs: of the cluster.",
    "archive_lag": "See: pgvault check",
    "copy_lag": "Does pgvault copy run, and what does it say?",
    "drill_age": "Run: pgvault drill",
    "success_rate": "See why backups fail or do not begin: the slots without one are told at success_rate.",
}


def judge_objectives(objectives: Objectives, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield a finding for each objective of a cluster, by what its findings measured."""
    for name in Objectives.model_fields:
        promised: timedelta | float | None = getattr(objectives, name)
        if promised is None:
            continue
        limit = promised.total_seconds() if isinstance(promised, timedelta) else promised
        never = _never(name, findings)
        if never is not None:
            figures = _figures(name, None, limit, None, is_kept=False)
            yield red(NAME, f"{name}: {never}; promised {_said(name, limit)}", figures, hint=HINTS[name])
        else:
            yield judge_one(name, limit, _measure(name, findings), note=UNKNOWN.get(name, "it was not looked at"))


def judge_one(
    name: str, limit: float, measured: float | None, *, of_class: str | None = None, note: str = ""
) -> Finding:
    """Judge one objective; `note` says why nothing was measured."""
    shown = name if of_class is None else f"{name} of class {of_class}"
    if measured is None:
        figures = _figures(name, of_class, limit, None, is_kept=None)
        return warn(NAME, f"{shown}: unknown, {note}; promised {_said(name, limit)}", figures)
    is_kept = measured >= limit if name == "success_rate" else measured <= limit
    figures = _figures(name, of_class, limit, measured, is_kept=is_kept)
    said = f"{shown}: {_said(name, measured)}, promised {_said(name, limit)}"
    return ok(NAME, said, figures) if is_kept else red(NAME, said, figures, hint=HINTS[name])


def _measure(name: str, findings: Sequence[Finding]) -> float | None:
    worst: Callable[[list[float]], float] = min if name == "success_rate" else max
    for source, figure in MEASURED[name]:
        values = [each.figures.get(figure) for each in findings if each.name == source]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if numbers:
            return worst(numbers)
    return None


def _never(name: str, findings: Sequence[Finding]) -> str | None:
    source, figure, said = NEVER.get(name, ("", "", ""))
    is_never = any(each.name == source and each.figures.get(figure) == 0 for each in findings)
    return said if is_never else None


def _figures(name: str, of_class: str | None, limit: float, measured: float | None, *, is_kept: bool | None) -> Figures:
    return {
        "objective": name,
        "class": of_class,
        "limit": limit,
        "measured": measured,
        "unit": SHARE if name == "success_rate" else SECONDS,
        "is_kept": is_kept,
    }


def _said(name: str, value: float) -> str:
    return f"{value:.3%}".replace("%", " %") if name == "success_rate" else span(value)

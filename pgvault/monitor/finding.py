"""A finding: one thing that was looked at, how it is, and the figures behind it.

Every part that watches something yields findings; who shows them knows nothing of what they are about. What can not
be known is a warning that begins with "unknown": it is never green, and never an objective broken either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

Figure = str | int | float | bool | None
Figures = Mapping[str, Figure]


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"  # somebody should look, nothing that was promised is broken; or it is not known
    RED = "red"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    level: Level
    detail: str  # one clause for people
    hint: str | None = None  # a sentence: what to do
    figures: Figures = field(default_factory=dict)  # what was measured, units in the names
    is_told: bool = True  # to people, too; false: as long as it is well, machines alone hear of it
    is_judged: bool = True  # false: there was nothing to judge, and ok says only that nothing is wrong

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "name": self.name,
            "level": self.level.value,
            "judged": self.is_judged,
            "detail": self.detail,
            "hint": self.hint,
            "figures": dict(self.figures),
        }


def ok(name: str, detail: str, figures: Figures | None = None) -> Finding:
    """All is well, as far as it was looked at."""
    return Finding(name, Level.OK, detail, None, figures or {})


def unjudged(name: str, detail: str, figures: Figures | None = None) -> Finding:
    """Nothing is wrong, and nothing is shown to be well: there is nothing yet to judge by, or nothing was asked for."""
    return Finding(name, Level.OK, detail, None, figures or {}, is_judged=False)


def warn(name: str, detail: str, figures: Figures | None = None, *, hint: str | None = None) -> Finding:
    """Not well, and nothing promised is broken; or not known."""
    return Finding(name, Level.WARN, detail, hint, figures or {})


def red(name: str, detail: str, figures: Figures | None = None, *, hint: str | None = None) -> Finding:
    """Broken."""
    return Finding(name, Level.RED, detail, hint, figures or {})


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level; nothing looked at is red, since a claim over nothing is never green."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.RED)


def span(value: timedelta | float) -> str:
    """A span of time in words: 40 s, 12 min, 3.5 h, 9 days."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def moment(value: datetime) -> str:
    """An instant in words, with its zone."""
    return value.isoformat(sep=" ", timespec="seconds")

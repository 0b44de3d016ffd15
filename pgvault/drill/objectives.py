"""Objectives: what was promised beside what was measured, and one sentence for each that was missed.

What was not measured is told with why, and neither kept nor missed: a past target has no RPO, and no single drill knows
how often backups succeed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pgvault.config import Objectives
from pgvault.instants import say_seconds

# Of what no single drill knows.
ELSEWHERE = "no drill can tell: it is judged over time"


@dataclass(frozen=True, slots=True)
class Measure:
    """What was measured for an objective, or why it was not."""

    seconds: float | None
    note: str = ""

    @classmethod
    def unknown(cls, why: str) -> Measure:
        """Say why there is no measure."""
        return cls(None, why)


@dataclass(frozen=True, slots=True)
class Judged:
    """One objective, judged."""

    name: str
    promised: float  # seconds; of success_rate a share
    measure: Measure

    @property
    def is_missed(self) -> bool:
        """Whether it was measured, and is worse than promised."""
        return self.measure.seconds is not None and self.measure.seconds > self.promised

    @property
    def reason(self) -> str:
        """What was missed, in a clause."""
        assert self.measure.seconds is not None
        measured, promised = say_seconds(self.measure.seconds), say_seconds(self.promised)
        if measured == promised:  # by less than these words tell
            measured, promised = f"{self.measure.seconds:.3f} s", f"{self.promised:.3f} s"
        return f"objective {self.name} missed: {measured}, promised {promised}"

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        unit = "share" if self.name == "success_rate" else "seconds"
        measured = self.measure.seconds
        return {
            "name": self.name,
            f"promised_{unit}": self.promised,
            f"measured_{unit}": None if measured is None else round(measured, 3),
            "verdict": "unknown" if measured is None else "missed" if self.is_missed else "kept",
            "note": self.measure.note,
        }


def judge_objectives(objectives: Objectives, measures: Mapping[str, Measure]) -> Iterator[Judged]:
    """Yield a judgement of each objective that was promised, in the order of the configuration."""
    for name in Objectives.model_fields:
        promised: timedelta | float | None = getattr(objectives, name)
        if promised is None:
            continue
        amount = promised.total_seconds() if isinstance(promised, timedelta) else promised
        yield Judged(name, amount, measures.get(name, Measure.unknown(ELSEWHERE)))

"""Reports of drills that never ran."""

from __future__ import annotations

from datetime import UTC, datetime

from pgvault.config import Objectives
from pgvault.drill.report import DrillReport

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
GB = 1_000_000_000


def past_report(number: int, **changes: object) -> DrillReport:
    """A drill of a GB that took 36 seconds, as it is stored."""
    made = DrillReport(f"20260115T1030{number:02}Z-0000", "main", AT, Objectives())
    made.phases = {"plan": 1.0, "fetch": 20.0, "replay": 10.0, "open": 0.5, "check": 4.5}
    made.sizes = {"fetch": GB, "replay": GB}
    for name, value in changes.items():
        setattr(made, name, value)
    return made

"""Backups of one kind, day after day, measured as `measuring.py` does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from pgvault.anomaly.judge import Course, Taken, course_behind
from pgvault.config.anomaly import AnomalyConfig
from pgvault.repository.measures import Measures

MIB, GIB = 1 << 20, 1 << 30
FIRST = datetime(2026, 1, 1, 1, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DEFAULT = AnomalyConfig()
USUAL = {
    "size": 100 * GIB,
    "stored": 25 * GIB,
    "files": 2000,
    "relations": 400,
    "databases": 3,
    "changed": 0.05,
    "compression": 4.0,
    "wal": 2 * GIB,
}


def values(**changes: float) -> dict[str, float]:
    """A usual day, with some values changed; what is stored follows from size and compression."""
    found = USUAL | changes
    return found | {"stored": found["size"] / found["compression"]} if "stored" not in changes else found


def follow(
    days: Iterable[Mapping[str, float]], config: AnomalyConfig = DEFAULT, *, every: timedelta = DAY
) -> list[Taken]:
    """Take a backup on each day; each goes on behind the one before it."""
    made: list[Taken] = []
    for number, each in enumerate(days):
        made.append(go_on(made, each, config, at=FIRST + number * every))
    return made


def go_on(made: list[Taken], each: Mapping[str, float], config: AnomalyConfig, *, at: datetime) -> Taken:
    """The next backup."""
    course = course_behind(made[-1], config, now=at) if made else Course()
    measures = Measures("full", each, course.before, course.since, course.suspects)
    return Taken(f"d{len(made)}", at, measures)

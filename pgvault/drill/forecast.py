"""How long the next restore will take, told from the drills there were: pure, and never from fewer than ten.

    expected = fetch(bytes of the backup as stored) + replay(bytes of WAL) + the rest     the rest: the drills' median

Both are straight lines, by Theil and Sen: the slope is the median of the slopes between any two drills, so that a few
that ran on a busy host turn nothing. Where the sizes hardly differ no slope can be told, and time goes with size.

How far to trust it is measured, not felt: each drill is foretold from all the others and compared with what it took.
It knows nothing of what it has not seen: another host, another network, a database of another kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median
from typing import Any

from pgvault.instants import iso

LEAST_DRILLS = 10
LEAST_SPREAD = 1.2  # upper quartile of the sizes over the lower one, below which a slope would be noise
LEAST_HISTORY = timedelta(days=7)  # to tell how fast the cluster grows
FURTHEST = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class PastDrill:
    """What a drill took, and for how much."""

    at: datetime
    fetch_bytes: int  # of the backup, as stored
    replay_bytes: int  # of WAL
    fetch_seconds: float
    replay_seconds: float
    rto_seconds: float

    @property
    def rest_seconds(self) -> float:
        """What goes neither with the backup nor with its WAL: planning, opening, checks."""
        return max(0.0, self.rto_seconds - self.fetch_seconds - self.replay_seconds)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a restore is expected to take."""

    drills: int  # it was told from
    fetch_seconds: float
    replay_seconds: float
    rest_seconds: float
    usual_error: float  # share by which half of the drills were off, each foretold from the others
    large_error: float  # share by which one in ten was off, or more
    breaks_at: datetime | None = None  # when growth, going on as it did, breaks the RTO objective; None: not in sight

    @property
    def rto_seconds(self) -> float:
        """All of it."""
        return self.fetch_seconds + self.replay_seconds + self.rest_seconds

    def __str__(self) -> str:
        usual, large = f"{self.usual_error:.0%}", f"{self.large_error:.0%}"
        return f"from {self.drills} drills; foretold from the others, half were off by {usual}, one in ten by {large}"

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "rto_seconds": round(self.rto_seconds, 3),
            "phases": {
                "fetch": round(self.fetch_seconds, 3),
                "replay": round(self.replay_seconds, 3),
                "rest": round(self.rest_seconds, 3),
            },
            "drills": self.drills,
            "usual_error": round(self.usual_error, 3),
            "large_error": round(self.large_error, 3),
            "breaks_rto_at": None if self.breaks_at is None else iso(self.breaks_at),
        }


def forecast(
    past: Sequence[PastDrill], *, fetch_bytes: int, replay_bytes: int, rto: timedelta | None = None
) -> Forecast | None:
    """Return what a restore of so much is expected to take; None with fewer than LEAST_DRILLS drills.

    `rto` is the objective that growth may break.
    """
    if len(past) < LEAST_DRILLS:
        return None
    model = _Model.of(past)
    errors = sorted(_left_out_errors(past))
    return Forecast(
        drills=len(past),
        fetch_seconds=model.fetch(fetch_bytes),
        replay_seconds=model.replay(replay_bytes),
        rest_seconds=model.rest_seconds,
        usual_error=median(errors),
        large_error=errors[len(errors) * 9 // 10],
        breaks_at=None if rto is None else _breaks_at(past, model, rto),
    )


@dataclass(frozen=True, slots=True)
class _Model:
    fetch: Callable[[float], float]
    replay: Callable[[float], float]
    rest_seconds: float

    @classmethod
    def of(cls, past: Sequence[PastDrill]) -> _Model:
        return cls(
            fetch=line([(each.fetch_bytes, each.fetch_seconds) for each in past]),
            replay=line([(each.replay_bytes, each.replay_seconds) for each in past]),
            rest_seconds=median(each.rest_seconds for each in past),
        )

    def rto_seconds(self, fetch_bytes: float, replay_bytes: float) -> float:
        return self.fetch(fetch_bytes) + self.replay(replay_bytes) + self.rest_seconds


def line(points: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Return the line through `points` that few of them can not turn; never falling, and never below nothing."""
    sizes = sorted(size for size, _ in points)
    lower, upper = sizes[len(sizes) // 4], sizes[len(sizes) * 3 // 4]
    if upper <= LEAST_SPREAD * lower:
        usual_size, usual = median(sizes), median(seconds for _, seconds in points)
        return lambda size: usual * (size / usual_size if usual_size else 1)
    slope = max(0.0, _slope(points))
    base = median(seconds - slope * size for size, seconds in points)
    return lambda size: max(0.0, base + slope * size)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope between any two points that lie apart."""
    return median((later - sooner) / (b - a) for (a, sooner), (b, later) in combinations(points, 2) if a != b)


def _left_out_errors(past: Sequence[PastDrill]) -> list[float]:
    """By which share of what it took each drill was foretold wrongly, from all the others."""
    errors = []
    for index, drill in enumerate(past):
        model = _Model.of([*past[:index], *past[index + 1 :]])
        expected = model.rto_seconds(drill.fetch_bytes, drill.replay_bytes)
        errors.append(abs(expected - drill.rto_seconds) / max(drill.rto_seconds, 1e-9))
    return errors


def _breaks_at(past: Sequence[PastDrill], model: _Model, rto: timedelta) -> datetime | None:
    """Return when the backup, growing as it did, will take longer than `rto`, with as much WAL as is usual."""
    first = min(drill.at for drill in past)
    newest = max(past, key=lambda drill: drill.at)
    if newest.at - first < LEAST_HISTORY:
        return None
    grown = _slope([((drill.at - first).total_seconds(), drill.fetch_bytes) for drill in past])
    usual_wal = median(drill.replay_bytes for drill in past)

    def takes(ahead: timedelta) -> float:
        return model.rto_seconds(newest.fetch_bytes + grown * ahead.total_seconds(), usual_wal)

    days = range(FURTHEST.days + 1)
    if takes(timedelta()) > rto.total_seconds() or grown <= 0:
        return None  # broken already is told by the drill, and what does not grow breaks nothing
    late = next((day for day in days if takes(timedelta(days=day)) > rto.total_seconds()), None)
    return None if late is None else newest.at + timedelta(days=late)

"""Coordinates of the pictures: the recovery window of each copy, RTO and RPO over time; pure, no markup.

x runs over WIDTH units from the oldest instant to the newest. What lies outside is cut at the edge; what is too narrow
to be seen is widened to LEAST units, since a gap of a minute in a quarter of a year is a gap all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

from pgvault.instants import say_seconds
from pgvault.report.seen import Seen, instant
from pgvault.report.words import clock

WIDTH = 100.0  # per cent of a picture's width: it follows the screen, and its signs and letters do not
LEAST = 0.4
HEIGHT = 120.0  # of RTO and RPO, in pixels
NEAR = 4.0  # an objective farther above all measures than this factor is drawn at the top, and says so
STEPS = (
    *(timedelta(minutes=each) for each in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=each) for each in (1, 2, 3, 6, 12)),
    *(timedelta(days=each) for each in (1, 2, 7, 14, 28)),
)
TICKS_MAX = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """Time, from left to right."""

    begin: datetime
    end: datetime

    def x(self, at: datetime) -> float:
        """Where an instant lies; cut at both ends."""
        share = (at - self.begin) / (self.end - self.begin)
        return round(min(1.0, max(0.0, share)) * WIDTH, 3)


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the axis with what is written below it."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a lane."""

    x: float
    width: float
    value: Seen


@dataclass(frozen=True, slots=True)
class Spot:
    """A mark at one instant; `y` only where it measures something."""

    x: float
    value: Seen
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class DrawnLane:
    """One copy."""

    lane: Seen
    proven: tuple[Span, ...]
    likely: tuple[Span, ...]  # behind what is proven, up to the last write
    holes: tuple[Span, ...]  # for which nothing can be restored
    backups: tuple[Spot, ...]
    drills: tuple[Spot, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """One measure of all drills."""

    spots: tuple[Spot, ...]  # oldest first
    failed: tuple[Spot, ...]  # drills without it that failed
    top_seconds: float
    line_y: float | None  # of the objective
    is_line_cut: bool  # the objective lies above the picture
    ticks: tuple[Tick, ...]

    @property
    def lines(self) -> tuple[tuple[Spot, Spot], ...]:
        """The points, each with the next one."""
        return tuple(pairwise(self.spots))


def axis_of(window: Seen) -> Axis:
    """Return the axis of a recovery window."""
    return Axis(instant(window["from_at"].raw), instant(window["to_at"].raw))


def ticks(axis: Axis, zone: tzinfo) -> tuple[Tick, ...]:
    """Return round moments by the clock of `zone`, at most TICKS_MAX; days are told where there are several."""
    length = axis.end - axis.begin
    step = next((step for step in STEPS if length / step <= TICKS_MAX), STEPS[-1] * max(1, length // STEPS[-1] // 8))
    midnight = axis.begin.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    text = "%d %b" if step >= timedelta(days=1) else "%d %b %H:%M" if length > timedelta(days=1) else "%H:%M"
    found, local, last = [], midnight, axis.end.astimezone(zone).replace(tzinfo=None)
    while local <= last:  # by the wall clock, so that a day of 25 hours still begins at midnight
        at = local.replace(tzinfo=zone)
        if axis.begin <= at <= axis.end:
            found.append(Tick(axis.x(at), local.strftime(text)))
        local += step
    return tuple(found)


def draw_lane(lane: Seen, axis: Axis) -> DrawnLane:
    """Return the coordinates of a copy."""
    proven, likely = [], []
    for bar in lane["bars"]:
        begin, until = instant(bar["starts_at"].raw), instant(bar["proven_until"].raw)
        proven.append(_span(axis, begin, until, bar))
        written = bar["last_write_at"].raw
        if written is not None and instant(written) > until:
            likely.append(_span(axis, until, instant(written), bar))
    return DrawnLane(
        lane,
        tuple(each for each in proven if each is not None),
        tuple(each for each in likely if each is not None),
        tuple(each for hole in lane["holes"] if (each := _hole(axis, hole, lane["bars"])) is not None),
        tuple(_spots(axis, lane["backups"])),
        tuple(_spots(axis, lane["proofs"])),
    )


def draw_trend(drills: Seen, name: str, promised: float | None, axis: Axis, *, zone: tzinfo) -> Trend:
    """Return how a measure went; `drills` are newest first, `name` is that of their field."""
    measured = [drill for drill in reversed(list(drills)) if drill[name].raw is not None]
    failed = [drill for drill in drills if drill[name].raw is None and drill["outcome"].raw == "failed"]
    most = max((drill[name].raw for drill in measured), default=0.0)
    is_cut = promised is not None and most > 0 and promised > NEAR * most
    top = max(most * 1.5, 0.0 if promised is None or is_cut else promised * 1.15) or 1.0
    spots = (Spot(axis.x(instant(drill["started_at"].raw)), drill, _y(drill[name].raw, top)) for drill in measured)
    return Trend(
        tuple(spots),
        tuple(Spot(axis.x(instant(drill["started_at"].raw)), drill, HEIGHT) for drill in failed),
        top,
        None if promised is None else 4.0 if is_cut else _y(promised, top),
        is_cut,
        ticks(axis, zone),
    )


def trend_axis(drills: Seen, made_at: datetime) -> Axis:
    """Return the axis over all drills that are shown, to when the report was made."""
    begun = [instant(drill["started_at"].raw) for drill in drills]
    begin = min(begun, default=made_at)
    margin = max((made_at - begin) * 0.03, timedelta(minutes=1))
    return Axis(begin - margin, made_at)


def describe(value: Seen, zone: tzinfo) -> str:
    """Return a mark's words for whoever points at it, or listens."""
    raw = value.raw
    if "label" in raw:
        return f"{raw['type']} backup {raw['label']}, ended {_clock(raw['at'], zone)}"
    if "drill" in raw:
        return f"drill {raw['drill']}: {raw['outcome']}, restored {_clock(raw['at'], zone)}"
    if "cause" in raw:
        until = "now" if raw["restorable_again_at"] is None else _clock(raw["restorable_again_at"], zone)
        return f"WAL is missing ({raw['cause']}): not restorable until {until}"
    if "proven_until" in raw:
        return f"restorable from {_clock(raw['starts_at'], zone)} to at least {_clock(raw['proven_until'], zone)}"
    if "run" in raw:
        measured = "" if raw["measured"] is None else f", measured {raw['measured']:.6g}"
        return f"{_clock(raw['at'], zone)}: {raw['verdict']}{measured}"
    rto, rpo = raw["rto_seconds"], raw["rpo_seconds"]
    said = [f"{name} {say_seconds(each)}" for name, each in (("RTO", rto), ("RPO at most", rpo)) if each is not None]
    return ", ".join([f"drill {_clock(raw['started_at'], zone)}: {raw['outcome']}", *said])


def _clock(text: str, zone: tzinfo) -> str:
    return clock(instant(text), zone)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - value / top * HEIGHT, 2)


def _spots(axis: Axis, marks: Seen) -> list[Spot]:
    """Return the marks that lie in the picture."""
    return [Spot(axis.x(at), mark) for mark in marks if axis.begin <= (at := instant(mark["at"].raw)) <= axis.end]


def _span(axis: Axis, begin: datetime, until: datetime, value: Seen) -> Span | None:
    if until < axis.begin or begin > axis.end:
        return None
    left, right = axis.x(begin), axis.x(until)
    width = max(right - left, LEAST)
    return Span(round(min(left, WIDTH - width), 3), round(width, 3), value)


def _hole(axis: Axis, hole: Seen, bars: Seen) -> Span | None:
    """Return from when to when nothing can be restored: behind the last moment before, to the next backup's end."""
    again = hole["restorable_again_at"].raw
    until = axis.end if again is None else instant(again)
    begins = [instant(bar["proven_until"].raw) for bar in bars]
    known = hole["from_at"].raw
    begin = instant(known) if known is not None else max((at for at in begins if at < until), default=axis.begin)
    return _span(axis, min(begin, until), until, hole)

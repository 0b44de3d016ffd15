"""Judge a backup by what stands in its root: pure, so that status, expiry and the next backup say the same.

    value ── off the median of the last seven normal ones by more than its limit, and by more than its floor ──► told
               └── may it mean that something is gone or can not be read? ──► suspicious: not normal

**What is suspicious stays out of the median.** Encrypted tables would else be normal on the fourth day, and the last
backup before them could expire. So would, for ever, whatever grew less for a good reason; the way out is the operator's
word (`normal_since`), or time: a run of at least three suspicious backups that has lasted for `accept_after` (30 days)
is the new normal. By then it was told every day; whoever reads no warning for a month is not helped by more of them.

**What is only told enters the median at once**: growth takes nothing away. It is told until it is what is usual, at
most four times in seven, and holds nothing up.

**Floors** keep small clusters quiet, where 50 % is next to nothing: a fresh cluster has some 30 MB in a thousand files.
* `changed`: 10 points and 16 MiB. Between 2 % and 5 % lies a busy day; VACUUM, and the first reading after a large
  load, touch pages without any statement that wrote.
* `compression`: 16 MiB stored more or less than the median would make of as many bytes. It is judged by what a byte
  takes when stored, so that 2 → 1 is 100 % off and not 50 %: nothing can be compressed worse than by 1.
* `wal`: 1 GiB an hour. With archive_timeout = 60s a server that commits once a minute uses up 16 MiB each time, and an
  idle one nothing at all: 960 MiB an hour lie between them. It is not measured between backups less than half an hour
  apart: a backup forces segments itself.

**Fewer changes, less WAL and more databases are not told**: a weekend writes little, and what was not written can not
have been damaged. That WAL does not arrive, its own finding tells.

Which backups were suspicious is decided once, when the next one is taken: a limit that is loosened later tells less,
and expiry still keeps what it kept until the word or the time ends it.

Fewer than three normal backups before it: not judged, and counted as normal, since that is how it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median

from pgvault.config.anomaly import AnomalyConfig
from pgvault.repository.measures import Measures, Past, Suspect, Values

COMPARED = 7
LEAST = 3  # below, a median is no more than somebody's opinion
SUSPECTS_KEPT = 2  # when the first run began, and the newest: what lies between began after the first
MIB = 1 << 20
BYTES_FLOOR = 16 * MIB
DEFAULT = AnomalyConfig()


class Way(StrEnum):
    """In which direction a measure is off."""

    UP = "more"
    DOWN = "less"


UP, DOWN, BOTH = frozenset({Way.UP}), frozenset({Way.DOWN}), frozenset(Way)


@dataclass(frozen=True, slots=True)
class Measure:
    """What is compared; `value_of` its name in a root."""

    name: str  # as in the configuration, and in a root
    figure: str  # with its unit
    floor: float  # nearer than that to the median nothing is off
    told: frozenset[Way] = BOTH
    suspicious: frozenset[Way] = DOWN
    bytes_off: Callable[[Values, float], float] | None = None  # by values and median: what must reach BYTES_FLOOR


def _changed_bytes(values: Values, usual: float) -> float:
    return (values["changed"] - usual) * values.get("size", 0)


def _stored_bytes(values: Values, usual: float) -> float:
    return abs(values.get("stored", 0) - values.get("size", 0) / usual) if usual else 0


MEASURES = (
    Measure("size", "size_bytes", BYTES_FLOOR),
    Measure("files", "files", 20),
    Measure("relations", "relations", 20),
    Measure("databases", "databases", 1, told=DOWN),
    Measure("rows", "rows", 1000),
    Measure("changed", "changed_share", 0.1, told=UP, suspicious=UP, bytes_off=_changed_bytes),
    Measure("compression", "compression_ratio", 0, suspicious=BOTH, bytes_off=_stored_bytes),
    Measure("wal", "wal_bytes_per_hour", 1024 * MIB, told=UP, suspicious=UP),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was measured."""

    label: str
    at: datetime  # when it was started
    measures: Measures

    @property
    def past(self) -> Past:
        """How later ones see it."""
        return Past(self.label, self.at, self.measures.values)


@dataclass(frozen=True, slots=True)
class Deviation:
    """One measure that is off."""

    measure: Measure
    value: float
    median: float
    off_share: float  # 0.62: 62 % off
    limit: float
    way: Way

    @property
    def is_suspicious(self) -> bool:
        """Tell whether it may mean that something is gone, or can not be read."""
        return self.way in self.measure.suspicious


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a backup is, compared with those before it."""

    compared: int  # normal ones before it
    deviations: tuple[Deviation, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Tell whether there was enough to compare it with."""
        return self.compared >= LEAST

    @property
    def is_suspicious(self) -> bool:
        """Tell whether it is not normal."""
        return any(each.is_suspicious for each in self.deviations)


@dataclass(frozen=True, slots=True)
class Course:
    """What is known behind a backup: what the next one of its kind is compared with."""

    before: tuple[Past, ...] = ()
    since: tuple[Past, ...] = ()
    suspects: tuple[Suspect, ...] = ()


def judge(measures: Measures, config: AnomalyConfig = DEFAULT) -> Verdict:
    """Compare a backup with the ones that its root names."""
    usual = baseline(measures, config)
    if len(usual) < LEAST:
        return Verdict(len(usual))
    return Verdict(len(usual), tuple(_deviations(measures.values, usual, config)))


def baseline(measures: Measures, config: AnomalyConfig) -> tuple[Past, ...]:
    """Return the normal ones before it; since the operator's word, what came then is normal and nothing older."""
    if config.normal_since is None:
        return measures.before[-COMPARED:]
    pasts = sorted((*measures.before, *measures.since), key=lambda past: past.at)
    return tuple(past for past in pasts if past.at >= config.normal_since)[-COMPARED:]


def _deviations(values: Values, usual: tuple[Past, ...], config: AnomalyConfig) -> list[Deviation]:
    found = []
    for measure in MEASURES:
        limit = getattr(config, measure.name)
        known = [past.values[measure.name] for past in usual if measure.name in past.values]
        value = values.get(measure.name)
        if limit is None or value is None or len(known) < LEAST:
            continue
        middle = median(known)
        way = Way.UP if value > middle else Way.DOWN
        off = _off_share(measure, value, middle)
        if way in measure.told and off > limit and _is_beyond_floor(measure, values, middle):
            found.append(Deviation(measure, value, middle, off, limit, way))
    return found


def _is_beyond_floor(measure: Measure, values: Values, middle: float) -> bool:
    if abs(values[measure.name] - middle) < measure.floor:
        return False
    return measure.bytes_off is None or measure.bytes_off(values, middle) >= BYTES_FLOOR


def _off_share(measure: Measure, value: float, middle: float) -> float:
    if measure.name == "compression":
        return abs(middle / value - 1) if value else 0.0
    return abs(value - middle) / (middle or measure.floor)


def course_behind(taken: Taken, config: AnomalyConfig = DEFAULT, *, now: datetime) -> Course:
    """Return what is known behind a backup, `now` being when the next one starts, or when somebody asks."""
    measures = taken.measures
    is_accepted = _accepted_by(config)
    words = [past for past in measures.since if is_accepted(past.at)]
    before = sorted((*measures.before, *words), key=lambda past: past.at)
    if not judge(measures, config).is_suspicious:
        suspects = _recent(measures.suspects, config, now)
        return Course((*before, taken.past)[-COMPARED:], (), suspects)
    run = tuple(past for past in measures.since if not is_accepted(past.at))
    run = (*run[:1], *run[1:][-(COMPARED - 2) :], taken.past)
    if len(run) >= LEAST and now - run[0].at >= config.accept_after:
        earlier = [each for each in measures.suspects if each.label != run[0].label]
        return Course(run[-COMPARED:], (), _recent(tuple(earlier), config, now))
    return Course(tuple(before[-COMPARED:]), run, _with_run(measures, before, run, config, now))


def _with_run(
    measures: Measures, before: list[Past], run: tuple[Past, ...], config: AnomalyConfig, now: datetime
) -> tuple[Suspect, ...]:
    """Return the suspects with the run that is going on: it stays as long as it goes on."""
    known = next((each for each in measures.suspects if each.label == run[0].label), None)
    normal, normal_at = (before[-1].label, before[-1].at) if known is None else (known.normal, known.normal_at)
    others = _recent(tuple(each for each in measures.suspects if each is not known), config, now)
    return _bounded((*others, Suspect(run[0].label, run[-1].at, normal, normal_at)))


def _recent(suspects: tuple[Suspect, ...], config: AnomalyConfig, now: datetime) -> tuple[Suspect, ...]:
    """Leave out runs that ended long ago, and those that the operator knows of."""
    is_known = _accepted_by(config)
    left = (each for each in suspects if now - each.at < config.accept_after)
    return _bounded(tuple(each for each in left if config.normal_since is None or is_known(each.normal_at)))


def _bounded(suspects: tuple[Suspect, ...]) -> tuple[Suspect, ...]:
    return suspects if len(suspects) <= SUSPECTS_KEPT else (suspects[0], suspects[-1])


def _accepted_by(config: AnomalyConfig) -> Callable[[datetime], bool]:
    since = config.normal_since
    return lambda at: since is not None and at >= since

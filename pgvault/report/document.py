"""What a report says: values, and the JSON they become. The page is made of that JSON and of nothing else.

Fields are only ever added. Instants are ISO 8601 texts in UTC, spans are seconds, sizes bytes, rates shares of one.
What was not measured is null, and the verdict on it is never "kept".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvault.instants import iso
from pgvault.monitor.finding import Finding

VERSION = 1


class Verdict(StrEnum):
    """How a promise stands."""

    KEPT = "kept"
    MISSED = "missed"
    UNKNOWN = "not measured"


class Standing(StrEnum):
    """How a cluster, or the quality of its data, stands; the page shows the first as green, and nothing else."""

    GOOD = "good"
    WATCH = "watch"  # somebody should look
    BAD = "bad"
    UNKNOWN = "unknown"  # nothing was proven, either way


@dataclass(frozen=True, slots=True)
class Headline:
    """A cluster in one sentence."""

    standing: Standing
    title: str  # two or three words
    sentence: str


@dataclass(frozen=True, slots=True)
class Promise:
    """One objective and its newest measure."""

    name: str  # as in the configuration
    unit: str  # "seconds" or "share"
    promised: float | None  # None: nothing was promised, and it is told all the same
    measured: float | None
    verdict: Verdict
    measured_at: datetime | None
    by: str | None  # "drill 20260117T050000Z-9c41", "status", "backup 2026…"
    note: str


@dataclass(frozen=True, slots=True)
class ClassPromise:
    """A data class, and what the last drill that ran said of it."""

    name: str
    priority: int
    tables: tuple[str, ...]  # patterns, as configured
    rto: Promise
    rpo: Promise


@dataclass(frozen=True, slots=True)
class Mark:
    """A backup in the picture of a copy."""

    label: str
    type: str  # full, logical, schema
    at: datetime  # when it ended: what can be restored begins there


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch in which every moment can be restored."""

    timeline: int
    starts_at: datetime
    proven_until: datetime
    last_write_at: datetime | None  # up to about there commits may well be restorable; the archiving host's clock
    standing: str  # followed, contested, left


@dataclass(frozen=True, slots=True)
class Hole:
    """WAL that is missing."""

    timeline: int
    from_at: datetime | None  # last write before it
    until_at: datetime | None  # first write behind it
    restorable_again_at: datetime | None  # the next backup behind it; None: none was taken since
    segment_count: int
    cause: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A drill in the picture of the copy that it read."""

    drill: str
    at: datetime  # the moment that it restored
    outcome: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One copy of the repository: what could be restored if it were all that is left."""

    copy: str
    error: str | None  # why it was not read
    backup_count: int
    backups: tuple[Mark, ...]  # the newest, oldest first
    bars: tuple[Bar, ...]
    holes: tuple[Hole, ...]
    not_restorable: tuple[str, ...]  # "label: reason"
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """The recovery window as a picture: lanes over a span of time."""

    from_at: datetime
    to_at: datetime
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Drill:
    """How one drill ended."""

    id: str
    started_at: datetime
    outcome: str
    target: str
    as_of: datetime | None
    backup: str | None
    copies: tuple[str, ...]  # that it was read from
    rto_seconds: float | None
    rpo_seconds: float | None
    check_count: int  # that passed or failed
    failed_count: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found once."""

    at: datetime
    run: str  # id of the drill, or of the run on the live server
    verdict: str  # passed, failed, unproven
    measured: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The newest failure of a check in one place."""

    where: str  # live, drill
    at: datetime
    run: str
    detail: str
    rows: tuple[str, ...]  # as they were stored: keys only, unless the check says otherwise
    is_over: bool  # it passed there since


@dataclass(frozen=True, slots=True)
class Check:
    """A check, and its last results, oldest first."""

    name: str
    severity: str
    origin: str  # configured, derived, built-in
    is_blocking: bool
    threshold: float | None
    standing: Standing  # by the newest result in each place
    live: tuple[Result, ...]
    drill: tuple[Result, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """What all checks say together."""

    standing: Standing
    sentence: str
    check_count: int
    good_count: int
    bad_count: int
    silent_count: int  # that never had a result, or none that says something
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """A backup was read back from a copy."""

    copy: str
    at: datetime
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup."""

    label: str
    type: str
    started_at: datetime
    duration_seconds: float
    size_bytes: int
    stored_bytes: int
    verified: tuple[Verification, ...]
    drilled_at: datetime | None
    drilled_outcome: str | None


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """One cluster; of a report on data quality alone all but `quality` and the sentence is empty."""

    cluster: str
    headline: Headline
    quality: Quality
    findings: tuple[Finding, ...] = ()
    objectives: tuple[Promise, ...] = ()
    classes: tuple[ClassPromise, ...] = ()
    window: Window | None = None
    drill_count: int = 0  # that are stored
    drills: tuple[Drill, ...] = ()  # the newest, newest first
    backup_count: int = 0
    backups: tuple[Backup, ...] = ()  # the newest, newest first
    not_tested: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # what this report does not show, though it is there


@dataclass(frozen=True, slots=True)
class Report:
    """All clusters."""

    made_at: datetime
    made_by: str  # "pgvault 0.5.0"
    time_zone: str  # in which the page tells times
    scope: str  # "all", or "quality"
    reading: Mapping[str, Any]  # which copies were read and which were not: repository/telling.py
    clusters: tuple[ClusterReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {"report": VERSION, **_plain(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, Finding):
        return value.to_json()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return value

"""Marks: "a drill restored this backup, and this is how that ended".

    clusters/<c>/backups/<label>/drilled/<n>           n from 00000000, the highest counts
    {"drilled": 1, "label", "drill", "at", "target", "as_of", "lsn", "timeline", "outcome", "copies",
     "rto_ms", "rpo_ms"}

A mark says in short what the drill's report says at length, so that a list of backups need not read all reports. A
drill that could not run leaves none: it proves nothing either way. One that failed leaves one too, and what a drill
proved before it is not taken back by that: the moments that they went to may differ.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectExists, ObjectMissing, UsageError, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_instant, read_list, read_text
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

READERS = 8  # a small read takes its round trip, so several go at a time
LOOKED_BACK = 8  # marks of a backup in which its last proof is looked for


class Outcome(StrEnum):
    """How a drill ended."""

    PASSED = "passed"
    MISSED = "objective missed"  # all was restored and right, only not as fast or as recent as promised
    FAILED = "failed"
    NOT_RUN = "could not run"  # in no mark

    @property
    def is_proof(self) -> bool:
        """Whether every check that stops a drill was passed."""
        return self in (Outcome.PASSED, Outcome.MISSED)


@dataclass(frozen=True, slots=True)
class Drilled:
    """How one drill of a backup ended."""

    label: str
    drill_id: str
    at: datetime  # when the drill began, by the clock of its host
    target: str  # for people
    as_of: datetime | None  # the moment that it went to, by the server's clock; None: not reached, or not known
    lsn: Lsn | None  # the end of what was replayed; None: not reached, or a logical backup
    timeline: int | None  # of that LSN
    outcome: Outcome
    copies: tuple[str, ...]  # that were read, or stood by
    rto_seconds: float | None
    rpo_seconds: float | None


def put_drilled(repository: Repository, cluster: str, mark: Drilled) -> None:
    """Store a mark behind those there are."""
    prefix = layout.drilled(cluster, mark.label)
    number = 1 + max(_numbers(repository, prefix), default=-1)
    while True:
        try:
            put_json(repository, layout.numbered(prefix, number), Kind.DRILLED, document=_encode(mark))
        except ObjectExists:
            number += 1  # another host drilled beside us
        else:
            return


def read_drilled(repository: Repository, cluster: str) -> Mapping[str, tuple[Drilled, ...]]:
    """Return, by label, the newest marks of each backup that has one, newest first, to its last proof."""

    def look(label: str) -> tuple[Drilled, ...]:
        return tuple(_to_proof(marks_of(repository, cluster, label)))

    labels = repository.reader.names(layout.backups(cluster))
    with ThreadPoolExecutor(READERS) as readers:
        found = zip(labels, readers.map(look, labels), strict=True)
        return {label: marks for label, marks in found if marks}


def marks_of(repository: Repository, cluster: str, label: str) -> Iterator[Drilled]:
    """Yield the marks of one backup, newest first; one that does not open is passed over with a warning."""
    prefix = layout.drilled(cluster, label)
    for number in sorted(_numbers(repository, prefix), reverse=True):
        path = layout.numbered(prefix, number)
        try:
            yield _decode(read_json(repository, path, Kind.DRILLED), label, where=path)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            logger.warning("passed over a mark of a drill: %s", error)


def last_proof(marks: tuple[Drilled, ...]) -> Drilled | None:
    """Return the newest of marks that proves its backup."""
    return next((mark for mark in marks if mark.outcome.is_proof), None)


def _to_proof(marks: Iterator[Drilled]) -> Iterator[Drilled]:
    for _, mark in zip(range(LOOKED_BACK), marks, strict=False):
        yield mark
        if mark.outcome.is_proof:
            return


def _numbers(repository: Repository, prefix: str) -> list[int]:
    return [int(name) for name in repository.reader.names(prefix) if layout.is_number(name)]


def _encode(mark: Drilled) -> dict[str, Any]:
    return {
        "drilled": 1,
        "label": mark.label,
        "drill": mark.drill_id,
        "at": iso(mark.at),
        "target": mark.target,
        "as_of": None if mark.as_of is None else iso(mark.as_of),
        "lsn": None if mark.lsn is None else str(mark.lsn),
        "timeline": mark.timeline,
        "outcome": str(mark.outcome),
        "copies": list(mark.copies),
        "rto_ms": _to_milliseconds(mark.rto_seconds),
        "rpo_ms": _to_milliseconds(mark.rpo_seconds),
    }


def _decode(document: Mapping[str, Any], label: str, *, where: str) -> Drilled:
    try:
        mark = Drilled(
            label=read_text(document["label"]),
            drill_id=read_text(document["drill"]),
            at=read_instant(document["at"]),
            target=read_text(document["target"]),
            as_of=None if document["as_of"] is None else read_instant(document["as_of"]),
            lsn=None if document["lsn"] is None else Lsn.parse(read_text(document["lsn"])),
            timeline=None if document["timeline"] is None else read_count(document["timeline"]),
            outcome=Outcome(read_text(document["outcome"])),
            copies=tuple(read_text(name) for name in read_list(document["copies"])),
            rto_seconds=_from_milliseconds(document["rto_ms"]),
            rpo_seconds=_from_milliseconds(document["rpo_ms"]),
        )
    except (KeyError, TypeError, UsageError, ValueError) as error:
        raise ObjectCorrupt(f"mark {where!r} is malformed") from error
    if mark.label != label:
        raise ObjectCorrupt(f"mark {where!r} says it is of {mark.label!r}")
    return mark


def _to_milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _from_milliseconds(value: Any) -> float | None:
    return None if value is None else read_count(value) / 1000

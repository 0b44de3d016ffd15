"""What a backup is measured by, in its root: its own values, and those of the backups that it is compared with.

    Measures ── values                    of this backup
       ├── before: Past, Past, …          the last normal ones of its kind before it, at most seven
       ├── since: Past, Past, …           suspicious ones behind the last normal one; the first, and the last six
       └── suspects: Suspect, Suspect     when a run of suspicious ones began, and which was the last normal one then

A root carries what it is compared with, since retention may keep two backups and no more: what was normal must be
known when all that was normal is gone. What is normal, judge.py of pgvault/anomaly says. Restoring needs none of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.instants import iso
from pgvault.repository.fields import read_instant, read_list, read_text

Values = Mapping[str, float]  # by the measure's name: size, stored, files, …; what is not known is absent


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier backup, as it was measured."""

    label: str
    at: datetime  # when it was started, by the server's clock
    values: Values


@dataclass(frozen=True, slots=True)
class Suspect:
    """A run of suspicious backups."""

    label: str  # the first of them
    at: datetime  # when the last of them was started
    normal: str  # the last normal one before them
    normal_at: datetime


@dataclass(frozen=True, slots=True)
class Measures:
    """What stands in a root."""

    kind: str  # backups of one kind are compared: "full", "logical", "logical of shop"
    values: Values
    before: tuple[Past, ...] = ()  # oldest first, as all here
    since: tuple[Past, ...] = ()
    suspects: tuple[Suspect, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what stands in the root's document."""
        return {
            "kind": self.kind,
            "values": dict(self.values),
            "before": [_past_document(each) for each in self.before],
            "since": [_past_document(each) for each in self.since],
            "suspects": [
                {
                    "label": each.label,
                    "at": iso(each.at),
                    "normal": each.normal,
                    "normal_at": iso(each.normal_at),
                }
                for each in self.suspects
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Measures:
        """Read them. Raises KeyError, TypeError, ValueError for what is malformed."""
        return cls(
            kind=read_text(document["kind"]),
            values=_read_values(document["values"]),
            before=tuple(map(_read_past, read_list(document["before"]))),
            since=tuple(map(_read_past, read_list(document["since"]))),
            suspects=tuple(map(_read_suspect, read_list(document["suspects"]))),
        )


def read_measures(document: Mapping[str, Any]) -> Measures | None:
    """Return what a root's document holds; None where it was written without. Raises as `from_json`."""
    found = document.get("measures")
    return None if found is None else Measures.from_json(found)


def write_measures(measures: Measures | None) -> dict[str, Any]:
    """Return the field of a root's document; nothing where there are none."""
    return {} if measures is None else {"measures": measures.to_json()}


def _past_document(past: Past) -> dict[str, Any]:
    return {"label": past.label, "at": iso(past.at), "values": dict(past.values)}


def _read_past(document: Mapping[str, Any]) -> Past:
    return Past(read_text(document["label"]), read_instant(document["at"]), _read_values(document["values"]))


def _read_suspect(document: Mapping[str, Any]) -> Suspect:
    return Suspect(
        read_text(document["label"]),
        read_instant(document["at"]),
        read_text(document["normal"]),
        read_instant(document["normal_at"]),
    )


def _read_values(document: object) -> Values:
    if not isinstance(document, Mapping):
        raise ValueError(f"{document!r} are no values")  # noqa: TRY004 - one error for all that is malformed
    return {read_text(name): _read_number(value) for name, value in document.items()}


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a number from 0 on")
    return value

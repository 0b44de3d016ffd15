"""Values of the document that know where they stand in it, so that every number of the page can be checked.

A template walks the document by name (`cluster.backups`); what it writes of it is wrapped in an element that names the
place (`data-at`, a JSON pointer, RFC 6901) and the value as it stands there (`data-value`, JSON). `raw` is the bare
value, for tests and attributes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from markupsafe import Markup, escape

from pgvault.amounts import say_bytes
from pgvault.instants import say_seconds
from pgvault.report.words import clock, number, printable, share

NOTHING = "–"


class Seen:
    """One value of the document."""

    __slots__ = ("pointer", "raw")

    def __init__(self, raw: Any, pointer: str = "") -> None:
        self.raw = raw
        self.pointer = pointer

    def __getitem__(self, name: str | int) -> Seen:
        """Return a part; a name that is not there is a mistake of the template. Raises KeyError, IndexError."""
        return Seen(self.raw[name], f"{self.pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")

    def __iter__(self) -> Iterator[Seen]:
        if isinstance(self.raw, Mapping):
            raise TypeError(f"{self.pointer} is a mapping: its parts are walked by name")
        return (self[number] for number in range(len(self.raw)))

    def __len__(self) -> int:
        return len(self.raw) if isinstance(self.raw, Sequence | Mapping) else 1

    def __bool__(self) -> bool:
        return bool(self.raw)

    def __str__(self) -> str:
        return NOTHING if self.raw is None else printable(str(self.raw))


def shown(value: Seen, text: str, *, element: str = "span", attributes: str = "") -> Markup:
    """Return an element that says where its text comes from; `element` and `attributes` are ours, and markup."""
    told = json.dumps(value.raw, ensure_ascii=True)
    opening = f'<{element} data-at="{escape(value.pointer)}" data-value="{escape(told)}"{attributes}>'
    return Markup(f"{opening}{escape(text)}</{element}>")  # noqa: S704 - all that is not ours is escaped


def shown_text(value: Seen) -> Markup:
    """Write a text of the document; `bdi` keeps one that reads from right to left from turning what stands beside."""
    return shown(value, str(value), element="bdi")


def filters(zone: tzinfo) -> dict[str, Callable[[Seen], Markup]]:
    """Return the ways in which a template writes numbers and instants."""
    return {
        "span": lambda value: shown(value, _or_nothing(value, say_seconds)),
        "bytes": lambda value: shown(value, _or_nothing(value, say_bytes)),
        "count": lambda value: shown(value, _or_nothing(value, lambda raw: f"{raw:,}".replace(",", " "))),
        "measure": lambda value: shown(value, _or_nothing(value, number)),
        "share": lambda value: shown(value, _or_nothing(value, share)),
        "clock": lambda value: _clock(value, zone),
    }


def instant(text: str) -> datetime:
    """Read an instant of the document."""
    return datetime.fromisoformat(text)


def _clock(value: Seen, zone: tzinfo) -> Markup:
    if value.raw is None:
        return shown(value, NOTHING)
    at = instant(value.raw)
    attributes = Markup(' datetime="{}" title="{}"').format(value.raw, at.astimezone(zone).isoformat(" ", "seconds"))
    return shown(value, clock(at, zone), element="time", attributes=attributes)


def _or_nothing(value: Seen, say: Callable[[Any], str]) -> str:
    return NOTHING if value.raw is None else say(value.raw)

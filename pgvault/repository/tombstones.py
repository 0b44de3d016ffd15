"""Tombstones: a backup is marked before it is removed, and can be taken back until its removal begins.

    clusters/<c>/backups/<label>/tombstones/<n>       n = 00000000, 00000001, …; the highest counts
      = sealed JSON {"tombstone": 1, "label", "state", "deliberate", "at", "by", "why"}

    marked ──> begun ──> (the objects go)       `at` of *marked* is when the grace begins
       └────────┴──> kept ──> marked again      kept: taken back, or withdrawn since something wants it

A marked backup stays whole and restorable. *Begun* and *kept* compete for the next number, so exactly one wins: who
takes a backup back knows that it stays, or hears that it is too late. Holds and readers are written elsewhere; expire
looks at them after it has put *begun*, and withdraws if one wants the backup, while they look for *begun* after they
have written themselves down: one of the two sees the other, whatever their clocks say.

The deciding copy's root goes last. Before any other copy's does, *begun* is put there once more, under the highest
number that there is: whoever copies without the key tells by that name that the copy does not lack the backup.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectExists, PgvaultError, Refused, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.fields import read_instant, read_text
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

ROOT_GOES = 99_999_999  # number of the entry that a copy, other than the deciding one, gets before its root goes
ATTEMPTS = 5  # somebody else may mark the same backup, or take the mark back
READERS = 8  # a small read takes its round trip, so several go at a time


class State(StrEnum):
    """What an entry says."""

    MARKED = "marked"  # to be removed when the grace is over; whole and restorable until then
    BEGUN = "begun"  # its objects may be gone already
    KEPT = "kept"  # not to be removed any more


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants something to go or to stay, when, and why."""

    at: datetime  # by the clock of the host that it was given on, aware UTC
    by: str  # who, on which host
    why: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One entry of the series."""

    label: str
    number: int
    state: State
    order: Order  # to remove it; of *kept*: to let it stay
    is_deliberate: bool = False  # somebody asked for it by its label: retention does not take that back

    @property
    def at(self) -> datetime:
        """When it was marked, or taken back."""
        return self.order.at

    @property
    def stands(self) -> bool:
        """Whether the backup is to be removed."""
        return self.state is not State.KEPT


def read_tombstone(repository: Repository, cluster: str, label: str) -> Tombstone | None:
    """Return the entry that counts; None where there never was one. Raises ObjectCorrupt, FormatUnsupported."""
    numbers = _numbers(repository, cluster, label)
    return None if not numbers else _read(repository, cluster, label, numbers[-1])


def read_tombstones(
    repository: Repository,
    cluster: str,
    labels: Iterable[str],
    *,
    passed_over: Callable[[str, PgvaultError], None] | None = None,
) -> dict[str, Tombstone]:
    """Return the tombstones that stand, by label. `passed_over` is called for labels whose tombstone does not open.

    Without it such a tombstone is an error: whoever removes something must know since when it was marked.
    """

    def look(label: str) -> Tombstone | None:
        try:
            return read_tombstone(repository, cluster, label)
        except (FormatUnsupported, ObjectCorrupt, WrongKey) as error:
            if passed_over is None:
                raise
            passed_over(label, error)
            return None

    wanted = list(labels)
    with ThreadPoolExecutor(READERS) as readers:
        found = zip(wanted, readers.map(look, wanted), strict=True)
        return {label: tombstone for label, tombstone in found if tombstone is not None and tombstone.stands}


def put_tombstone(
    repository: Repository, cluster: str, label: str, order: Order, *, is_deliberate: bool = False
) -> tuple[Tombstone, bool]:
    """Mark a backup; return the tombstone that stands, and whether it is new. One that is marked stays as it is."""
    for _ in range(ATTEMPTS):
        known = read_tombstone(repository, cluster, label)
        if known is not None and known.stands:
            return known, False
        marked = Tombstone(label, 0 if known is None else known.number + 1, State.MARKED, order, is_deliberate)
        if _put(repository, cluster, marked):
            return marked, True
    raise ObjectExists(f"backup {label!r} is marked and taken back by others at the moment", hint="Try again.")


def begin_removal(repository: Repository, cluster: str, tombstone: Tombstone) -> Tombstone | None:
    """Announce that a marked backup's objects go; return what stands then, None where it was taken back. Idempotent.

    Whoever announced looks at holds and readers next, and withdraws (`keep`) if one wants the backup.
    """
    begun = replace(tombstone, number=tombstone.number + 1, state=State.BEGUN)
    if tombstone.state is State.BEGUN or _put(repository, cluster, begun):
        return tombstone if tombstone.state is State.BEGUN else begun
    known = read_tombstone(repository, cluster, tombstone.label)
    return known if known is not None and known.state is State.BEGUN else None


def announce_in(alone: Repository, cluster: str, begun: Tombstone) -> None:
    """Say in a copy, which `alone` shows, that its root of a backup goes; idempotent."""
    _put(alone, cluster, replace(begun, number=ROOT_GOES))


def take_back(repository: Repository, cluster: str, label: str, order: Order) -> bool:
    """Let a marked backup stay; tell whether it was marked. Raises Refused where its removal has begun."""
    for _ in range(ATTEMPTS):
        known = read_tombstone(repository, cluster, label)
        if known is None or not known.stands:
            return False
        if known.state is State.BEGUN:
            raise Refused(
                f"backup {label!r}, marked {iso(known.at)} by {known.order.by}, is being removed already",
                hint="What is left of it can not be restored.",
            )
        if keep(repository, cluster, known, order):
            return True
    raise ObjectExists(f"backup {label!r} is marked and taken back by others at the moment", hint="Try again.")


def keep(repository: Repository, cluster: str, tombstone: Tombstone, order: Order) -> bool:
    """Put the entry behind `tombstone` that lets the backup stay; tell whether nobody else put another one there.

    Of a backup whose removal has begun only whoever began it, and has removed nothing, may say so.
    """
    return _put(repository, cluster, Tombstone(tombstone.label, tombstone.number + 1, State.KEPT, order))


def _numbers(repository: Repository, cluster: str, label: str) -> list[int]:
    names = repository.reader.names(layout.tombstones(cluster, label))
    return sorted(int(name) for name in names if layout.is_number(name))


def _put(repository: Repository, cluster: str, tombstone: Tombstone) -> bool:
    document = {
        "tombstone": 1,
        "label": tombstone.label,
        "state": tombstone.state.value,
        "deliberate": tombstone.is_deliberate,
        "at": iso(tombstone.order.at),
        "by": tombstone.order.by,
        "why": tombstone.order.why,
    }
    path = layout.tombstone(cluster, tombstone.label, tombstone.number)
    try:
        put_json(repository, path, Kind.TOMBSTONE, document=document)
    except ObjectExists:
        logger.debug("%s was put by somebody else", path)
        return False
    return True


def _read(repository: Repository, cluster: str, label: str, number: int) -> Tombstone:
    path = layout.tombstone(cluster, label, number)
    return _decode(read_json(repository, path, Kind.TOMBSTONE), label, number, where=path)


def _decode(document: Mapping[str, Any], label: str, number: int, *, where: str) -> Tombstone:
    if document.get("tombstone") != 1:
        raise FormatUnsupported(f"tombstone {where!r} was written by a newer pgvault", hint="Use a newer pgvault.")
    try:
        found = Tombstone(
            label=read_text(document["label"]),
            number=number,
            state=State(read_text(document["state"])),
            order=Order(read_instant(document["at"]), read_text(document["by"]), read_text(document["why"])),
            is_deliberate=document["deliberate"] is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"tombstone {where!r} is malformed") from error
    if found.label != label:
        raise ObjectCorrupt(f"tombstone {where!r} says it is of backup {found.label!r}")
    return found

"""Holds: backups and WAL that must stay, whatever retention says: the evidence of an incident, a lawyer's request.

    clusters/<c>/holds/<id>/<n>
      n = 0     the hold = sealed JSON {"hold": 1, "id", "label" | null, "from" | null, "to" | null, "until" | null,
                                        "why", "by", "at"}
      n = 1     its release = {"hold": 1, "id", "released": true, "why", "by", "at"}

A hold is of one backup, or of all that is needed to reach any moment between two: every backup that stopped between
them, the newest that stopped before, and all WAL from its start on. It ends by its release, or at `until`. Whoever
removes something must have read every hold: one that does not open is an error, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectExists, ObjectMissing, Refused, UsageError
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.fields import read_instant, read_text
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import Order

HELD, RELEASED = 0, 1  # numbers in the series


@dataclass(frozen=True, slots=True)
class Hold:
    """What must stay: one backup, or every moment from `starts_at` to `ends_at`."""

    id: str
    label: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    until: datetime | None  # when it ends by itself; None: only by its release
    order: Order  # to keep it

    def __post_init__(self) -> None:
        is_range = self.starts_at is not None and self.ends_at is not None
        if (self.label is None) != is_range or (self.starts_at is None) != (self.ends_at is None):
            raise UsageError("a hold is of one backup, or from one moment to another")
        if self.starts_at is not None and self.ends_at is not None and self.ends_at <= self.starts_at:
            raise UsageError(f"from {iso(self.starts_at)} to {iso(self.ends_at)} there is no moment")
        if self.until is not None and self.until <= self.order.at:
            raise UsageError(f"a hold until {iso(self.until)} has ended already")

    def counts_at(self, now: datetime) -> bool:
        """Tell whether it has not ended by itself."""
        return self.until is None or now < self.until

    def __str__(self) -> str:
        reason = f": {self.order.why}" if self.order.why else ""
        return f"hold {self.id} by {self.order.by}{reason}"


def put_hold(repository: Repository, cluster: str, hold: Hold) -> None:
    """Store a hold. Raises ObjectExists where its id is taken."""
    document = {
        "hold": 1,
        "id": hold.id,
        "label": hold.label,
        "from": None if hold.starts_at is None else iso(hold.starts_at),
        "to": None if hold.ends_at is None else iso(hold.ends_at),
        "until": None if hold.until is None else iso(hold.until),
        "why": hold.order.why,
        "by": hold.order.by,
        "at": iso(hold.order.at),
    }
    put_json(repository, layout.hold(cluster, hold.id, HELD), Kind.HOLD, document=document)


def release_hold(repository: Repository, cluster: str, hold_id: str, order: Order) -> Hold:
    """End a hold; return what was held. Raises ObjectMissing, Refused where it was released before."""
    if hold_id not in repository.reader.names(layout.holds(cluster)):
        raise ObjectMissing(f"there is no hold {hold_id!r} of cluster {cluster!r}", hint="See: pgvault holds")
    hold = _read(repository, cluster, hold_id)
    document = {
        "hold": 1,
        "id": hold_id,
        "released": True,
        "why": order.why,
        "by": order.by,
        "at": iso(order.at),
    }
    try:
        put_json(repository, layout.hold(cluster, hold_id, RELEASED), Kind.HOLD, document=document)
    except ObjectExists:
        raise Refused(f"hold {hold_id!r} was released before", hint="See: pgvault holds") from None
    return hold


def read_holds(repository: Repository, cluster: str) -> tuple[Hold, ...]:
    """Return the holds that were not released, oldest first; also those past their `until`.

    Raises ObjectCorrupt, FormatUnsupported, WrongKey for one that does not open.
    """
    prefix = layout.holds(cluster)
    held = [
        _read(repository, cluster, hold_id)
        for hold_id in repository.reader.names(prefix)
        if f"{RELEASED:08d}" not in repository.reader.names(f"{prefix}/{hold_id}")
    ]
    return tuple(sorted(held, key=lambda hold: (hold.order.at, hold.id)))


def _read(repository: Repository, cluster: str, hold_id: str) -> Hold:
    path = layout.hold(cluster, hold_id, HELD)
    return _decode(read_json(repository, path, Kind.HOLD), hold_id, where=path)


def _decode(document: Mapping[str, Any], hold_id: str, *, where: str) -> Hold:
    if document.get("hold") != 1:
        raise FormatUnsupported(f"hold {where!r} was written by a newer pgvault", hint="Use a newer pgvault.")
    try:
        found = Hold(
            id=read_text(document["id"]),
            label=None if document["label"] is None else read_text(document["label"]),
            starts_at=None if document["from"] is None else read_instant(document["from"]),
            ends_at=None if document["to"] is None else read_instant(document["to"]),
            until=None if document["until"] is None else read_instant(document["until"]),
            order=Order(read_instant(document["at"]), read_text(document["by"]), read_text(document["why"])),
        )
    except (KeyError, TypeError, UsageError, ValueError) as error:
        raise ObjectCorrupt(f"hold {where!r} is malformed") from error
    if found.id != hold_id:
        raise ObjectCorrupt(f"hold {where!r} says it is {found.id!r}")
    return found

"""One entry of a lease, and what a series of them says about its holder.

    leases/<name>/<n> = {"pgvault_lease": 1, "lease": name, "number": n, "token": n of the acquisition, …, "hmac": hex}

Clear JSON with an HMAC, as key documents are. The highest number counts. A holder appends an entry every quarter of
the time to live that its entries name; an observer who saw no new number for that time, on its own monotonic clock,
knows that the holder is dead, or as good as dead. No clock of one host is ever compared with that of another, except
for a pin that was *left*: it counts until a day after the instant it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, UsageError
from pgvault.instants import iso
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_decimal, read_instant, read_list, read_text
from pgvault.repository.keys import decode_document, document_hmac, encode_document, is_authentic
from pgvault.repository.repository import Repository
from pgvault.repository.who import Holder, Presence

VERSION_FIELD = "pgvault_lease"
CLOCKS_APART = timedelta(days=1)  # how wrong a host's clock may be


class State(StrEnum):
    """What an entry says."""

    HELD = "held"
    LEFT = "left"  # a pin whose holder ended, to be obeyed until the instant it names
    RELEASED = "released"


class Verdict(Enum):
    """What an observer knows of a lease."""

    FREE = "free"  # nobody holds it
    LIVE = "live"
    DEAD = "dead"  # held by one that is gone
    UNKNOWN = "unknown"  # not seen for long enough


@dataclass(frozen=True, slots=True)
class Claim:
    """What a lease is about."""

    cluster: str = ""
    label: str = ""  # of the backup that its holder makes
    labels: tuple[str, ...] = ()  # of backups that must stay as they are
    wal_from: Mapping[int, Lsn] = field(default_factory=dict)  # system → WAL from here on must stay, on all timelines


@dataclass(frozen=True, slots=True)
class LeaseEntry:
    """One entry; `holder` is None where the entry can not be read: then somebody holds it, and nobody knows who."""

    lease: str  # its name
    number: int
    token: int  # number of the entry by which its holder got it
    id: str  # random, of the holder's hold: tells two holds of one process apart
    state: State
    ttl_seconds: float
    at: datetime  # holder's clock, to be shown
    holder: Holder | None
    claim: Claim
    until: datetime | None = None  # holder's clock; of a pin that was left

    @property
    def described(self) -> str:
        """Who, and since when, as a clause."""
        if self.holder is None:
            return f"an entry that can not be read, number {self.number}"
        backup = f", backup {self.claim.label}" if self.claim.label else ""
        return f"{self.holder}{backup}, last heard of at {iso(self.at)}"


@dataclass(frozen=True, slots=True)
class Watch:
    """What an observer has seen of a lease so far, on its own monotonic clock."""

    number: int
    since: float  # seconds: when this number was first seen
    is_moving: bool = False  # an earlier number was seen before


def look_again(watch: Watch | None, number: int, *, answered: float) -> Watch:
    """Add a look whose answer came at `answered`."""
    if watch is not None and watch.number == number:
        return watch
    return Watch(number, answered, is_moving=watch is not None)


def judge(entry: LeaseEntry | None, watch: Watch | None, *, asked: float, now: datetime, presence: Presence) -> Verdict:
    """Say what the newest entry means to an observer who asked for it at `asked` (monotonic seconds).

    `now` is used for pins that were left and for nothing else. `presence` is what this host knows of the holder.
    """
    if entry is None or entry.state is State.RELEASED:
        return Verdict.FREE
    if entry.state is State.LEFT:
        is_over = entry.until is None or now >= entry.until + CLOCKS_APART
        return Verdict.FREE if is_over else Verdict.LIVE
    if presence is Presence.GONE:
        return Verdict.DEAD
    if presence is Presence.RUNS or (watch is not None and watch.is_moving):
        return Verdict.LIVE
    if watch is not None and asked - watch.since >= entry.ttl_seconds:
        return Verdict.DEAD
    return Verdict.UNKNOWN


def encode_entry(repository: Repository, entry: LeaseEntry) -> bytes:
    """Return an entry as it is stored."""
    assert entry.holder is not None
    document: dict[str, Any] = {
        VERSION_FIELD: 1,
        "lease": entry.lease,
        "number": entry.number,
        "token": entry.token,
        "id": entry.id,
        "state": str(entry.state),
        "ttl_ms": round(entry.ttl_seconds * 1000),
        "at": iso(entry.at),
        "until": None if entry.until is None else iso(entry.until),
        "holder": entry.holder.to_json(),
        "cluster": entry.claim.cluster,
        "label": entry.claim.label,
        "labels": list(entry.claim.labels),
        "wal_from": {str(system): str(lsn) for system, lsn in entry.claim.wal_from.items()},
        "key_id": repository.keys.active.id,
    }
    document["hmac"] = document_hmac(document, repository.keys.active, repository.id)
    return encode_document(document)


def decode_entry(repository: Repository, name: str, number: int, *, body: bytes) -> LeaseEntry:
    """Read an entry. Raises ObjectCorrupt, FormatUnsupported."""
    where = layout.lease(name, number)
    document = decode_document(body, VERSION_FIELD, where=where)
    try:
        key = repository.keys.by_id.get(read_count(document["key_id"]))
        if key is None or not is_authentic(document, key, repository.id):
            raise ObjectCorrupt(f"lease entry {where!r} was not written with a key of this repository")
        if (document["lease"], document["number"]) != (name, number):
            raise ObjectCorrupt(f"lease entry {where!r} says it is {document['lease']!r}, {document['number']!r}")
        until = document["until"]
        return LeaseEntry(
            lease=name,
            number=number,
            token=read_count(document["token"]),
            id=read_text(document["id"]),
            state=State(read_text(document["state"])),
            ttl_seconds=read_count(document["ttl_ms"]) / 1000,
            at=read_instant(document["at"]),
            holder=Holder.from_json(document["holder"]),
            claim=_read_claim(document),
            until=None if until is None else read_instant(until),
        )
    except (AttributeError, KeyError, TypeError, UsageError, ValueError) as error:
        raise ObjectCorrupt(f"lease entry {where!r} is malformed: {error}") from error


def read_or_guess(repository: Repository, name: str, number: int, *, body: bytes, ttl_seconds: float) -> LeaseEntry:
    """Read an entry; one that can not be read counts as held by somebody, for `ttl_seconds`."""
    try:
        return decode_entry(repository, name, number, body=body)
    except (FormatUnsupported, ObjectCorrupt):
        return unreadable_entry(name, number, ttl_seconds=ttl_seconds)


def unreadable_entry(name: str, number: int, *, ttl_seconds: float) -> LeaseEntry:
    """Return what stands for an entry that can not be read."""
    return LeaseEntry(
        name, number, number, "", State.HELD, ttl_seconds, datetime.min.replace(tzinfo=UTC), None, Claim()
    )


def _read_claim(document: Mapping[str, Any]) -> Claim:
    return Claim(
        cluster=read_text(document["cluster"]),
        label=read_text(document["label"]),
        labels=tuple(map(read_text, read_list(document["labels"]))),
        wal_from={read_decimal(system): Lsn.parse(read_text(lsn)) for system, lsn in document["wal_from"].items()},
    )

r"""One entry of an audit chain: what it says, and how its bytes are signed. FORMAT.md section 21.

    entry     = document "\n" base64(signature) "\n"           signature: Ed25519 over the document's bytes
    document  = {"audit": 1, "repository_id", "public_key", "number", "previous", "heads", "at", "store_at", "event"}

`previous` is the SHA-256 of the whole entry before it, so an entry that was edited, left out or put elsewhere breaks
the chain behind it. Nothing here reads a repository, and nothing here decides whether a key is to be believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pgvault.audit.signer import PUBLIC_PREFIX, PublicKey, SigningKey
from pgvault.errors import KeyUnusable, ObjectCorrupt
from pgvault.instants import iso
from pgvault.repository.fields import read_count, read_digest, read_instant, read_text

VERSION = 1


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain, as somebody saw it."""

    number: int
    sha256: bytes  # of the whole entry

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"number": self.number, "sha256": self.sha256.hex()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Head:
        """Read the JSON form. Raises KeyError, TypeError, ValueError."""
        return cls(read_count(document["number"]), read_digest(document["sha256"]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which chain an entry stands, and what it had seen of the others."""

    repository_id: bytes  # 16
    number: int
    previous: bytes | None  # SHA-256 of the entry before; None: it is the first
    heads: Mapping[str, Head] = field(default_factory=dict)  # of some other chains, by signer
    store_at: datetime | None = None  # by the clock of the deciding copy


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry whose signature was checked: it says what the holder of `key` said, and nothing of who that is."""

    place: Place
    key: PublicKey
    at: datetime
    event: Mapping[str, Any]
    document: bytes  # that was signed
    signature: bytes  # 64

    @property
    def signer(self) -> str:
        """The id of the chain."""
        return self.key.signer

    @property
    def content(self) -> bytes:
        """The whole entry, as it is stored."""
        return make_content(self.document, self.signature)

    @property
    def head(self) -> Head:
        """This entry as the end of its chain."""
        return Head(self.place.number, hashlib.sha256(self.content).digest())


def make_entry(event: Mapping[str, Any], place: Place, *, key: SigningKey, at: datetime) -> Entry:
    """Sign an event at its place."""
    document = {
        "audit": VERSION,
        "repository_id": place.repository_id.hex(),
        "public_key": str(key.public).removeprefix(PUBLIC_PREFIX),
        "number": place.number,
        "previous": None if place.previous is None else place.previous.hex(),
        "heads": {signer: head.to_json() for signer, head in place.heads.items()},
        "at": iso(at),
        "store_at": None if place.store_at is None else iso(place.store_at),
        "event": event,
    }
    text = json.dumps(document, sort_keys=True).encode()
    return Entry(place, key.public, at, event, text, key.sign(text))


def make_content(document: bytes, signature: bytes) -> bytes:
    """Return the whole entry, as it is stored, of what was signed and its signature."""
    return document + b"\n" + base64.b64encode(signature) + b"\n"


def read_entry(content: bytes, *, where: str) -> Entry:
    """Read an entry and check its signature by the key that it names. Raises ObjectCorrupt."""
    document, _, rest = content.partition(b"\n")
    try:
        entry = _parse(json.loads(document), document, base64.b64decode(rest.strip(b"\n"), validate=True))
    except (AttributeError, binascii.Error, KeyError, KeyUnusable, RecursionError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"audit entry {where!r} is malformed") from error
    if entry.content != content:
        raise ObjectCorrupt(f"audit entry {where!r} is malformed: two lines, and nothing else")
    if not entry.key.has_signed(document, entry.signature):
        raise ObjectCorrupt(f"audit entry {where!r} was changed: its signature is not by the key that it names")
    return entry


def read_entry_of(repository_id: bytes, signer: str, number: int, *, content: bytes) -> Entry:
    """Read an entry, and see that it stands where it says. Raises ObjectCorrupt."""
    entry = read_entry(content, where=f"{signer} {number}")
    if entry.place.repository_id != repository_id:
        raise ObjectCorrupt(f"entry {number} of {signer} is of another repository: {entry.place.repository_id.hex()}")
    if entry.signer != signer:
        raise ObjectCorrupt(f"entry {number} of {signer} is signed by another key: {entry.key}")
    if entry.place.number != number:
        raise ObjectCorrupt(f"entry {number} of {signer} is its entry {entry.place.number}, under another number")
    return entry


def _parse(fields: Mapping[str, Any], document: bytes, signature: bytes) -> Entry:
    if fields["audit"] != VERSION or not isinstance(fields["event"], dict):
        raise ValueError("it is no audit entry")
    previous, store_at = fields["previous"], fields["store_at"]
    place = Place(
        bytes.fromhex(fields["repository_id"]),
        read_count(fields["number"]),
        None if previous is None else read_digest(previous),
        {read_text(signer): Head.from_json(head) for signer, head in fields["heads"].items()},
        None if store_at is None else read_instant(store_at),
    )
    key = PublicKey.parse(PUBLIC_PREFIX + read_text(fields["public_key"]))
    return Entry(place, key, read_instant(fields["at"]), fields["event"], document, signature)

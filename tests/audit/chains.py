"""Chains to tamper with: two signers, two copies, and whatever an attacker does who holds the repository's key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pgvault.audit.chain import append, entry_at
from pgvault.audit.entry import Entry, Head, Place, make_entry
from pgvault.audit.facts import gather
from pgvault.audit.remark import Weight
from pgvault.audit.signer import SigningKey
from pgvault.audit.trust import Kept, Trust
from pgvault.audit.verify import Verdict, judge
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import open_frames, seal, split
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import address
from pgvault.repository.repository import init_repository
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LATER = AT + timedelta(days=30)
MINUTE = timedelta(minutes=1)


class Vault:
    """A repository with two copies that are alike, and the chains of `one` and `other`."""

    def __init__(self, *, copies: int = 2, key: bytes = bytes(32)) -> None:
        self.stores = [MemoryStore() for _ in range(copies)]
        names = ("primary", "dr")
        made = [Copy(name, store) for name, store in zip(names, self.stores, strict=False)]
        self.repository = init_repository(made, Credential("raw", key), now=AT)[0]
        self.one, self.other = SigningKey.generate(), SigningKey.generate()
        self.at = AT

    @property
    def first(self) -> MemoryStore:
        """The deciding copy's objects."""
        return self.stores[0]

    def do(self, key: SigningKey, what: str = "backup", **details: Any) -> Entry:
        """Append an event, a minute after the one before, and copy everything."""
        self.at += MINUTE
        event = {"what": what, "result": "ok", "cluster": "main", "details": details}
        entry = append(self.repository, event, key=key, at=self.at)
        self.copy()
        return entry

    def copy(self) -> None:
        """Bring the further copy everything."""
        for store in self.stores[1:]:
            store.objects |= self.first.objects

    def path(self, key: SigningKey, number: int) -> str:
        """Where an entry is."""
        return layout.audit_entry(key.public.signer, number)

    def last_hash(self, key: SigningKey, number: int) -> bytes:
        """What the entry behind one calls `previous`."""
        return entry_at(self.repository, key.public.signer, number).head.sha256

    def content(self, path: str) -> bytes:
        """What an object holds."""
        repository = self.repository
        place = address(repository, path, Kind.AUDIT)
        return b"".join(open_frames(self.first.objects[path], place, keys=repository.keys.by_id))

    def put(self, path: str, content: bytes, stores: Sequence[MemoryStore] | None = None) -> None:
        """Seal bytes with the repository's key, as whoever holds that can, and put them there."""
        repository = self.repository
        sealed = seal(split(content), address(repository, path, Kind.AUDIT), key=repository.keys.active).body
        for store in self.stores if stores is None else stores:
            store.objects[path] = sealed

    def forge(self, key: SigningKey, number: int, previous: bytes | None, by: SigningKey | None = None) -> Entry:
        """Make an entry for a place in a chain, signed with `by`."""
        place = Place(self.repository.id, number, previous, {})
        return make_entry({"what": "backup", "result": "ok", "forged": True}, place, key=by or key, at=self.at)

    def remove(self, key: SigningKey, numbers: Sequence[int], stores: Sequence[MemoryStore] | None = None) -> None:
        """Remove entries."""
        for store in self.stores if stores is None else stores:
            for number in numbers:
                del store.objects[self.path(key, number)]

    def verify(
        self,
        *,
        pins: Mapping[str, SigningKey] | None = None,
        kept: Sequence[Kept] = (),
        keep: timedelta | None = None,
        now: datetime = LATER,
    ) -> Verdict:
        """Verify as a verifier does that has pinned both keys, or those that are given."""
        keys = {"one": self.one, "other": self.other} if pins is None else pins
        trust = Trust.of({name: str(key.public) for name, key in keys.items()}, None, keep=keep)
        return judge(gather(self.repository), trust, now=now, kept=kept)


def kinds(verdict: Verdict) -> set[str]:
    """What is broken, in words for machines."""
    return {remark.kind for remark in verdict.of(Weight.BROKEN)}


def said(verdict: Verdict, kind: str) -> str:
    """What is said of one kind of finding, of whatever weight."""
    return "\n".join(str(remark) for remark in verdict.remarks if remark.kind == kind)


def edited(content: bytes, **changes: Any) -> bytes:
    """Return an entry with other fields, under its old signature."""
    document, _, signature = content.partition(b"\n")
    return json.dumps({**json.loads(document), **changes}, sort_keys=True).encode() + b"\n" + signature


def kept(entry: Entry) -> Kept:
    """Return an entry as a receipt shows it."""
    return Kept(entry.signer, Head(entry.place.number, entry.head.sha256), "the receipt")

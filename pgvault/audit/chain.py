"""Append to the chain of one signing key, and find the ends of all chains.

    end of a chain = the highest number of the highest group: two listings, whatever its length
    append         = put-if-absent under the next number; whoever loses reads what won, and takes the number behind it

So ten processes of one host make one chain. The deciding copy alone is asked: what it holds is what happened. Other
copies receive entries as they receive everything else, and one that does not take an entry stops nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pgvault.audit.entry import Entry, Head, Place, make_entry, read_entry
from pgvault.audit.signer import SigningKey
from pgvault.errors import AlreadyRunning, ObjectCorrupt, ObjectExists, ObjectMissing
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import seal, split
from pgvault.repository import layout
from pgvault.repository.objects import address, read_plain
from pgvault.repository.repository import Repository
from pgvault.repository.writing import decided, put_decision

ATTEMPTS = 100  # at the next number: so many others would have to win before one gives up
HEADS_MAX = 8  # ends of other chains that an entry names: with each, by turns, in the end all are


def append(
    repository: Repository,
    event: Mapping[str, Any],
    *,
    key: SigningKey,
    at: datetime,
    store_at: datetime | None = None,
) -> Entry:
    """Sign an event and put it behind the last entry of the key's chain; return the entry.

    Raises AlreadyRunning when others were always faster, ObjectCorrupt when the end of the chain is not one of ours.
    """
    here = decided(repository)
    signer = key.public.signer
    number = next_number(here, signer)
    previous = None if number == 0 else entry_at(here, signer, number - 1)
    heads = _heads(here, but=signer, turn=number)
    for _ in range(ATTEMPTS):
        place = Place(repository.id, number, None if previous is None else previous.head.sha256, heads, store_at)
        entry = make_entry(event, place, key=key, at=at)
        path = layout.audit_entry(signer, number)
        sealed = seal(split(entry.content), address(repository, path, Kind.AUDIT), key=repository.keys.active)
        try:
            put_decision(repository, path, sealed.body)
        except ObjectExists:
            previous = entry_at(here, signer, number)
            number += 1
            continue
        return entry
    raise AlreadyRunning(f"audit chain {signer!r} grew {ATTEMPTS} times while this entry was to be put behind its end")


def signers(repository: Repository) -> list[str]:
    """Return the ids of all signing keys that have a chain, sorted."""
    return sorted(repository.reader.names(layout.AUDIT))


def next_number(repository: Repository, signer: str) -> int:
    """Return the number behind the last entry; 0 when there is none."""
    chain = layout.audit_chain(signer)
    groups = sorted(name for name in repository.reader.names(chain) if name.isdecimal())
    if not groups:
        return 0
    numbers = [name for name in repository.reader.names(f"{chain}/{groups[-1]}") if layout.is_number(name)]
    return int(max(numbers)) + 1 if numbers else int(groups[-1]) * layout.AUDIT_GROUP


def entry_at(repository: Repository, signer: str, number: int) -> Entry:
    """Read one entry of a chain, its signature, its place and its signer checked.

    Raises ObjectMissing, ObjectCorrupt.
    """
    path = layout.audit_entry(signer, number)
    entry = read_entry(read_plain(repository, path, Kind.AUDIT), where=path)
    if (entry.signer, entry.place.number, entry.place.repository_id) != (signer, number, repository.id):
        raise ObjectCorrupt(f"audit entry {path!r} is not of this place: it is number {entry.place.number}")
    return entry


def head_of(repository: Repository, signer: str) -> Head | None:
    """Return the end of a chain; None where it has no entry. Raises ObjectCorrupt."""
    number = next_number(repository, signer)
    return None if number == 0 else entry_at(repository, signer, number - 1).head


def _heads(repository: Repository, *, but: str, turn: int) -> dict[str, Head]:
    """Return the ends of some other chains; one that does not open is left out: to find that is for `audit verify`."""
    others = [signer for signer in signers(repository) if signer != but]
    first = turn * HEADS_MAX % max(1, len(others))
    found = {}
    for signer in (others[first:] + others[:first])[:HEADS_MAX]:
        try:
            head = head_of(repository, signer)
        except (ObjectCorrupt, ObjectMissing):
            continue
        if head is not None:
            found[signer] = head
    return found

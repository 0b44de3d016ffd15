"""Append to the chain of one signing key, and find the ends of all chains.

    end of a chain = the highest number of the highest group: two listings, whatever its length
    append         = put-if-absent under the next number; whoever loses reads what won, and takes the number behind it

So ten processes of one host make one chain. The deciding copy alone is asked: what it holds is what happened. Other
copies receive entries as they receive everything else, and one that does not take an entry stops nobody.

An end that does not open stops nobody either: else whoever damages one object silences the witness. The next entry then
stands behind it and names no previous one, which is a break that `audit verify` tells of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pgvault.audit.entry import Entry, Head, Place, make_entry, read_entry_of
from pgvault.audit.signer import SigningKey
from pgvault.errors import (
    AlreadyRunning,
    FormatUnsupported,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreUnreachable,
    WrongKey,
)
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import open_frames, seal, split
from pgvault.repository import layout
from pgvault.repository.objects import address
from pgvault.repository.repository import Repository
from pgvault.repository.writing import decided, put_decision
from pgvault.stores.base import DatedStore

logger = logging.getLogger(__name__)

ATTEMPTS = 100  # at the next number: so many others would have to win before one gives up
UNREADABLE = (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey)
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

    `store_at` is what the deciding copy's clock showed; where nobody knows, it is asked now.
    Raises AlreadyRunning when others were always faster, and what the deciding copy says that does not take it.
    """
    here = decided(repository)
    signer = key.public.signer
    number = next_number(here, signer)
    heads = _heads(here, but=signer, turn=number)
    store_at = store_at or store_time(repository)
    for _ in range(ATTEMPTS):
        place = Place(repository.id, number, _previous(here, signer, number), heads, store_at)
        entry = make_entry(event, place, key=key, at=at)
        path = layout.audit_entry(signer, number)
        sealed = seal(split(entry.content), address(repository, path, Kind.AUDIT), key=repository.keys.active)
        try:
            put_decision(repository, path, sealed.body)
        except ObjectExists:
            number += 1
            continue
        return entry
    raise AlreadyRunning(f"audit chain {signer!r} grew {ATTEMPTS} times while this entry was to be put behind its end")


def signers(repository: Repository) -> list[str]:
    """Return the ids of all signing keys that have a chain, sorted."""
    return sorted(repository.reader.names(layout.AUDIT))


def numbers_backwards(repository: Repository, signer: str) -> Iterator[int]:
    """Yield the numbers of a chain's entries from its end on, a listing for each group; other names do not count."""
    chain = layout.audit_chain(signer)
    for group in sorted(filter(layout.is_audit_group, repository.reader.names(chain)), reverse=True):
        names = filter(layout.is_number, repository.reader.names(f"{chain}/{group}"))
        yield from sorted((n for n in map(int, names) if n // layout.AUDIT_GROUP == int(group)), reverse=True)


def next_number(repository: Repository, signer: str) -> int:
    """Return the number behind the last entry; 0 when there is none."""
    return next((number + 1 for number in numbers_backwards(repository, signer)), 0)


def entry_at(repository: Repository, signer: str, number: int) -> Entry:
    """Read one entry of a chain, its signature, its place and its signer checked, from the first copy that has it so.

    Raises ObjectMissing, ObjectCorrupt.
    """
    path = layout.audit_entry(signer, number)
    return repository.reader.read(path, lambda body: read_body(repository, path, body))


def read_body(repository: Repository, path: str, body: bytes) -> Entry:
    """Read what an object of the chains holds: signed by the key whose chain that is, for that place.

    Raises ObjectCorrupt, also for a name that no entry has, WrongKey, FormatUnsupported.
    """
    content = b"".join(open_frames(body, address(repository, path, Kind.AUDIT), keys=repository.keys.by_id))
    named = layout.parse_audit_entry(path)
    if named is None:
        raise ObjectCorrupt(f"{path!r} is no name of an audit entry")
    return read_entry_of(repository.id, *named, content=content)


def head_of(repository: Repository, signer: str) -> Head | None:
    """Return the end of a chain; None where it has no entry. Raises ObjectCorrupt."""
    number = next_number(repository, signer)
    return None if number == 0 else entry_at(repository, signer, number - 1).head


def store_time(repository: Repository) -> datetime | None:
    """Return what the clock of the deciding copy shows; None: it does not tell."""
    store = repository.deciding.store
    try:
        return store.answered_at() if isinstance(store, DatedStore) else None
    except (StoreDenied, StoreUnreachable) as error:
        logger.debug("the store did not tell the time: %s", error)
        return None


def _previous(repository: Repository, signer: str, number: int) -> bytes | None:
    """Return the hash of the entry before a number; None: there is none, or it does not open."""
    if number == 0:
        return None
    try:
        return entry_at(repository, signer, number - 1).head.sha256
    except UNREADABLE as error:
        logger.warning("audit chain %s is broken: entry %d does not open: %s", signer, number - 1, error)
        return None


def _heads(repository: Repository, *, but: str, turn: int) -> dict[str, Head]:
    """Return the ends of some other chains; one that does not open is left out: to find that is for `audit verify`."""
    others = [signer for signer in signers(repository) if signer != but]
    first = turn * HEADS_MAX % max(1, len(others))
    found = {}
    for signer in (others[first:] + others[:first])[:HEADS_MAX]:
        try:
            head = head_of(repository, signer)
        except UNREADABLE:
            continue
        if head is not None:
            found[signer] = head
    return found

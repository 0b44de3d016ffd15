"""A repository: one identity, one keyring, one or more copies; how it is made and opened.

    pgvault.json = {"pgvault": 1, "repository_id": hex[32], "created_at": ISO 8601, "hmac": hex}

`pgvault.json` is written last, so a copy without it was never initialised (or not to the end). The first copy
in the configuration decides what exists. Reading a copy's identity needs the key: that is how a wrong key, a
foreign repository and an empty bucket are told apart.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pgvault.errors import ObjectCorrupt, ObjectMissing, RepositoryForeign, RepositoryMissing
from pgvault.repository import layout
from pgvault.repository.keys import (
    Credential,
    Keyring,
    decode_document,
    document_hmac,
    encode_document,
    make_key_document,
    open_key_document,
)
from pgvault.stores.base import ObjectStore
from pgvault.stores.commit import put_object


@dataclass(frozen=True, slots=True)
class Copy:
    """One replica of the repository."""

    name: str  # as in the configuration
    store: ObjectStore


@dataclass(frozen=True, slots=True)
class Repository:
    """An opened repository."""

    id: bytes  # 16
    keys: Keyring
    copies: tuple[Copy, ...]  # the first decides

    @property
    def deciding(self) -> Copy:
        """The copy whose put-if-absent decides what exists."""
        return self.copies[0]


class InitOutcome(StrEnum):
    """What `init` did to one copy."""

    CREATED = "created"
    UNCHANGED = "unchanged"


def open_repository(copies: Sequence[Copy], credential: Credential) -> Repository:
    """Open the deciding copy's identity with `credential`.

    Raises RepositoryMissing, RepositoryForeign, WrongKey, ObjectCorrupt.
    """
    repository_id, keys = _read_identity(copies[0], credential)
    return Repository(repository_id, keys, tuple(copies))


def init_repository(
    copies: Sequence[Copy], credential: Credential, *, now: datetime
) -> tuple[Repository, dict[str, InitOutcome]]:
    """Create the repository in every copy that has none; a copy that has it already stays untouched.

    An init that was interrupted is continued with the key it had made. Raises RepositoryForeign when a copy
    holds another repository, or objects that are none of ours.
    """
    states = {copy.name: _state(copy) for copy in copies}
    document, keys, repository_id = _first_key_document(copies, states, credential)
    identity: dict[str, object] = {
        "pgvault": 1,
        "repository_id": repository_id.hex(),
        "created_at": now.isoformat(timespec="seconds"),
    }
    identity["hmac"] = document_hmac(identity, keys.active, repository_id)
    existing = [c for c in copies if states[c.name] is _State.COMPLETE]
    body = existing[0].store.get(layout.IDENTITY) if existing else encode_document(identity)
    outcomes: dict[str, InitOutcome] = {}
    for copy in copies:
        if states[copy.name] is _State.COMPLETE:
            other_id, _ = _read_identity(copy, credential)
            if other_id != repository_id:
                raise RepositoryForeign(f"copy {copy.name!r} holds another repository ({copy.store.url})")
            outcomes[copy.name] = InitOutcome.UNCHANGED
            continue
        put_object(copy.store, layout.key_document(1), document)
        put_object(copy.store, layout.IDENTITY, body)
        outcomes[copy.name] = InitOutcome.CREATED
    return Repository(repository_id, keys, tuple(copies)), outcomes


class _State(StrEnum):
    EMPTY = "empty"
    INTERRUPTED = "interrupted"  # keys are there, the identity is not
    COMPLETE = "complete"


def _state(copy: Copy) -> _State:
    names = set(copy.store.children(""))
    if layout.IDENTITY in names:
        return _State.COMPLETE
    if names and names != {layout.KEYS}:
        raise RepositoryForeign(
            f"copy {copy.name!r} is not empty and holds no pgvault repository: {min(names)!r} is there",
            hint="Give pgvault a prefix or directory of its own.",
        )
    return _State.INTERRUPTED if names else _State.EMPTY


def _first_key_document(
    copies: Sequence[Copy], states: dict[str, _State], credential: Credential
) -> tuple[bytes, Keyring, bytes]:
    """Return keys/1, the ring and the repository id: the existing ones, else new ones."""
    for copy in sorted(copies, key=lambda c: states[c.name] is not _State.COMPLETE):
        if states[copy.name] is not _State.EMPTY:
            raw = copy.store.get(layout.key_document(1))
            repository_id, keys = open_key_document(raw, credential, where=layout.key_document(1))
            return raw, keys, repository_id
    repository_id = os.urandom(16)
    raw, keys = make_key_document(repository_id, credential)
    return raw, keys, repository_id


def _read_identity(copy: Copy, credential: Credential) -> tuple[bytes, Keyring]:
    store = copy.store
    try:
        identity = decode_document(store.get(layout.IDENTITY), "pgvault", where=layout.IDENTITY)
    except ObjectMissing as error:
        raise RepositoryMissing(
            f"copy {copy.name!r} holds no repository ({store.url})", hint="Create it with: pgvault init"
        ) from error
    numbers = store.children(layout.KEYS)
    if not numbers:
        raise ObjectCorrupt(f"copy {copy.name!r} holds no key document ({store.url})")
    where = f"{layout.KEYS}/{max(numbers)}"
    repository_id, keys = open_key_document(store.get(where), credential, where=where)
    if identity.get("repository_id") != repository_id.hex():
        raise RepositoryForeign(f"copy {copy.name!r} mixes two repositories: {layout.IDENTITY} and {where}")
    expected = document_hmac(identity, keys.active, repository_id)
    if not hmac.compare_digest(str(identity.get("hmac")), expected):
        raise ObjectCorrupt(f"{layout.IDENTITY} of copy {copy.name!r} was changed after it was written")
    return repository_id, keys

"""A repository: one identity, one keyring, one or more copies; how it is made and opened.

    pgvault.json = {"pgvault": 1, "repository_id": hex[32], "created_at": ISO 8601, "key_id": 1, "hmac": hex}

`pgvault.json` is written once and last, so a copy without it was never initialised (or not to the end); its HMAC
is under the repository key that it names, since a later key may be the active one. The first copy in the
configuration decides what exists. Reading a copy's identity needs the key: that is how a wrong key, a foreign
repository and an empty bucket are told apart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from pgvault.errors import (
    ObjectCorrupt,
    ObjectMissing,
    PgvaultError,
    RepositoryForeign,
    RepositoryMissing,
    WrongKey,
)
from pgvault.pipeline.seal import REPOSITORY_ID_BYTES, RepositoryKey
from pgvault.repository import layout
from pgvault.repository.copies import Copy, LeftOut
from pgvault.repository.keydocument import make_key_document, open_key_document, read_key_document
from pgvault.repository.keys import (
    Credential,
    Keyring,
    RefreshedKeys,
    decode_document,
    document_hmac,
    encode_document,
    is_authentic,
)
from pgvault.repository.reader import Reader
from pgvault.stores.commit import put_object


@dataclass(frozen=True, slots=True)
class Repository:
    """An opened repository."""

    id: bytes  # 16
    keys: Keyring
    copies: tuple[Copy, ...]  # the first decides
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)  # copies that it was opened without, to read
    reader: Reader = field(init=False, compare=False)  # of all of them as one
    seen: set[str] = field(init=False, compare=False)  # further copies that were seen to be of this repository

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", Reader(self.copies))
        object.__setattr__(self, "seen", set())

    @property
    def deciding(self) -> Copy:
        """The copy whose put-if-absent decides what exists. Raises `unwritable`."""
        if self.unwritable is not None:
            raise self.unwritable
        return self.copies[0]

    @property
    def unwritable(self) -> PgvaultError | None:
        """Why nothing can be written: it was opened to be read, without the copy that decides. None: it can."""
        for each in self.left_out:
            if each.is_deciding:
                text = f"nothing can be written without copy {each.name!r}, which decides what exists: {each.error}"
                return type(each.error)(text, hint=each.error.hint)
        return None

    @property
    def unread(self) -> dict[str, PgvaultError]:
        """The copies that do not take part in reading, and why."""
        return {each.name: each.error for each in self.left_out} | self.reader.silent


def require_begun(repository: Repository, copy: Copy) -> None:
    """See, once, that a further copy holds this repository before anything is put there: its disk may not be mounted.

    Raises RepositoryMissing, RepositoryForeign.
    """
    if copy.name in repository.seen:
        return
    missing = RepositoryMissing(
        f"copy {copy.name!r} holds no repository ({copy.store.url})",
        hint="Is its disk mounted? A new copy is begun with: pgvault init, or pgvault copy.",
    )
    foreign = RepositoryForeign(f"copy {copy.name!r} holds another repository ({copy.store.url})")
    _require_same(repository, copy, missing=missing, foreign=foreign)
    repository.seen.add(copy.name)


class InitOutcome(StrEnum):
    """What `init` did to one copy."""

    CREATED = "created"
    UNCHANGED = "unchanged"


def open_repository(copies: Sequence[Copy], credential: Credential) -> Repository:
    """Open the deciding copy's identity with `credential`.

    Raises RepositoryMissing, RepositoryForeign, WrongKey, ObjectCorrupt.
    """
    repository_id, keys = _read_identity(copies[0], credential)

    def reread() -> Mapping[int, RepositoryKey]:
        return _read_identity(copies[0], credential)[1].by_id

    return Repository(repository_id, replace(keys, by_id=RefreshedKeys(keys.by_id, reread)), tuple(copies))


def require_unchanged(repository: Repository) -> None:
    """See that the deciding copy is the one that was opened: whoever runs for months outlives an unmounted disk.

    Raises RepositoryMissing, RepositoryForeign.
    """
    copy = repository.deciding
    missing = RepositoryMissing(
        f"copy {copy.name!r} holds no repository any more ({copy.store.url})",
        hint="Is its disk mounted, and was nothing removed?",
    )
    foreign = RepositoryForeign(
        f"copy {copy.name!r} holds another repository than it did ({copy.store.url})",
        hint="If that is meant, start again whatever still holds the old one's key.",
    )
    _require_same(repository, copy, missing=missing, foreign=foreign)


def _require_same(
    repository: Repository, copy: Copy, *, missing: RepositoryMissing, foreign: RepositoryForeign
) -> None:
    """See that a copy holds this repository; `missing` or `foreign` is raised where it does not."""
    try:
        identity = decode_document(copy.store.get(layout.IDENTITY), "pgvault", where=layout.IDENTITY)
    except ObjectMissing as error:
        raise missing from error
    if identity.get("repository_id") != repository.id.hex():
        raise foreign


def init_repository(
    copies: Sequence[Copy], credential: Credential, *, now: datetime
) -> tuple[Repository, dict[str, InitOutcome]]:
    """Create the repository in every copy that has none; a copy that has it already stays untouched.

    An init that was interrupted is continued with the key it had made. Nothing is written before every copy was
    looked at. Raises RepositoryForeign when one holds another repository, or objects that are none of ours.
    """
    for copy in copies:
        copy.store.create_root()
    states = {copy.name: _state(copy) for copy in copies}
    documents, repository_id, keys = _key_documents(copies, states, credential, now=now)
    _refuse_foreign(copies, states, documents, repository_id=repository_id)
    complete = [copy for copy in copies if states[copy.name] is _State.COMPLETE]
    for copy in complete:
        _read_identity(copy, credential)
    identity = complete[0].store.get(layout.IDENTITY) if complete else _make_identity(repository_id, keys, now=now)
    for copy in copies:
        if copy not in complete:
            for path, raw in documents.items():
                put_object(copy.store, path, raw)
            put_object(copy.store, layout.IDENTITY, identity)
    outcomes = {c.name: InitOutcome.UNCHANGED if c in complete else InitOutcome.CREATED for c in copies}
    return Repository(repository_id, keys, tuple(copies)), outcomes


class _State(StrEnum):
    EMPTY = "empty"
    INTERRUPTED = "interrupted"  # keys are there, the identity is not
    COMPLETE = "complete"


def _state(copy: Copy) -> _State:
    names = set(copy.store.children(""))
    if layout.IDENTITY in names:
        return _State.COMPLETE
    foreign = names - {layout.KEYS} or {n for n in copy.store.children(layout.KEYS) if not layout.is_number(n)}
    if foreign:
        raise RepositoryForeign(
            f"copy {copy.name!r} is not empty and holds no pgvault repository: {min(foreign)!r} is there",
            hint="Give pgvault a prefix or directory of its own.",
        )
    return _State.INTERRUPTED if names else _State.EMPTY


def _key_documents(
    copies: Sequence[Copy], states: Mapping[str, _State], credential: Credential, *, now: datetime
) -> tuple[dict[str, bytes], bytes, Keyring]:
    """Return every key document by name, the repository id and the ring: the existing ones, else new ones."""
    for copy in sorted(copies, key=lambda c: states[c.name] is not _State.COMPLETE):
        if states[copy.name] is not _State.EMPTY:
            documents = {path: copy.store.get(path) for path in _key_document_paths(copy)}
            path, raw = max(documents.items())
            return documents, *open_key_document(raw, credential, where=path)
    repository_id = os.urandom(REPOSITORY_ID_BYTES)
    raw, keys = make_key_document(repository_id, credential, at=now)
    return {layout.key_document(1): raw}, repository_id, keys


def _refuse_foreign(
    copies: Sequence[Copy], states: Mapping[str, _State], documents: Mapping[str, bytes], *, repository_id: bytes
) -> None:
    """Look at every copy before any is written to. Raises RepositoryForeign."""
    for copy in copies:
        is_ours = True
        if states[copy.name] is _State.COMPLETE:
            identity = decode_document(copy.store.get(layout.IDENTITY), "pgvault", where=layout.IDENTITY)
            is_ours = identity.get("repository_id") == repository_id.hex()
        elif states[copy.name] is _State.INTERRUPTED:
            is_ours = all(copy.store.get(path) == documents.get(path) for path in _key_document_paths(copy))
        if not is_ours:
            raise RepositoryForeign(
                f"copy {copy.name!r} holds another repository ({copy.store.url})",
                hint="Each repository needs a directory or prefix of its own: choose another url for this copy.",
            )


def _make_identity(repository_id: bytes, keys: Keyring, *, now: datetime) -> bytes:
    identity: dict[str, object] = {
        "pgvault": 1,
        "repository_id": repository_id.hex(),
        "created_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        "key_id": keys.active.id,
    }
    identity["hmac"] = document_hmac(identity, keys.active, repository_id)
    return encode_document(identity)


def _key_document_paths(copy: Copy) -> list[str]:
    """Return the names of a copy's key documents, oldest first. Raises ObjectCorrupt when there is none."""
    names = filter(layout.is_number, copy.store.children(layout.KEYS))
    paths = [f"{layout.KEYS}/{name}" for name in names]
    if not paths:
        raise ObjectCorrupt(f"copy {copy.name!r} holds no key document ({copy.store.url})")
    return sorted(paths)


def _read_identity(copy: Copy, credential: Credential) -> tuple[bytes, Keyring]:
    store = copy.store
    try:
        identity = decode_document(store.get(layout.IDENTITY), "pgvault", where=layout.IDENTITY)
    except ObjectMissing as error:
        raise RepositoryMissing(
            f"copy {copy.name!r} holds no repository ({store.url})",
            hint="Is its disk mounted, is it the right place? A new repository is made with: pgvault init",
        ) from error
    where = _key_document_paths(copy)[-1]
    opened = read_key_document(store.get(where), credential, where=where)
    repository_id, keys = opened.repository_id, opened.ring
    if identity.get("repository_id") != repository_id.hex():
        raise RepositoryForeign(f"copy {copy.name!r} mixes two repositories: {layout.IDENTITY} and {where}")
    key_id = identity.get("key_id")
    key = keys.by_id.get(key_id) if isinstance(key_id, int) else None
    if key is None and key_id in opened.key_ids:
        raise WrongKey(
            f"the key opens no slot of repository key {key_id} in {where!r}, by which {layout.IDENTITY} is known",
            hint="Use the key of another slot; with that one, pgvault key add gives this one a slot in every key.",
        )
    if key is None or not is_authentic(identity, key, repository_id):
        raise ObjectCorrupt(f"{layout.IDENTITY} of copy {copy.name!r} was changed after it was written")
    return repository_id, keys

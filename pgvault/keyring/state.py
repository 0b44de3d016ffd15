"""The key documents of every copy, and the state that they are brought to before anything changes.

The deciding copy decides each number, and every other copy receives what won there. So a copy may lag, and lacks the
newest numbers; what the deciding copy lacks it has lost, and gets back. Two copies with two documents under one number
are nobody's interrupted work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgvault.errors import (
    AlreadyRunning,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    PgvaultError,
    RepositoryForeign,
    RepositoryMissing,
    StoreDenied,
    StoreUnreachable,
)
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keydocument import KeyDocument, read_key_document
from pgvault.repository.keys import Credential, decode_document
from pgvault.repository.repository import Repository
from pgvault.stores.commit import put_object


@dataclass(frozen=True, slots=True)
class CopyKeys:
    """The key documents of one copy."""

    copy: Copy
    documents: dict[int, bytes] = field(default_factory=dict)  # by number, as stored
    error: PgvaultError | None = None  # why nothing is known of them

    @property
    def newest(self) -> int | None:
        """The highest number."""
        return max(self.documents, default=None)


@dataclass(frozen=True, slots=True)
class KeyState:
    """The present state: the newest document of all copies, which every copy has now."""

    number: int
    document: KeyDocument


def look(repository: Repository) -> list[CopyKeys]:
    """Read the key documents of every copy; what is wrong with one is noted, not raised."""
    return [_look_at(repository, copy) for copy in repository.copies]


def settle(repository: Repository, credential: Credential) -> KeyState:
    """Bring every copy to the same key documents, and return the newest.

    Raises the error of the first copy that is not there (keys change in every copy or in none), ObjectCorrupt,
    WrongKey.
    """
    seen = look(repository)
    for each in seen:
        if each.error is not None:
            raise _untouched(each.copy, each.error)
    documents = _agreed(seen)
    newest = max(documents)
    path = layout.key_document(newest)
    document = read_key_document(documents[newest], credential, where=path)
    if document.repository_id != repository.id:
        raise RepositoryForeign(f"key document {path!r} is of another repository")
    for each in seen:
        for number in sorted(documents.keys() - each.documents.keys()):
            put_object(each.copy.store, layout.key_document(number), documents[number])
    return KeyState(newest, document)


def put_everywhere(repository: Repository, number: int, raw: bytes, *, so_far: str) -> None:
    """Put the next document into the deciding copy, then into every other one; `so_far` is what holds if one fails.

    Raises AlreadyRunning when somebody else has the number.
    """
    path = layout.key_document(number)
    try:
        put_object(repository.deciding.store, path, raw)
    except ObjectExists as error:
        raise AlreadyRunning(
            f"the keys were changed by somebody else at the same moment ({path} is there)",
            hint="See pgvault key list, and run the command again.",
        ) from error
    for copy in repository.copies[1:]:
        try:
            put_object(copy.store, path, raw)
        except (StoreDenied, StoreUnreachable) as error:
            raise type(error)(
                f"copy {copy.name!r} has not got {path}, {so_far}: {error}",
                hint="Run the command again once the copy answers.",
            ) from error


def _look_at(repository: Repository, copy: Copy) -> CopyKeys:
    try:
        identity = decode_document(copy.store.get(layout.IDENTITY), "pgvault", where=layout.IDENTITY)
        if identity.get("repository_id") != repository.id.hex():
            raise RepositoryForeign(f"copy {copy.name!r} holds another repository ({copy.store.url})")
        names = filter(layout.is_number, copy.store.children(layout.KEYS))
        return CopyKeys(copy, {int(name): copy.store.get(f"{layout.KEYS}/{name}") for name in names})
    except ObjectMissing:
        missing = RepositoryMissing(
            f"copy {copy.name!r} holds no repository ({copy.store.url})",
            hint="Is its disk mounted? A new copy is made with: pgvault init",
        )
        return CopyKeys(copy, error=missing)
    except PgvaultError as error:
        return CopyKeys(copy, error=error)


def _agreed(seen: list[CopyKeys]) -> dict[int, bytes]:
    """Return all documents by number. Raises ObjectCorrupt when two copies differ under one."""
    documents: dict[int, bytes] = {}
    holder: dict[int, str] = {}
    for each in seen:
        for number, raw in each.documents.items():
            if documents.setdefault(number, raw) != raw:
                raise ObjectCorrupt(
                    f"copies {holder[number]!r} and {each.copy.name!r} hold two documents "
                    f"{layout.key_document(number)!r}",
                    hint="One was changed from outside. See which one opens: pgvault list --repository URL --key …",
                )
            holder.setdefault(number, each.copy.name)
    return documents


def _untouched(copy: Copy, error: PgvaultError) -> PgvaultError:
    return type(error)(
        f"nothing was changed, since keys change in every copy or in none: {error}",
        hint=f"Copy {copy.name!r} must answer; if it is gone for good, take it out of the configuration.",
    )

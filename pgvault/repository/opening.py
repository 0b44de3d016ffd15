"""Open a repository in order to read it: with what its copies hold between them, and without those that are gone.

    copy          pgvault.json   keys/<n>
    primary       whole          damaged     ─┐
    dr            missing        whole       ─┴─► identity and keys of one repository; both copies are read

Where that does not open, older versions of both are tried: whoever takes a host over may write over them, too.

A copy that does not answer, or is empty, is said and left out. One whose identity is damaged is said and read all the
same, since every object proves itself. One that holds another repository is an error, whoever else would open: the
operator must hear of it. Whoever writes needs the deciding copy as it should be (repository.open_repository).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pgvault.errors import (
    KeyUnusable,
    ObjectCorrupt,
    ObjectMissing,
    PgvaultError,
    RepositoryForeign,
    RepositoryMissing,
    StoreUnfit,
    WrongKey,
)
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository import layout
from pgvault.repository.copies import Copy, LeftOut
from pgvault.repository.keydocument import KeyDocument, read_key_document
from pgvault.repository.keys import Credential, RefreshedKeys, decode_document, is_authentic
from pgvault.repository.reader import DAMAGE, SILENCE
from pgvault.repository.repository import Repository, open_repository
from pgvault.stores.base import VersionedStore

logger = logging.getLogger(__name__)

UNOPENED = (KeyUnusable, ObjectMissing, *DAMAGE)  # answers that keep a repository from being opened


@dataclass(frozen=True, slots=True)
class _Look:
    """What a copy showed of itself."""

    copy: Copy
    identity: bytes | None = None  # None: it is missing
    key_name: str = ""  # of the newest key document; empty: there is none
    key_document: bytes = b""
    gone: PgvaultError | None = None  # why nothing can be read there
    waited_seconds: float = 0.0  # until that was clear
    is_older: bool = False  # these are bytes that were written over, or deleted

    @property
    def is_silent(self) -> bool:
        """Whether the copy did not answer; it may hold anything."""
        return isinstance(self.gone, SILENCE)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys, and where they were found."""

    document: KeyDocument
    look: _Look


def open_for_reading(copies: Sequence[Copy], credential: Credential, *, looks_at_all: bool = True) -> Repository:
    """Open a repository by whatever copies of it there are; the first that is left decides what is absent.

    Without `looks_at_all`, copies behind the first that is as it should be are not asked anything yet: for whoever
    reads one object. Raises StoreUnreachable, StoreDenied, RepositoryMissing, RepositoryForeign, WrongKey,
    ObjectCorrupt, KeyUnusable.
    """
    if len(copies) == 1:
        try:
            return open_repository(copies, credential)
        except (RepositoryForeign, RepositoryMissing, *UNOPENED) as error:
            try:
                return _open_together(copies, credential, looks_at_all=True)
            except (RepositoryForeign, RepositoryMissing, *UNOPENED):
                raise error from None
    return _open_together(copies, credential, looks_at_all=looks_at_all)


def _open_together(copies: Sequence[Copy], credential: Credential, *, looks_at_all: bool) -> Repository:
    looks = _look_at_all(copies) if looks_at_all else _look_until_one_is_whole(copies, credential)
    keys, known_by = _identify(looks, credential)
    _refuse_foreign(looks, keys)
    begin = next(number for number, look in enumerate(looks) if look.gone is None)
    kept = [look for number, look in enumerate(looks) if look.gone is None or (look.is_silent and number > begin)]
    left_out = tuple(
        LeftOut(look.copy.name, look.gone, is_deciding=number == 0)
        for number, look in enumerate(looks)
        if look.gone is not None and look not in kept
    )

    def reread() -> Mapping[int, RepositoryKey]:
        return _open_keys(_look_at_all(copies), credential).document.ring.by_id

    ring = keys.document.ring
    repository = Repository(
        keys.document.repository_id,
        replace(ring, by_id=RefreshedKeys(ring.by_id, reread)),
        (*(look.copy for look in kept), *copies[len(looks) :]),
        left_out,
    )
    for each in left_out:
        logger.warning("copy %r is left out, reading goes on without it: %s", each.name, each.error)
    for look in kept:
        if look.gone is not None:
            repository.reader.leave_alone(look.copy.name, look.gone, waited_seconds=look.waited_seconds)
        else:
            _note_damage(repository, look, keys, known_by)
    return repository


def _identify(looks: Sequence[_Look], credential: Credential) -> tuple[_Keys, _Look]:
    """Return the keys, and a copy whose identity is the one that was written under them; older versions come last."""
    try:
        keys = _open_keys(looks, credential)
        return keys, _require_identity(looks, keys)
    except UNOPENED as error:
        both = [*looks, *(each for look in looks if look.gone is None for each in _look_back(look.copy))]
        try:
            keys = _open_keys(both, credential)
            return keys, _require_identity(both, keys)
        except UNOPENED:
            raise error from None


def _look_back(copy: Copy) -> Iterator[_Look]:
    """Yield what a copy showed earlier, oldest first, where it keeps that and lets us see it."""
    store = copy.store
    if not isinstance(store, VersionedStore):
        return
    try:
        for prefix in (layout.IDENTITY, layout.KEYS):
            for version in store.versions(prefix):
                name = version.key.rpartition("/")[2]
                if version.is_delete_marker or not (prefix == layout.IDENTITY or layout.is_number(name)):
                    continue
                body = store.get_version(version.key, version.id)
                if prefix == layout.IDENTITY:
                    yield _Look(copy, body, is_older=True)
                else:
                    yield _Look(copy, None, version.key, body, is_older=True)
    except (ObjectMissing, StoreUnfit, *SILENCE) as error:
        logger.info("older versions in copy %r can not be looked at: %s", copy.name, error)


def _look_at_all(copies: Sequence[Copy]) -> list[_Look]:
    """Look at copies side by side: two dead regions cost one wait."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(copies), thread_name_prefix="open") as pool:
        return list(pool.map(_look, copies))


def _look_until_one_is_whole(copies: Sequence[Copy], credential: Credential) -> list[_Look]:
    """Look at one copy after the other, as far as needed."""
    looks: list[_Look] = []
    for copy in copies:
        looks.append(_look(copy))
        try:
            keys = _open_keys(looks, credential)
        except PgvaultError as error:
            logger.debug("copy %r does not open alone: %s", copy.name, error)
        else:
            if any(look.gone is None and _identity_error(look, keys) is None for look in looks):
                break
    return looks


def _look(copy: Copy) -> _Look:
    began = time.monotonic()
    try:
        identity = _get(copy, layout.IDENTITY)
        name = max(filter(layout.is_number, copy.store.children(layout.KEYS)), default=None)
        path = "" if name is None else f"{layout.KEYS}/{name}"
        document = _get(copy, path) if path else None
        is_empty = identity is None and not path and not copy.store.children("")
    except SILENCE as error:
        return _Look(copy, gone=error, waited_seconds=time.monotonic() - began)
    if is_empty:
        hint = "Is its disk mounted, is it the right place? pgvault copy fills a new copy."
        missing = RepositoryMissing(f"copy {copy.name!r} holds no repository ({copy.store.url})", hint=hint)
        return _Look(copy, gone=missing)
    return _Look(copy, identity, path if document else "", document or b"")


def _get(copy: Copy, path: str) -> bytes | None:
    try:
        return copy.store.get(path)
    except ObjectMissing:
        return None


def _open_keys(looks: Sequence[_Look], credential: Credential) -> _Keys:
    """Open the newest key document that opens. Raises what hinders that: an answer before a silence."""
    failed: list[PgvaultError] = []
    having = [look for look in looks if look.key_name]
    for look in sorted(having, key=lambda look: look.key_name, reverse=True):  # stable: in the order of copies
        try:
            return _Keys(read_key_document(look.key_document, credential, where=look.key_name), look)
        except (KeyUnusable, *DAMAGE) as error:
            failed.append(error)
    if failed:
        raise failed[0]
    for look in looks:
        raise look.gone or ObjectCorrupt(f"copy {look.copy.name!r} holds no key document ({look.copy.store.url})")
    raise RepositoryMissing("the repository has no copy")


def _refuse_foreign(looks: Sequence[_Look], keys: _Keys) -> None:
    """Raise RepositoryForeign for a copy that says, wherever it says anything, that it is of another repository."""
    ours = keys.document.repository_id.hex()
    for look in looks if not keys.look.is_older else ():  # else it was ours before somebody wrote over it
        said = [_claim(look.identity, "pgvault"), _claim(look.key_document, "pgvault_keys")]
        claims = [claim for claim in said if claim is not None and len(claim) == len(ours)]
        if claims and not any(_is_alike(claim, ours) for claim in claims):
            raise RepositoryForeign(
                f"copy {look.copy.name!r} holds another repository ({look.copy.store.url})",
                hint="Is its url right? See: pgvault list --only-copy",
            )


def _is_alike(claim: str, ours: str) -> bool:
    """Tell whether an id is ours, or was before a bit or two of it changed: ids are random, two share few digits."""
    return sum(one == other for one, other in zip(claim, ours, strict=True)) > len(ours) // 2


def _claim(raw: bytes | None, version_field: str) -> str | None:
    """Return the repository id that a clear document names; None when it is none, or damaged beyond that."""
    try:
        found = decode_document(raw or b"", version_field, where="").get("repository_id")
    except DAMAGE:
        return None
    return found if isinstance(found, str) else None


def _require_identity(looks: Sequence[_Look], keys: _Keys) -> _Look:
    """Return the first copy whose identity is the one that was written under these keys. Raises ObjectCorrupt."""
    errors: list[PgvaultError] = []
    for look in looks:
        if look.gone is None:
            error = _identity_error(look, keys)
            if error is None:
                return look
            errors.append(error)
    raise errors[0]


def _identity_error(look: _Look, keys: _Keys) -> PgvaultError | None:
    """Return what is wrong with a copy's identity."""
    where = f"{layout.IDENTITY} of copy {look.copy.name!r}"
    if look.identity is None:
        return ObjectMissing(f"{where} is absent in {look.copy.store.url}")
    try:
        identity = decode_document(look.identity, "pgvault", where=layout.IDENTITY)
    except DAMAGE as error:
        return error
    key_id, document = identity.get("key_id"), keys.document
    key = document.ring.by_id.get(key_id) if isinstance(key_id, int) else None
    if key is None and key_id in document.key_ids:
        return WrongKey(f"the key opens no slot of repository key {key_id}, by which {where} is known")
    if key is None or not is_authentic(identity, key, document.repository_id):
        return ObjectCorrupt(f"{where} was changed after it was written")
    return None


def _note_damage(repository: Repository, look: _Look, keys: _Keys, known_by: _Look) -> None:
    """Count a damaged identity or key document like any other object that another copy gave."""
    found: list[tuple[str, PgvaultError | None, _Look]] = [(layout.IDENTITY, _identity_error(look, keys), known_by)]
    if not look.key_name:
        missing = ObjectMissing(f"key document {keys.look.key_name!r} is absent in {look.copy.store.url}")
        found.append((keys.look.key_name, missing, keys.look))
    elif look.key_name == keys.look.key_name and look.key_document != keys.look.key_document:
        found.append((look.key_name, ObjectCorrupt(f"key document {look.key_name!r} is damaged"), keys.look))
    for path, error, helper in found:
        if error is not None:
            repository.reader.note_damage(
                path, error, copy=look.copy.name, taken_from=helper.copy.name, is_older=helper.is_older
            )

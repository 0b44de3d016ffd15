"""Where the right bytes of an object are, and how they get into the copy that lacks them.

    whole?       the length and SHA-256 that a root says; else that it opens under its name with our key, and of an
                 audit entry that the key whose chain it is signed it, for that place
    source       of a root: the deciding copy, an aborted record included. Else any copy, or an older version of the
                 key, whose bytes pass that very check (`reader` finds them)
    missing      put where nothing is                                                              ─► read back
    damaged      what is there ─► quarantine/<time>-<random>/<name> of that copy ─► replaced ─► read back
    a root       is put where none is only when all that it names is whole in that copy

Nothing is replaced before the good bytes are at hand and the bad ones are kept. Whoever is killed in between leaves
the object as it was, or healed; the next run begins anew, and at most keeps the bad bytes twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from pgvault.audit.chain import read_body
from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, StoreUnfit, WrongKey
from pgvault.instants import Clock
from pgvault.pipeline.header import HEADER, Kind, ObjectHeader
from pgvault.pipeline.seal import open_frames
from pgvault.repository import layout
from pgvault.repository.catalog import read_root
from pgvault.repository.copies import Copy
from pgvault.repository.manifest import Manifest
from pgvault.repository.names import ROOT, is_document, parse_backup
from pgvault.repository.objects import address
from pgvault.repository.repository import Repository
from pgvault.stores.base import ReplacingStore
from pgvault.stores.commit import put_object
from pgvault.verify.identity import check_document
from pgvault.verify.report import Suspect

DAMAGE = (FormatUnsupported, ObjectCorrupt, WrongKey)
ROOT_KINDS = (Kind.MANIFEST, Kind.ABORTED)


@dataclass(frozen=True, slots=True)
class Healed:
    """An object that was put right in a copy."""

    path: str
    was: PgvaultError  # what was wrong with it
    quarantine: str | None  # where what was there lies now, in the same copy; None: nothing was there


@dataclass(frozen=True, slots=True)
class Healer:
    """Puts objects of one copy right."""

    repository: Repository  # all copies
    copy: Copy
    clock: Clock

    def heal(self, suspect: Suspect) -> list[Healed]:
        """Put an object right, and what it names before it; return what was done, nothing where nothing was wrong.

        Raises ObjectMissing or ObjectCorrupt when nobody holds it whole, and what the copy says that does not take it.
        """
        check = self._make_check(suspect)
        right = self._decided(suspect, check)
        current, wrong = self._look(suspect.path, check, right)
        if wrong is None:
            return []
        named: list[Healed] = []
        good = self._find(suspect.path, check) if right is None else right
        if current is None:
            if _is_root(suspect.path):
                named = self._heal_named(suspect.path, good)
            self._bring(suspect.path, good)
            quarantine = None
        else:
            quarantine = self._replace(suspect.path, current, good)
        if self.copy.store.get(suspect.path) != good:
            raise ObjectCorrupt(f"copy {self.copy.name!r} does not give back what was put under {suspect.path!r}")
        return [*named, Healed(suspect.path, wrong, quarantine)]

    def _make_check(self, suspect: Suspect) -> Callable[[bytes], bytes]:
        def check(body: bytes) -> bytes:
            require_whole(self.repository, suspect, body)
            return body

        return check

    def _decided(self, suspect: Suspect, check: Callable[[bytes], bytes]) -> bytes | None:
        """What the deciding copy holds under the name of a root; None where it does not decide."""
        deciding = self.repository.deciding
        if not _is_root(suspect.path) or self.copy.name == deciding.name:
            return None
        try:
            return check(deciding.store.get(suspect.path))
        except (ObjectMissing, *DAMAGE):
            return None

    def _look(
        self, path: str, check: Callable[[bytes], bytes], right: bytes | None
    ) -> tuple[bytes | None, PgvaultError | None]:
        """Return what lies there at present, and what is wrong with it."""
        try:
            current = self.copy.store.get(path)
        except ObjectMissing as error:
            return None, error
        try:
            check(current)
        except DAMAGE as error:
            return current, error
        if right is not None and current != right:
            return current, ObjectCorrupt(f"object {path!r} is not what the deciding copy holds")
        return current, None

    def _find(self, path: str, check: Callable[[bytes], bytes]) -> bytes:
        try:
            return self.repository.reader.read(path, check)
        except (ObjectMissing, *DAMAGE) as error:
            raise type(error)(f"no copy holds {path!r} whole: {error}") from error

    def _heal_named(self, path: str, body: bytes) -> list[Healed]:
        """See that all that a root names is whole in this copy, before the root says so."""
        name = parse_backup(path)
        assert name is not None
        if ObjectHeader.decode(body[: HEADER.size], where=path).kind is Kind.ABORTED:
            return []
        root = read_root(self.repository, name.cluster, name.label)
        if root is None:
            return []
        named = [(Kind.PART, root.parts), (Kind.MAP, root.maps), (Kind.PACK, root.packs), (None, (root.refs,))]
        named.append((Kind.INVENTORY, root.inventory))
        if isinstance(root, Manifest):
            named.append((Kind.WAL, root.wal))
        suspects = [Suspect(stored.path, kind, stored) for kind, every in named for stored in every]
        return [healed for suspect in suspects for healed in self.heal(suspect)]

    def _bring(self, path: str, good: bytes) -> None:
        """Put an object where nothing is."""
        store = self.copy.store
        try:
            put_object(store, path, good)
        except ObjectMissing:
            # versitygw 1.7.0 calls a name taken that a delete marker hides (tried 2026-11); S3 itself and moto do not.
            if not isinstance(store, ReplacingStore):
                raise
            store.replace(path, good)

    def _replace(self, path: str, bad: bytes, good: bytes) -> str:
        """Keep the bad bytes, then change the object; return where they lie."""
        store = self.copy.store
        if not isinstance(store, ReplacingStore):
            raise StoreUnfit(f"copy {self.copy.name!r} can not replace an object ({store.url})")
        quarantine = f"{layout.QUARANTINE}/{layout.make_label(self.clock.now(), os.urandom(2))}/{path}"
        put_object(store, quarantine, bad)
        store.replace(path, good)
        return quarantine


def require_whole(repository: Repository, suspect: Suspect, body: bytes) -> None:
    """See that bytes are that object as it was written. Raises one of DAMAGE."""
    path, expected = suspect.path, suspect.expected
    if expected is not None:
        if len(body) != expected.length or hashlib.sha256(body).digest() != expected.sha256:
            raise ObjectCorrupt(f"object {path!r} is not the one its backup was made with")
        return
    if is_document(path):
        check_document(repository, path, body)
        return
    kind = suspect.kind
    if kind is None:
        kind = ObjectHeader.decode(body[: HEADER.size], where=path).kind
        if not (_is_root(path) and kind in ROOT_KINDS):
            raise ObjectCorrupt(f"object {path!r} is a {kind.name}")
    if kind is Kind.AUDIT:
        read_body(repository, path, body)  # else a copy whose keeper holds the repository's key would write the history
        return
    for _ in open_frames(body, address(repository, path, kind), keys=repository.keys.by_id):
        pass


def _is_root(path: str) -> bool:
    name = parse_backup(path)
    return name is not None and name.rest == ROOT

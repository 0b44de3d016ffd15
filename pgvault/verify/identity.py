"""See that a copy holds what a stranger needs before anything else: the repository's identity, and its key documents.

    pgvault.json        of this repository, its HMAC under the key that it names
    keys/<n>            each of this repository, its HMAC under its active key; none that another copy has is missing

Whoever can write to one copy can put back an old series of key documents there; beside another copy that shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from pgvault.errors import ObjectCorrupt, ObjectMissing, RepositoryForeign, WrongKey
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import decode_document, is_authentic
from pgvault.repository.repository import Repository
from pgvault.verify.report import Findings, Suspect

IDENTITY = "identity"


def verify_identity(repository: Repository, copy: Copy, findings: Findings, *, elsewhere: Iterable[str]) -> None:
    """Look at the clear documents of one copy; `elsewhere` names the key documents that other copies have."""
    names = key_documents(copy) | set(elsewhere)
    if not names:
        findings.note(IDENTITY, ObjectMissing(f"copy {copy.name!r} holds no key document"))
    for path in (layout.IDENTITY, *sorted(names)):
        findings.tried(IDENTITY, partial(_look, repository, copy, path), Suspect(path))


def key_documents(copy: Copy) -> set[str]:
    """Return the names of a copy's key documents."""
    return {f"{layout.KEYS}/{name}" for name in copy.store.children(layout.KEYS) if layout.is_number(name)}


def check_document(repository: Repository, path: str, body: bytes) -> None:
    """See that a clear document is one of this repository. Raises ObjectCorrupt, RepositoryForeign, WrongKey."""
    version, key = ("pgvault", "key_id") if path == layout.IDENTITY else ("pgvault_keys", "active")
    document = decode_document(body, version, where=path)
    if document.get("repository_id") != repository.id.hex():
        raise RepositoryForeign(f"{path!r} is of another repository")
    key_id = document.get(key)
    known = repository.keys.by_id.get(key_id) if isinstance(key_id, int) else None
    if known is None:
        raise WrongKey(f"{path!r} is signed with key {key_id!r}, which is not at hand")
    if not is_authentic(document, known, repository.id):
        raise ObjectCorrupt(f"{path!r} was changed after it was written")
    number = document.get("number")
    if isinstance(number, int) and path != layout.key_document(number):
        raise ObjectCorrupt(f"{path!r} was put there anew: it is number {number}")


def _look(repository: Repository, copy: Copy, path: str) -> None:
    check_document(repository, path, copy.store.get(path))

"""What opens a repository: the operator's credential, the repository keys it gives, and what they sign.

    hmac     = HMAC-SHA-256(HKDF(repository key, salt = repository id, "pgvault 1 documents"), document)

Repository keys are random, wrapped in slots (slots.py) in a series of key documents (keydocument.py). Several may be
in use: the *active* one seals what is written, each opens what it sealed. `hmac` is taken over a clear JSON document
without its "hmac", as JSON with sorted keys and no spaces.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, PgvaultError
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository.kms import AwsKms

logger = logging.getLogger(__name__)

RAW = "raw"
PASSPHRASE = "passphrase"  # noqa: S105  the name of a kind
AWS_KMS = "aws-kms"
REST_SECONDS = 60.0  # between two looks for keys that are not at hand


@dataclass(frozen=True, slots=True)
class Credential:
    """What the operator holds: a raw 32-byte key, a passphrase or a key in KMS; opens slots of its own kind."""

    kind: str  # RAW, PASSPHRASE or AWS_KMS
    secret: bytes  # empty with AWS_KMS
    kms: AwsKms | None = None  # with AWS_KMS only
    is_escrow: bool = False  # read from an escrow sheet

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r})"


@dataclass(frozen=True, slots=True)
class OpenedBy:
    """Which slot opened the repository, and whether an escrow sheet did: a drill proves the sheet, too."""

    slot: str
    kind: str
    is_escrow: bool

    def to_json(self) -> dict[str, str | bool]:
        """Return it for machines."""
        return {"slot": self.slot, "kind": self.kind, "is_escrow_sheet": self.is_escrow}


@dataclass(frozen=True, slots=True)
class Keyring:
    """The opened repository keys: `active` seals, all of them open."""

    active: RepositoryKey
    by_id: Mapping[int, RepositoryKey]
    opened_by: OpenedBy | None = field(default=None, compare=False)  # None: the keys were just made


class RefreshedKeys(Mapping[int, RepositoryKey]):
    """Repository keys by id; for one that is not at hand the key documents are read again, at most once a minute.

    Who runs for months meets objects that others sealed after a rotation. May be used from several threads.
    """

    def __init__(
        self,
        known: Mapping[int, RepositoryKey],
        reread: Callable[[], Mapping[int, RepositoryKey]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = dict(known)
        self._reread = reread
        self._monotonic = monotonic
        self._lock = Lock()
        self._rests_until = 0.0

    def __getitem__(self, key_id: int) -> RepositoryKey:
        with self._lock:
            if key_id not in self._known and self._monotonic() >= self._rests_until:
                self._rests_until = self._monotonic() + REST_SECONDS
                try:
                    self._known |= self._reread()
                except PgvaultError as error:
                    logger.warning("key %d is not at hand, and the key documents can not be read: %s", key_id, error)
            return self._known[key_id]

    def __iter__(self) -> Iterator[int]:
        return iter(dict(self._known))

    def __len__(self) -> int:
        return len(self._known)


def document_hmac(document: Mapping[str, Any], key: RepositoryKey, repository_id: bytes) -> str:
    """Return the hex HMAC of a JSON document, its own "hmac" left out."""
    body = {name: value for name, value in document.items() if name != "hmac"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    secret = key.derive("pgvault 1 documents", salt=repository_id)
    return hmac.digest(secret, text, "sha256").hex()


def is_authentic(document: Mapping[str, Any], key: RepositoryKey, repository_id: bytes) -> bool:
    """Tell whether a JSON document holds its own HMAC under that key."""
    recorded = document.get("hmac")
    if not isinstance(recorded, str) or not recorded.isascii():
        return False
    return hmac.compare_digest(recorded, document_hmac(document, key, repository_id))


def encode_document(document: Mapping[str, Any]) -> bytes:
    """Return a clear JSON document as it is stored."""
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def decode_document(raw: bytes, version_field: str, *, where: str) -> dict[str, Any]:
    """Read a clear JSON document whose `version_field` says 1. Raises ObjectCorrupt, FormatUnsupported."""
    try:
        document = json.loads(raw)
    except (RecursionError, ValueError) as error:
        raise ObjectCorrupt(f"{where!r} is not JSON") from error
    if not isinstance(document, dict) or version_field not in document:
        raise ObjectCorrupt(f"{where!r} is not a document of pgvault")
    if document[version_field] != 1:
        raise FormatUnsupported(
            f"{where!r} has version {document[version_field]!r}; this pgvault knows 1",
            hint="Use a newer pgvault.",
        )
    return document

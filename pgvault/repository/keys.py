"""The repository key and the slots that wrap it.

    keys/<n> = {"pgvault_keys": 1, "repository_id": hex, "active": key id,
                "keys": [{"id": 1, "slots": [slot, …]}], "hmac": hex}
    slot     = {"kind": "raw", "wrapped": base64}
             | {"kind": "passphrase", "scrypt": {"salt": base64, "n": 131072, "r": 8, "p": 1}, "wrapped": base64}
    wrapped  = nonce[12] | AES-256-GCM(key encryption key, repository key[32], AAD) | tag[16]
    AAD      = "pgvault 1 slot" | repository id[16] | key id u32
    key encryption key = HKDF-SHA-256(raw key, salt = repository id, info "pgvault 1 raw slot"), or scrypt(passphrase)
    hmac     = HMAC-SHA-256(HKDF(active repository key, salt = repository id, "pgvault 1 documents"), document)

The repository key is random and never stored plain. The document is JSON; `hmac` is taken over the same
document without "hmac", as JSON with sorted keys and no spaces. A new state is a new number, never an edit.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pgvault.errors import FormatUnsupported, ObjectCorrupt, WrongKey
from pgvault.pipeline.seal import REPOSITORY_ID_BYTES, RepositoryKey

SCRYPT = {
    "n": 1 << 17,
    "r": 8,
    "p": 1,
}  # 128 MiB, 0.3 s (2026-11): an interactive price, not one per WAL segment
SCRYPT_MEMORY_BYTES = 256 << 20
NONCE_BYTES = 12
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Credential:
    """What the operator holds: a raw 32-byte key or a passphrase; opens slots of its own kind."""

    kind: str  # "raw" or "passphrase"
    secret: bytes

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r})"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The opened repository keys: `active` seals, all of them open."""

    active: RepositoryKey
    by_id: Mapping[int, RepositoryKey]


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


def make_key_document(repository_id: bytes, credential: Credential) -> tuple[bytes, Keyring]:
    """Make a new random repository key with one slot; return keys/1 as bytes, and the opened ring."""
    key = RepositoryKey(1, os.urandom(KEY_BYTES))
    document: dict[str, Any] = {
        "pgvault_keys": 1,
        "repository_id": repository_id.hex(),
        "active": key.id,
        "keys": [{"id": key.id, "slots": [_wrap(key, credential, repository_id)]}],
    }
    document["hmac"] = document_hmac(document, key, repository_id)
    return encode_document(document), Keyring(key, {key.id: key})


def open_key_document(raw: bytes, credential: Credential, *, where: str) -> tuple[bytes, Keyring]:
    """Return (repository id, opened ring). Raises WrongKey, ObjectCorrupt, FormatUnsupported."""
    document = decode_document(raw, "pgvault_keys", where=where)
    try:
        repository_id = _read_id(document["repository_id"])
        keys = [_open_slots(entry, credential, repository_id) for entry in document["keys"]]
        opened = {key.id: key for key in keys if key is not None}
        active = int(document["active"])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"key document {where!r} is malformed") from error
    if active not in opened:
        raise WrongKey(
            f"the key does not open the repository: no slot of {where!r} accepts it",
            hint="Is this the key that pgvault init was given for this repository? See your escrow sheet.",
        )
    if not is_authentic(document, opened[active], repository_id):
        raise ObjectCorrupt(f"key document {where!r} was changed after it was written")
    return repository_id, Keyring(opened[active], opened)


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


def _read_id(text: str) -> bytes:
    repository_id = bytes.fromhex(text)
    if len(repository_id) != REPOSITORY_ID_BYTES:
        raise ValueError(f"a repository id has {REPOSITORY_ID_BYTES} bytes")
    return repository_id


def _aad(repository_id: bytes, key_id: int) -> bytes:
    return b"pgvault 1 slot" + repository_id + key_id.to_bytes(4, "big")


def _wrap(key: RepositoryKey, credential: Credential, repository_id: bytes) -> dict[str, Any]:
    slot: dict[str, Any] = {"kind": credential.kind}
    if credential.kind == "passphrase":
        slot["scrypt"] = {"salt": base64.b64encode(os.urandom(16)).decode(), **SCRYPT}
    nonce = os.urandom(NONCE_BYTES)
    kek = AESGCM(_key_encryption_key(slot, credential, repository_id))
    wrapped = nonce + kek.encrypt(nonce, key.secret, _aad(repository_id, key.id))
    return slot | {"wrapped": base64.b64encode(wrapped).decode()}


def _open_slots(entry: Mapping[str, Any], credential: Credential, repository_id: bytes) -> RepositoryKey | None:
    key_id = int(entry["id"])
    for slot in entry["slots"]:
        if slot["kind"] != credential.kind:
            continue
        wrapped = base64.b64decode(slot["wrapped"], validate=True)
        kek = AESGCM(_key_encryption_key(slot, credential, repository_id))
        try:
            secret = kek.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _aad(repository_id, key_id))
        except InvalidTag:
            continue
        if len(secret) != KEY_BYTES:
            raise ValueError(f"repository key {key_id} has {len(secret)} bytes")
        return RepositoryKey(key_id, secret)
    return None


def _key_encryption_key(slot: Mapping[str, Any], credential: Credential, repository_id: bytes) -> bytes:
    if slot["kind"] == "raw":
        return RepositoryKey(0, credential.secret).derive("pgvault 1 raw slot", salt=repository_id)
    cost = slot["scrypt"]
    salt = base64.b64decode(cost["salt"], validate=True)
    return hashlib.scrypt(
        credential.secret,
        salt=salt,
        n=int(cost["n"]),
        r=int(cost["r"]),
        p=int(cost["p"]),
        maxmem=SCRYPT_MEMORY_BYTES,
        dklen=32,
    )

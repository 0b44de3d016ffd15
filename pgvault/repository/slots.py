"""Slots: one repository key, wrapped once for each who may open it.

    slot       = {"kind": "raw", …, "wrapped": base64}
               | {"kind": "passphrase", …, "scrypt": {"salt": base64, "n": 131072, "r": 8, "p": 1}, "wrapped": base64}
               | {"kind": "aws-kms", …, "key": ARN or alias, "region": text, "wrapped": base64}
               …  "name": text, "created_at": instant           both may lack in documents of earlier versions
    wrapped    = nonce[12] | AES-256-GCM(key encryption key, repository key[32], AAD) | tag[16]
    AAD        = "pgvault 1 slot" | repository id[16] | key id u32
    key encryption key = HKDF-SHA-256(raw key, salt = repository id, info "pgvault 1 raw slot"), or scrypt(passphrase)

Of aws-kms, `wrapped` is what KMS Encrypt gave for the 32 bytes, with repository id and key id as encryption context.
A slot bears the same name in every key that it opens. Slots of kinds that we do not know are passed over.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pgvault.instants import iso
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository.keys import PASSPHRASE, RAW, Credential

Slot = Mapping[str, Any]  # as in the JSON document: fields that we do not know are kept
SCRYPT = {
    "n": 1 << 17,
    "r": 8,
    "p": 1,
}  # 128 MiB, 0.3 s (2026-11): an interactive price, not one per WAL segment
SCRYPT_MEMORY_BYTES = 256 << 20
NONCE_BYTES = 12
KEY_BYTES = 32


def label_slot(name: str, at: datetime | None) -> dict[str, str]:
    """Return what a slot says of itself: what it is called, and when it was made."""
    return {"name": name, **({} if at is None else {"created_at": iso(at)})}


def wrap_key(
    key: RepositoryKey,
    credential: Credential,
    repository_id: bytes,
    *,
    label: Mapping[str, str] | None = None,
    like: Slot | None = None,
) -> dict[str, Any]:
    """Return a new slot in which `credential` opens `key`. Raises KeyUnusable when KMS does not wrap it.

    `label` is what `label_slot` returned. `like` is a slot of the same credential: its salt serves again, so that
    opening both costs one scrypt.
    """
    slot: dict[str, Any] = {"kind": credential.kind, **(label or {})}
    if credential.kms is not None:
        resolved, ciphertext = credential.kms.wrap(key.secret, kms_context(repository_id, key.id))
        region = credential.kms.where
        return slot | {"key": resolved, "region": region, "wrapped": base64.b64encode(ciphertext).decode()}
    if credential.kind == PASSPHRASE:
        fresh = {"salt": base64.b64encode(os.urandom(16)).decode(), **SCRYPT}
        slot["scrypt"] = fresh if like is None else dict(like["scrypt"])
    nonce = os.urandom(NONCE_BYTES)
    kek = AESGCM(_key_encryption_key(slot, credential, repository_id))
    wrapped = nonce + kek.encrypt(nonce, key.secret, _aad(repository_id, key.id))
    return slot | {"wrapped": base64.b64encode(wrapped).decode()}


def open_slot(slot: Slot, credential: Credential, repository_id: bytes, *, key_id: int) -> RepositoryKey | None:
    """Return the repository key in a slot, None when `credential` does not open it.

    Raises KeyUnusable when KMS can not be asked; KeyError, TypeError, ValueError when the slot is malformed.
    """
    if slot["kind"] != credential.kind or (credential.kms and not credential.kms.may_open(str(slot["key"]))):
        return None
    wrapped = base64.b64decode(slot["wrapped"], validate=True)
    secret: bytes | None
    if credential.kms is not None:
        secret = credential.kms.unwrap(wrapped, kms_context(repository_id, key_id))
    else:
        kek = AESGCM(_key_encryption_key(slot, credential, repository_id))
        try:
            secret = kek.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _aad(repository_id, key_id))
        except InvalidTag:
            secret = None
    if secret is None:
        return None
    if len(secret) != KEY_BYTES:
        raise ValueError(f"repository key {key_id} has {len(secret)} bytes")
    return RepositoryKey(key_id, secret)


def kms_context(repository_id: bytes, key_id: int) -> dict[str, str]:
    """Return what KMS binds a wrapped key to."""
    return {"pgvault repository id": repository_id.hex(), "pgvault key id": str(key_id)}


def _aad(repository_id: bytes, key_id: int) -> bytes:
    return b"pgvault 1 slot" + repository_id + key_id.to_bytes(4, "big")


def _key_encryption_key(slot: Slot, credential: Credential, repository_id: bytes) -> bytes:
    if slot["kind"] == RAW:
        return RepositoryKey(0, credential.secret).derive("pgvault 1 raw slot", salt=repository_id)
    cost = slot["scrypt"]
    salt = base64.b64decode(cost["salt"], validate=True)
    return _stretch(credential.secret, salt, int(cost["n"]), int(cost["r"]), int(cost["p"]))


@lru_cache(maxsize=8)  # a repository of several keys has one salt for each passphrase: one price is paid
def _stretch(passphrase: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY_BYTES, dklen=KEY_BYTES)

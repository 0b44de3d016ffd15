"""Key documents: which repository keys there are, which of them seals, and the slots that give them away.

    keys/<n> = {"pgvault_keys": 1, "number": n, "repository_id": hex, "active": key id,
                "keys": [{"id": 1, "created_at": instant, "slots": [slot, …]}, …], "hmac": hex}

A numbered series: a new state is a new number, never an edit, and the highest number counts. `hmac` (keys.py) is under
the active key; "number" keeps an old document from being put again as the newest. Documents of earlier versions lack
"number" and "created_at". Reading one back into its slots needs one credential; making the next one (pgvault.keyring)
keeps slots as they are, since nobody holds the credentials of all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import KeyUnusable, ObjectCorrupt, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.seal import REPOSITORY_ID_BYTES, RepositoryKey
from pgvault.repository import layout
from pgvault.repository.keys import (
    Credential,
    Keyring,
    OpenedBy,
    decode_document,
    document_hmac,
    encode_document,
    is_authentic,
)
from pgvault.repository.slots import KEY_BYTES, label_slot, open_slot, wrap_key

FIRST_KEY = 1


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """One state of the keys, opened and found authentic."""

    repository_id: bytes  # 16
    ring: Keyring
    fields: Mapping[str, Any]  # the document itself

    @property
    def key_ids(self) -> list[int]:
        """The ids of all keys that there are, opened or not."""
        return [int(entry["id"]) for entry in self.fields["keys"]]


def make_key_document(
    repository_id: bytes, credential: Credential, *, at: datetime | None = None
) -> tuple[bytes, Keyring]:
    """Make a new random repository key with one slot; return keys/1 as bytes, and the opened ring."""
    key = RepositoryKey(FIRST_KEY, os.urandom(KEY_BYTES))
    slot = wrap_key(key, credential, repository_id, label=label_slot(f"{credential.kind}-1", at))
    entry = {"id": key.id, **({} if at is None else {"created_at": iso(at)}), "slots": [slot]}
    document = {"pgvault_keys": 1, "repository_id": repository_id.hex(), "active": key.id, "keys": [entry]}
    return sign_key_document(document, key, repository_id, number=1), Keyring(key, {key.id: key})


def sign_key_document(fields: Mapping[str, Any], active: RepositoryKey, repository_id: bytes, *, number: int) -> bytes:
    """Return a key document as stored under `number`, with its HMAC."""
    document = {**fields, "number": number}
    return encode_document(document | {"hmac": document_hmac(document, active, repository_id)})


def open_key_document(raw: bytes, credential: Credential, *, where: str) -> tuple[bytes, Keyring]:
    """Return (repository id, opened ring). Raises WrongKey, KeyUnusable, ObjectCorrupt, FormatUnsupported."""
    document = read_key_document(raw, credential, where=where)
    return document.repository_id, document.ring


def read_key_document(raw: bytes, credential: Credential, *, where: str) -> KeyDocument:
    """Open the key document that lies under the name `where`. Raises as `open_key_document`."""
    document = decode_document(raw, "pgvault_keys", where=where)
    try:
        repository_id = _read_id(document["repository_id"])
        found = [_open_slots(entry, credential, repository_id) for entry in document["keys"]]
        opened = {key.id: key for _, key in filter(None, found)}
        names = {key.id: name for name, key in filter(None, found)}
        active = int(document["active"])
        is_moved = "number" in document and where != layout.key_document(int(document["number"]))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"key document {where!r} is malformed") from error
    if active not in opened:
        raise _wrong_key(opened, active, where)
    if not is_authentic(document, opened[active], repository_id):
        raise ObjectCorrupt(f"key document {where!r} was changed after it was written")
    if is_moved:
        raise ObjectCorrupt(f"key document {where!r} was put there anew: it is number {document['number']}")
    by = OpenedBy(names[active], credential.kind, credential.is_escrow)
    return KeyDocument(repository_id, Keyring(opened[active], opened, by), document)


def named_slots(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the slots of one key with their names; those without are counted by kind: raw-1, passphrase-1."""
    counts: dict[str, int] = {}
    for slot in entry["slots"]:
        kind = str(slot["kind"])
        counts[kind] = counts.get(kind, 0) + 1
        yield str(slot.get("name") or f"{kind}-{counts[kind]}"), slot


def _wrong_key(opened: Mapping[int, RepositoryKey], active: int, where: str) -> WrongKey:
    if opened:
        held = ", ".join(map(str, sorted(opened)))
        return WrongKey(
            f"the key opens repository key {held} in {where!r}, but not {active}, which is active since a rotation",
            hint="Use the key of another slot, or a sheet that was exported later. What is older than the rotation can "
            "be decoded with this one by scripts/unseal.py.",
        )
    return WrongKey(
        f"the key does not open the repository: no slot of {where!r} accepts it",
        hint="Is this the key that pgvault init was given for this repository? See your escrow sheet.",
    )


def _read_id(text: str) -> bytes:
    repository_id = bytes.fromhex(text)
    if len(repository_id) != REPOSITORY_ID_BYTES:
        raise ValueError(f"a repository id has {REPOSITORY_ID_BYTES} bytes")
    return repository_id


def _open_slots(
    entry: Mapping[str, Any], credential: Credential, repository_id: bytes
) -> tuple[str, RepositoryKey] | None:
    """Return the first slot's name that the credential opens, and the key in it."""
    key_id = int(entry["id"])
    unusable: KeyUnusable | None = None
    for name, slot in named_slots(entry):
        try:
            key = open_slot(slot, credential, repository_id, key_id=key_id)
        except KeyUnusable as error:  # KMS denies it, or is silent: another slot may do
            unusable = unusable or error
            continue
        if key is not None:
            return name, key
    if unusable is not None:
        raise unusable
    return None

"""What keys and slots there are, and which copy knows of them: a value, from the newest document of any copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgvault.errors import PgvaultError
from pgvault.keyring.change import opened_by
from pgvault.keyring.documents import SlotSummary, summarize
from pgvault.keyring.state import look
from pgvault.repository import layout
from pgvault.repository.keydocument import read_key_document
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One repository key."""

    id: int
    is_active: bool
    created_at: str | None  # ISO 8601; None in documents of earlier versions


@dataclass(frozen=True, slots=True)
class ListedCopy:
    """What one copy knows."""

    name: str
    newest: int | None  # number of its newest document
    missing: tuple[int, ...]  # numbers that other copies have
    error: PgvaultError | None

    @property
    def newest_path(self) -> str | None:
        """Name of its newest document."""
        return None if self.newest is None else layout.key_document(self.newest)

    @property
    def state(self) -> str:
        """How it is, in words."""
        if self.error is not None:
            return str(self.error)
        return f"lacks {len(self.missing)} documents: pgvault copy brings them" if self.missing else "up to date"


@dataclass(frozen=True, slots=True)
class KeyListing:
    """Keys, slots and copies."""

    keys: tuple[ListedKey, ...]
    slots: tuple[SlotSummary, ...]
    configured: tuple[str, ...]  # the slots that the configured key opens
    copies: tuple[ListedCopy, ...]

    @property
    def active(self) -> int:
        """Id of the key that seals."""
        return next(key.id for key in self.keys if key.is_active)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "keys": [{"id": key.id, "active": key.is_active, "created_at": key.created_at} for key in self.keys],
            "slots": [
                {
                    "name": slot.name,
                    "kind": slot.kind,
                    "created_at": slot.created_at,
                    "keys": list(slot.key_ids),
                    "kms_key": slot.detail or None,
                    "configured": slot.name in self.configured,
                }
                for slot in self.slots
            ],
            "copies": [
                {
                    "name": copy.name,
                    "newest": copy.newest,
                    "missing": list(copy.missing),
                    "error": None if copy.error is None else str(copy.error),
                }
                for copy in self.copies
            ],
        }


def list_keys(repository: Repository, credential: Credential) -> KeyListing:
    """Read the key documents of every copy. Raises WrongKey when the newest of all does not open."""
    seen = look(repository)
    documents = {number: raw for each in seen for number, raw in each.documents.items()}
    newest = max(documents)
    document = read_key_document(documents[newest], credential, where=layout.key_document(newest))
    active = document.ring.active.id
    keys = [ListedKey(int(e["id"]), e["id"] == active, e.get("created_at")) for e in document.fields["keys"]]
    copies = [
        ListedCopy(
            each.copy.name,
            each.newest,
            tuple(sorted(documents.keys() - each.documents.keys())) if each.error is None else (),
            each.error,
        )
        for each in seen
    ]
    configured = tuple(opened_by(document, credential))
    return KeyListing(tuple(keys), tuple(summarize(document)), configured, tuple(copies))

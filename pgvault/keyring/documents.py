"""The next key document from the present one: values in, values out, nothing is asked or stored here.

Slots are kept as they are, fields that we do not know included: nobody holds the credentials of all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import Refused, UsageError
from pgvault.instants import iso
from pgvault.repository.keydocument import KeyDocument, named_slots
from pgvault.repository.slots import Slot

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SlotSummary:
    """A slot as it is shown: one credential, and the repository keys that it opens."""

    name: str
    kind: str
    created_at: str | None  # ISO 8601
    key_ids: tuple[int, ...]
    detail: str  # the KMS key; empty for the others


def summarize(document: KeyDocument) -> list[SlotSummary]:
    """Return the slots by name, in the order in which they came."""
    found: dict[str, list[tuple[int, Slot]]] = {}
    for entry in document.fields["keys"]:
        for name, slot in named_slots(entry):
            found.setdefault(name, []).append((int(entry["id"]), slot))
    return [
        SlotSummary(
            name,
            str(slots[0][1]["kind"]),
            slots[0][1].get("created_at"),
            tuple(key_id for key_id, _ in slots),
            str(slots[-1][1].get("key") or ""),
        )
        for name, slots in found.items()
    ]


def slots_of(document: KeyDocument, key_id: int) -> dict[str, Slot]:
    """Return the slots of one key by name."""
    return {
        name: slot for entry in document.fields["keys"] if entry["id"] == key_id for name, slot in named_slots(entry)
    }


def choose_name(document: KeyDocument, kind: str, wanted: str | None) -> str:
    """Return a name that no slot has. Raises UsageError when `wanted` is taken."""
    taken = {summary.name for summary in summarize(document)}
    if wanted is not None:
        if wanted in taken:
            raise UsageError(f"slot {wanted!r} exists", hint="See: pgvault key list")
        return wanted
    number = 1
    while f"{kind}-{number}" in taken:
        number += 1
    return f"{kind}-{number}"


def with_slots(document: KeyDocument, added: Mapping[int, Slot]) -> Fields:
    """Add one slot to each of some keys, given by key id."""
    entries = [
        {**entry, "slots": [*_slots(entry), *([added[entry["id"]]] if entry["id"] in added else [])]}
        for entry in document.fields["keys"]
    ]
    return {**document.fields, "keys": entries}


def without_slot(document: KeyDocument, name: str, *, in_use: Collection[str]) -> Fields:
    """Remove a slot from every key. Raises UsageError when there is none, Refused when it is needed.

    `in_use` are the slots that the configured key opens.
    """
    names = [summary.name for summary in summarize(document)]
    if name not in names:
        raise UsageError(f"no slot is called {name!r}", hint="There are: " + ", ".join(names))
    if len(names) == 1:
        raise Refused(f"slot {name!r} is the last one: without it nothing opens", hint="Add another one first.")
    if name in in_use:
        raise Refused(
            f"slot {name!r} is the one that the configured key opens",
            hint="Add the new key, name it in the configuration everywhere, then remove this slot.",
        )
    entries = [
        {**entry, "slots": [slot for slot in _slots(entry) if slot["name"] != name]}
        for entry in document.fields["keys"]
    ]
    emptied = [entry["id"] for entry in entries if not entry["slots"]]
    if emptied:
        raise Refused(
            f"slot {name!r} is the last one of repository key {emptied[0]}: what it sealed would never open again",
            hint="Give another credential a slot in every key first: pgvault key add.",
        )
    return {**document.fields, "keys": entries}


def with_key(document: KeyDocument, key_id: int, slots: Collection[Slot], *, at: datetime) -> Fields:
    """Announce a new key: it is known, and does not seal yet."""
    entry = {"id": key_id, "created_at": iso(at), "slots": list(slots)}
    return {**with_slots(document, {}), "keys": [*with_slots(document, {})["keys"], entry]}


def with_active(document: KeyDocument, key_id: int) -> Fields:
    """Let a known key seal from now on."""
    return {**with_slots(document, {}), "active": key_id}


def announced(document: KeyDocument) -> int | None:
    """Return the newest key that was announced and never became active, where our credential opens it."""
    active = document.ring.active.id
    return max((key_id for key_id in document.ring.by_id if key_id > active), default=None)


def _slots(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the slots of a key, each with its name, so that it keeps it when another one goes."""
    return [{**slot, "name": name} for name, slot in named_slots(entry)]

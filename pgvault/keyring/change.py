"""Add and remove slots, rotate the repository key: each a new document in every copy.

A rotation takes two documents. The first announces the new key, and the old one goes on sealing; the second lets the
new one seal, and is written only when every copy has confirmed the first. So whatever is sealed with a key opens in
every copy, wherever the rotation is interrupted; the next one goes on with the key that was announced. Backups and
WAL under older keys stay as they are: each object says by which key it was sealed, and the keys all stay.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgvault.errors import KeyUnusable, Refused, UsageError
from pgvault.keyring.documents import (
    Fields,
    announced,
    choose_name,
    slots_of,
    summarize,
    with_active,
    with_key,
    with_slots,
    without_slot,
)
from pgvault.keyring.state import KeyState, put_everywhere, settle
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository import layout
from pgvault.repository.keydocument import KeyDocument, read_key_document, sign_key_document
from pgvault.repository.keys import AWS_KMS, Credential
from pgvault.repository.kms import AwsKms
from pgvault.repository.repository import Repository
from pgvault.repository.slots import KEY_BYTES, Slot, label_slot, open_slot, wrap_key


@dataclass(frozen=True, slots=True)
class Added:
    """What `add_slot` did."""

    name: str
    key_ids: tuple[int, ...]  # that it opens now
    is_new: bool  # False: the credential had opened all of them before


@dataclass(frozen=True, slots=True)
class RotationOrder:
    """What a rotation needs to know besides the configured credential."""

    others: Sequence[Credential] = ()  # more credentials whose slots are to open the new key, too
    left_behind: Collection[str] = ()  # slots that need not
    kms: AwsKms | None = None  # how KMS is reached where the configuration says it


@dataclass(frozen=True, slots=True)
class Rotated:
    """What `rotate` did."""

    key_id: int  # that seals now
    slots: tuple[str, ...]  # that open it
    left_behind: tuple[str, ...]  # that open older keys only
    was_announced: bool  # by a rotation that was interrupted


def add_slot(
    repository: Repository, credential: Credential, new: Credential, *, name: str | None, now: datetime
) -> Added:
    """Give `new` a slot in every repository key that `credential` opens."""
    state = settle(repository, credential)
    document = state.document
    own = opened_by(document, new)
    had = {key_id for held in own.values() for key_id in held}
    missing = [key for key_id, key in sorted(document.ring.by_id.items()) if key_id not in had]
    if not missing:
        return Added(next(iter(own)), tuple(sorted(had)), is_new=False)
    # A credential that a rotation left behind keeps its name.
    chosen = next(iter(own)) if own and name is None else choose_name(document, new.kind, name)
    label = label_slot(chosen, now)
    like = next((slots_of(document, held[0])[each] for each, held in own.items()), None)
    slots = {missing[0].id: wrap_key(missing[0], new, repository.id, label=label, like=like)}
    for key in missing[1:]:
        slots[key.id] = wrap_key(key, new, repository.id, label=label, like=like or slots[missing[0].id])
    fields = with_slots(document, slots)
    _write(repository, credential, state, fields, so_far="which opens by its older slots alone")
    return Added(chosen, tuple(sorted(had | slots.keys())), is_new=True)


def remove_slot(repository: Repository, credential: Credential, name: str) -> None:
    """Take a slot out of every key; copies of the key documents that somebody made still hold it. Raises Refused."""
    state = settle(repository, credential)
    fields = without_slot(state.document, name, in_use=opened_by(state.document, credential).keys())
    _write(repository, credential, state, fields, so_far="where the slot still opens")


def rotate(repository: Repository, credential: Credential, order: RotationOrder, *, now: datetime) -> Rotated:
    """Make a new repository key and let it seal once every copy has it. Raises Refused when slots would stay behind."""
    state = settle(repository, credential)
    key_id = announced(state.document)
    was_announced = key_id is not None
    if key_id is None:
        key_id = max(state.document.key_ids) + 1
        key = RepositoryKey(key_id, os.urandom(KEY_BYTES))
        slots = _carry(state.document, key, credential, order, now=now)
        fields = with_key(state.document, key_id, slots, at=now)
        state = _write(repository, credential, state, fields, so_far="so the old key stays active")
    fields = with_active(state.document, key_id)
    _write(repository, credential, state, fields, so_far="where the new key opens, and the old one is called active")
    opening = tuple(slots_of(state.document, key_id))
    left = tuple(each.name for each in summarize(state.document) if each.name not in opening)
    return Rotated(key_id, opening, left, was_announced)


def opened_by(document: KeyDocument, credential: Credential) -> dict[str, list[int]]:
    """Return the slots that a credential opens, by name, with the ids of their keys."""
    opened: dict[str, list[int]] = {}
    for summary in summarize(document):
        for key_id in summary.key_ids:
            if _opens(slots_of(document, key_id)[summary.name], credential, document.repository_id, key_id):
                opened.setdefault(summary.name, []).append(key_id)
    return opened


def _opens(slot: Slot, credential: Credential, repository_id: bytes, key_id: int) -> bool:
    try:
        return open_slot(slot, credential, repository_id, key_id=key_id) is not None
    except KeyUnusable:  # a KMS key that is not ours to use
        return False


def _carry(
    document: KeyDocument, key: RepositoryKey, credential: Credential, order: RotationOrder, *, now: datetime
) -> list[Slot]:
    """Wrap the new key for all who open the active one. Raises Refused when that is not possible for one."""
    _refuse_unknown(document, order.left_behind)
    slots: list[Slot] = []
    stranded: list[str] = []
    active = document.ring.active.id
    for name, slot in slots_of(document, active).items():
        holder = _holder(
            slot, (credential, *order.others), order.kms, repository_id=document.repository_id, key_id=active
        )
        if name in order.left_behind and holder is not credential:
            continue
        if holder is None:
            stranded.append(name)
            continue
        slots.append(wrap_key(key, holder, document.repository_id, label=label_slot(name, now), like=slot))
    if stranded:
        raise Refused(
            f"slots {', '.join(stranded)} would not open the new key: their credentials are not at hand",
            hint="Give each with --with file:PATH or passphrase:file:PATH (a sheet is a file, too), or name it with "
            "--leave-behind: it then opens only what is older.",
        )
    return slots


def _holder(
    slot: Slot, credentials: Sequence[Credential], kms: AwsKms | None, *, repository_id: bytes, key_id: int
) -> Credential | None:
    """Return the credential that opens a slot. What KMS wrapped it wraps again, whether or not we may unwrap it."""
    for credential in credentials:
        if _opens(slot, credential, repository_id, key_id):
            return credential
    if slot["kind"] != AWS_KMS:
        return None
    reached = AwsKms(str(slot["key"]), slot.get("region"))
    if kms is not None:
        reached = AwsKms(reached.key, reached.region, kms.endpoint_url, kms.profile, kms.patience)
    return Credential(AWS_KMS, b"", reached)


def _refuse_unknown(document: KeyDocument, names: Collection[str]) -> None:
    known = [summary.name for summary in summarize(document)]
    for name in names:
        if name not in known:
            raise UsageError(f"no slot is called {name!r}", hint="There are: " + ", ".join(known))


def _write(repository: Repository, credential: Credential, state: KeyState, fields: Fields, *, so_far: str) -> KeyState:
    """Sign the next document and put it into every copy; returns the state that it makes."""
    number = state.number + 1
    signer = state.document.ring.by_id[fields["active"]]
    raw = sign_key_document(fields, signer, repository.id, number=number)
    # What does not open again must not be written.
    document = read_key_document(raw, credential, where=layout.key_document(number))
    put_everywhere(repository, number, raw, so_far=so_far)
    return KeyState(number, document)

"""Audit chains: one for each key, without holes, whoever writes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from pgvault.audit.chain import append, entry_at, head_of, next_number, signers
from pgvault.audit.entry import read_entry
from pgvault.audit.signer import PublicKey, SigningKey
from pgvault.errors import KeyUnusable, ObjectCorrupt
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
EVENT = {"what": "backup", "result": "ok"}


def test_entries_are_chained(repository: Repository) -> None:
    """Each names the hash of the one before it; the first names none."""
    key = SigningKey.generate()

    first, second = (append(repository, {**EVENT, "n": n}, key=key, at=AT) for n in range(2))

    assert first.place.previous is None
    assert second.place.previous == first.head.sha256
    assert entry_at(repository, key.public.signer, 1).content == second.content
    assert next_number(repository, key.public.signer) == 2


def test_many_at_once_make_one_chain(repository: Repository) -> None:
    """Whoever loses a number takes the next one: no entry is lost, none is there twice."""
    key = SigningKey.generate()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda n: append(repository, {**EVENT, "n": n}, key=key, at=AT), range(40)))

    entries = [entry_at(repository, key.public.signer, number) for number in range(40)]
    assert {entry.event["n"] for entry in entries} == set(range(40))
    assert all(late.place.previous == early.head.sha256 for early, late in pairwise(entries))


def test_other_chains_are_named(repository: Repository) -> None:
    """An entry says where the chains of other keys ended."""
    one, other = SigningKey.generate(), SigningKey.generate()
    append(repository, EVENT, key=one, at=AT)

    entry = append(repository, EVENT, key=other, at=AT)

    assert entry.place.heads == {one.public.signer: head_of(repository, one.public.signer)}
    assert signers(repository) == sorted([one.public.signer, other.public.signer])


def test_a_changed_byte_is_seen(repository: Repository) -> None:
    """Whatever bit of an entry is changed, it is refused."""
    entry = append(repository, EVENT, key=SigningKey.generate(), at=AT)

    for place in range(0, len(entry.content), 3):
        damaged = bytearray(entry.content)
        damaged[place] ^= 1
        with pytest.raises(ObjectCorrupt):
            read_entry(bytes(damaged), where="here")


def test_keys_are_read_back() -> None:
    """As PEM and as base64, the public half as it is shown."""
    key = SigningKey.generate()

    assert SigningKey.decode(key.encode(), where="here").public == key.public
    assert PublicKey.parse(str(key.public)) == key.public
    with pytest.raises(KeyUnusable):
        SigningKey.decode(b"secret", where="here")


def test_a_lost_answer_leaves_one_entry(repository: Repository, store: MemoryStore) -> None:
    """A put whose answer was lost, and that met its own object when it was repeated, is one entry and no other's."""
    key = SigningKey.generate()
    store.lose_answers = {store.puts + 1}

    entry = append(repository, EVENT, key=key, at=AT)

    assert entry.place.number == 0
    assert next_number(repository, key.public.signer) == 1


def test_a_damaged_end_silences_nobody(repository: Repository, store: MemoryStore) -> None:
    """Behind an end that does not open, or is somebody else's, stands the next entry; it names none before it."""
    key = SigningKey.generate()
    for _ in range(2):
        append(repository, EVENT, key=key, at=AT)
    store.objects[layout.audit_entry(key.public.signer, 1)] = b"anything"

    entry = append(repository, EVENT, key=key, at=AT)

    assert (entry.place.number, entry.place.previous) == (2, None)


def test_foreign_names_do_not_count(repository: Repository, store: MemoryStore) -> None:
    """What lies where no entry of ours could lie leads nobody astray."""
    key = SigningKey.generate()
    append(repository, EVENT, key=key, at=AT)
    chain = layout.audit_chain(key.public.signer)
    for name in ("9/00000700", "00007/00000007", "00009/x", "x/00000001"):
        store.objects[f"{chain}/{name}"] = b""

    assert next_number(repository, key.public.signer) == 1


def test_the_store_is_asked_for_its_time(repository: Repository, store: MemoryStore) -> None:
    """Beside the host's clock stands the store's; one that does not answer is no reason to record nothing."""
    store.at = AT

    assert append(repository, EVENT, key=SigningKey.generate(), at=AT).place.store_at == AT

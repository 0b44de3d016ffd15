"""Repeated puts: ours, or a conflict."""

from __future__ import annotations

import pytest

from pgvault.errors import ObjectExists, StoreUnreachable
from pgvault.pipeline.header import Kind, ObjectHeader
from pgvault.stores.commit import Outcome, put_object
from tests.fakes import MemoryStore


def sealed(nonce: int, body: bytes = b"frames") -> bytes:
    """An object with a header of its own."""
    return ObjectHeader(Kind.PACK, 1, salt=bytes(31) + bytes([nonce]), nonce=bytes(16)).encode() + body


def test_a_lost_answer_is_a_success() -> None:
    """A store that stored and then found its own object: ours, for sealed and plain objects."""
    store = MemoryStore(lose_answers={1, 2})

    assert put_object(store, "packs/1", sealed(1)) is Outcome.OURS
    assert put_object(store, "pgvault.json", b"{}") is Outcome.OURS


def test_a_put_after_an_unknown_end_is_ours() -> None:
    """No retry came through, though the object is there: the caller's next put finds it."""
    store = MemoryStore(die_after_puts={1})

    with pytest.raises(StoreUnreachable):
        put_object(store, "packs/1", sealed(1))

    assert put_object(store, "packs/1", sealed(1)) is Outcome.OURS


def test_a_failed_put_stores_nothing() -> None:
    """The n-th put fails, the others do not."""
    store = MemoryStore(fail_puts={2})
    put_object(store, "packs/1", sealed(1))

    with pytest.raises(StoreUnreachable):
        put_object(store, "packs/2", sealed(2))
    put_object(store, "packs/3", sealed(3))

    assert sorted(store.objects) == ["packs/1", "packs/3"]


def test_a_lost_race_is_a_conflict() -> None:
    """Another header, another length or other plain bytes: not ours, and unchanged."""
    for held, wanted in (
        (sealed(1), sealed(2)),
        (sealed(1), sealed(1, b"more frames")),
        (sealed(1)[:-1], sealed(1)),
        (sealed(1), b"plain"),
        (b"plain", sealed(1)),
        (b"plain", b"plane"),
        (b"", b"plain"),
    ):
        store = MemoryStore()
        store.objects["key"] = held

        with pytest.raises(ObjectExists):
            put_object(store, "key", wanted)

        assert store.objects == {"key": held}


def test_a_big_object_of_ours_is_recognised_by_its_header() -> None:
    """A repeated put of a pack reads 128 bytes, not the pack."""
    store = MemoryStore()
    put_object(store, "packs/1", sealed(1))

    put_object(store, "packs/1", sealed(1))

    assert [verb for verb, _ in store.calls] == ["put", "put", "size", "get_range"]


def test_what_vanished_from_our_way_is_no_conflict() -> None:
    """The object that held the key is deleted before we look: the put is made again."""

    class Vanishing(MemoryStore):
        def size(self, key: str) -> int:
            self.objects.pop(key, None)
            return super().size(key)

    store = Vanishing()
    store.objects["leases/a/1"] = b"old"

    assert put_object(store, "leases/a/1", b"new") is Outcome.CREATED
    assert store.objects == {"leases/a/1": b"new"}

"""What every store keeps, be it memory, a directory or a bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from pgvault.errors import ObjectExists, ObjectMissing, UsageError
from pgvault.stores.base import DatedStore, ObjectEntry, ObjectStore, ReplacingStore
from pgvault.stores.commit import Outcome, put_object
from pgvault.stores.probe import probe_put_if_absent
from tests.fakes import MemoryStore

LABEL = "clusters/db1/backups/20260115T103000Z-f7c2"


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 1024 * 1024 + 1, 17 * 1024 * 1024])
def test_what_was_put_comes_back(store: ObjectStore, size: int) -> None:
    """An object of any size comes back byte for byte, and is as long as it says."""
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    store.put_if_absent("wal/one", body)

    assert store.get("wal/one") == body
    assert store.size("wal/one") == size


def test_names_may_hold_every_permitted_character(store: ObjectStore) -> None:
    """A plus, a dot, a dash, an underscore and case survive the way to the store and back."""
    keys = ["wal/0000000100000000000000A3", "wal/a+b", "wal/a-b", "wal/a.b", "wal/a_b", "wal/A_b"]

    for key in keys:
        store.put_if_absent(key, key.encode())

    assert [store.get(key) for key in keys] == [key.encode() for key in keys]
    assert [entry.key for entry in store.list("wal")] == sorted(keys)


def test_a_taken_key_stays_as_it_is(store: ObjectStore) -> None:
    """The second put of a key fails, of the same body too, and changes nothing."""
    store.put_if_absent("manifest", b"first")

    for body in (b"second", b"first", b""):
        with pytest.raises(ObjectExists):
            store.put_if_absent("manifest", body)

    assert store.get("manifest") == b"first"


def test_an_object_is_replaced_on_request(store: ObjectStore) -> None:
    """As a repair needs it: of another length, or where nothing is; what lies beside stays."""
    store.put_if_absent("packs/1", b"bad bytes")
    store.put_if_absent("packs/2", b"good")
    assert isinstance(store, ReplacingStore)

    store.replace("packs/1", b"the bytes that were written")
    store.replace("packs/3", b"")

    assert [store.get(f"packs/{number}") for number in (1, 2, 3)] == [b"the bytes that were written", b"good", b""]
    assert store.children("packs") == ["1", "2", "3"]


def test_an_empty_object_holds_its_key(store: ObjectStore) -> None:
    """An object without bytes is an object."""
    store.put_if_absent("marks/1", b"")

    with pytest.raises(ObjectExists):
        store.put_if_absent("marks/1", b"x")

    assert store.get("marks/1") == b""
    assert list(store.list("marks")) == [ObjectEntry("marks/1", 0)]


def test_one_of_eight_racing_puts_wins(strict_store: ObjectStore) -> None:
    """Exactly one writer of a key is told so, and the key holds what that one wrote."""
    bodies = [bytes([number]) * 4096 for number in range(8)]
    start = Barrier(len(bodies))

    def put(body: bytes) -> bool:
        start.wait()
        try:
            strict_store.put_if_absent(f"{LABEL}/manifest", body)
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(len(bodies)) as pool:
        won = list(pool.map(put, bodies))

    assert won.count(True) == 1
    assert strict_store.get(f"{LABEL}/manifest") == bodies[won.index(True)]


def test_absence_is_said(store: ObjectStore) -> None:
    """Every read of a key that holds nothing says that it is absent, whatever lies beside or below it."""
    store.put_if_absent("wal/one/x", b"x")

    for key in ("wal/on", "wal/one", "wal/two", "other", "wal/one/x/y"):
        with pytest.raises(ObjectMissing):
            store.get(key)
        with pytest.raises(ObjectMissing):
            store.get_range(key, 0, 8)
        with pytest.raises(ObjectMissing):
            store.get_range(key, 0, 0)
        with pytest.raises(ObjectMissing):
            store.size(key)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (0, 10, b"0123456789"),
        (0, 99, b"0123456789"),
        (8, 5, b"89"),
        (9, 1, b"9"),
        (10, 1, b""),
        (11, 1, b""),
        (5, 0, b""),
    ],
)
def test_a_range_is_short_only_at_the_end(store: ObjectStore, start: int, length: int, expected: bytes) -> None:
    """A range holds the bytes asked for, as far as the object goes."""
    store.put_if_absent("packs/1", b"0123456789")

    assert store.get_range("packs/1", start, length) == expected


def test_a_range_of_an_empty_object_is_empty(store: ObjectStore) -> None:
    """Nothing to read is not absence."""
    store.put_if_absent("packs/1", b"")

    assert store.get_range("packs/1", 0, 10) == b""


def test_a_listing_stays_below_its_prefix(store: ObjectStore) -> None:
    """The neighbour db10 is no part of db1, nor is an object that carries the prefix's own name."""
    for key in ("clusters/db1/a", "clusters/db1/b/c", "clusters/db10/a", "clusters/db1-old/a", "clusters/db1.x"):
        store.put_if_absent(key, b"12345")

    assert list(store.list("clusters/db1")) == [ObjectEntry("clusters/db1/a", 5), ObjectEntry("clusters/db1/b/c", 5)]
    assert store.children("clusters") == ["db1", "db1-old", "db1.x", "db10"]
    assert store.children("clusters/db1") == ["a", "b"]
    assert store.children("") == ["clusters"]
    assert list(store.list("clusters/db")) == []
    assert store.children("clusters/db") == []


def test_a_listing_is_sorted_by_key(store: ObjectStore) -> None:
    """Keys sort as strings: what comes before the slash in ASCII comes before what lies below."""
    keys = ["w/a/1", "w/a-1", "w/a.1", "w/a+1", "w/a0", "w/A/1", "w/a_1", "w/a/0/z", "w/b"]

    for key in keys:
        store.put_if_absent(key, b"")

    assert [entry.key for entry in store.list("w")] == sorted(keys)


def test_deletion_takes_one_object(store: ObjectStore) -> None:
    """Only the named key goes; an absent one is fine; the emptied prefix is no child any more."""
    store.put_if_absent("backups/one/manifest", b"1")
    store.put_if_absent("backups/one/manifest.old", b"2")
    store.put_if_absent("backups/two/manifest", b"3")

    for key in ("backups/two/manifest", "backups/two/manifest", "backups/one", "backups/one/manifest", "never/was"):
        store.delete(key)

    assert [entry.key for entry in store.list("backups")] == ["backups/one/manifest.old"]
    assert store.children("backups") == ["one"]
    with pytest.raises(ObjectMissing):
        store.get("backups/one/manifest")


def test_a_deleted_key_can_be_put_again(store: ObjectStore) -> None:
    """A key whose object is gone is free."""
    store.put_if_absent("probe/x", b"1")
    store.delete("probe/x")

    store.put_if_absent("probe/x", b"2")

    assert store.get("probe/x") == b"2"


BAD_KEYS = (
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    ".",
    "..",
    "a/../b",
    "a/.",
    "a b",
    "a\n",
    "a%20",
    "ä",
    "a\0",
    ".tmp-1",
    "a/.tmp-1",
)


@pytest.mark.parametrize("key", [*BAD_KEYS, "a" * 201, "/".join(["a" * 100] * 9)])
def test_a_malformed_key_is_refused_by_every_verb(store: ObjectStore, key: str) -> None:
    """A name that a file system or a URL would read otherwise never reaches the store."""
    for verb in (store.get, store.size, store.delete, store.list):
        with pytest.raises(UsageError):
            verb(key)
    with pytest.raises(UsageError):
        store.put_if_absent(key, b"")
    with pytest.raises(UsageError):
        store.get_range(key, 0, 1)
    if key:
        with pytest.raises(UsageError):
            store.children(key)


def test_a_put_of_ours_may_be_repeated(store: ObjectStore) -> None:
    """The same object again is ours, another one under the same key is a conflict."""
    assert put_object(store, "pgvault.json", b"{}") is Outcome.CREATED
    assert put_object(store, "pgvault.json", b"{}") is Outcome.OURS

    for other in (b"[]", b"{}\n", b""):
        with pytest.raises(ObjectExists):
            put_object(store, "pgvault.json", other)


def test_the_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    """A store that keeps put-if-absent is found fit."""
    probe_put_if_absent(store, "probe")

    assert list(store.list("probe")) == []


def test_making_the_root_again_changes_nothing(store: ObjectStore) -> None:
    """A second init finds the store as it was."""
    store.put_if_absent("pgvault.json", b"{}")

    store.create_root()

    assert store.get("pgvault.json") == b"{}"


def test_a_store_tells_its_time(store: ObjectStore) -> None:
    """What has a clock of its own tells it, to the second at least."""
    if isinstance(store, MemoryStore):
        store.at = datetime.now(UTC)

    assert isinstance(store, DatedStore)
    at = store.answered_at()

    assert at is not None
    assert abs((datetime.now(UTC) - at).total_seconds()) < 30
    assert store.children("") == []

"""Removing objects where a store keeps older versions, locks some, and denies others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from pgvault.errors import StoreDenied
from pgvault.expire.apply import Policed, expire_cluster
from pgvault.expire.carrying import Report
from pgvault.expire.removing import MOST_DENIED
from pgvault.repository import layout
from pgvault.repository.tombstones import State, read_tombstone
from pgvault.stores.base import ObjectVersion
from tests.archive import SYSTEM
from tests.expire.vaults import DAY, FIRST, HOUR, Vault, label_of, policy, terms
from tests.fakes import MemoryStore

NOW = FIRST + 4 * DAY
LATER = NOW + 5 * HOUR
UNTIL = LATER + 30 * DAY
OLD = label_of(0)
ROOT = layout.manifest("main", OLD)
PACK = layout.pack("main", OLD, 0)


class Bucket(MemoryStore):
    """Every object has a version, some an older one; locked keys keep them, denied keys can not be touched."""

    def __init__(self) -> None:
        super().__init__()
        self.older: set[str] = set()
        self.hidden: set[str] = set()  # under a delete marker
        self.locked: set[str] = set()
        self.denied: set[str] = set()
        self.tells_versions = True

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        if not self.tells_versions:
            raise StoreDenied("versions may not be listed")
        for key in sorted({*self.objects, *self.older, *self.hidden}):
            if key == prefix or key.startswith(f"{prefix}/"):
                if key in self.older:
                    yield ObjectVersion(key, "old", False, False, 5, NOW)
                if key in self.objects:
                    yield ObjectVersion(key, "new", False, key not in self.hidden, len(self.objects[key]), NOW)
                if key in self.hidden:
                    yield ObjectVersion(key, "marker", True, True, 0, NOW)

    def get_version(self, key: str, version: str) -> bytes:
        return self.objects[key]

    def delete_version(self, key: str, version: str) -> None:
        self._note("delete_version", f"{key} {version}")
        if key in self.denied or (key in self.locked and version != "marker"):
            raise StoreDenied(f"{key!r} may not be removed")
        if version == "old":
            self.older.discard(key)
        elif version == "marker":
            self.hidden.discard(key)
        else:
            self.objects.pop(key, None)

    def locked_until(self, key: str, version: str) -> datetime | None:
        return UNTIL if key in self.locked else None

    def delete(self, key: str) -> None:
        if key in self.denied or key in self.locked:
            raise StoreDenied(f"{key!r} may not be removed")
        super().delete(key)


def expire(vault: Vault, at: datetime) -> Report:
    return expire_cluster(vault.repository, Policed("main", policy(), "test@db1"), terms=terms(at))


@pytest.fixture(scope="module")
def marked() -> Vault:
    """Three backups, the oldest of them marked."""
    vault = Vault.make().fill(3)
    expire(vault, NOW)
    return vault


@pytest.fixture
def bucket(marked: Vault) -> Bucket:
    bucket = Bucket()
    bucket.objects |= marked.store.objects
    return bucket


@pytest.fixture
def vault(marked: Vault, bucket: Bucket) -> Vault:
    return marked.on({"primary": bucket})


def test_all_versions_of_a_key_go(vault: Vault, bucket: Bucket) -> None:
    """The older ones first, and what hides a key; else nothing would be won."""
    bucket.older |= {ROOT, PACK}
    bucket.hidden.add(layout.pack("main", OLD, 1))

    report = expire(vault, LATER)

    assert report.removed == [OLD]
    assert not bucket.older
    assert not bucket.hidden
    assert [version for verb, version in bucket.calls if verb == "delete_version" and ROOT in version] == [
        f"{ROOT} old",
        f"{ROOT} new",
    ]
    report.require_done()


def test_without_the_right_to_see_versions_keys_are_removed(vault: Vault, bucket: Bucket) -> None:
    """As far as that goes: older versions stay, as the bucket's owner wants it."""
    bucket.tells_versions = False

    assert expire(vault, LATER).removed == [OLD]


def test_a_locked_root_keeps_the_whole_backup(vault: Vault, bucket: Bucket) -> None:
    """Whole, and to be taken back; it is said until when, and is no error."""
    bucket.locked |= {ROOT, PACK}
    before = {key for key in bucket.objects if OLD in key}

    report = expire(vault, LATER)

    assert report.left == {OLD: f"its root is locked in copy 'primary' until {UNTIL.isoformat()}"}
    assert {key for key in bucket.objects if OLD in key} == before
    stone = read_tombstone(vault.repository, "main", OLD)
    assert stone is not None
    assert stone.state is State.MARKED
    report.require_done()


def test_locked_data_goes_when_its_lock_ends(vault: Vault, bucket: Bucket) -> None:
    """Without its root it is nobody's; what is not locked goes at once."""
    bucket.locked.add(PACK)

    report = expire(vault, LATER)

    assert list(report.locks()) == [f"copy 'primary': 1 object is locked until {UNTIL.isoformat()}"]
    assert report.left == {OLD: "some of its objects could not be removed from copy 'primary'"}
    assert PACK in bucket.objects
    assert ROOT not in bucket.objects
    report.require_done()
    bucket.locked.clear()
    last = expire(vault, UNTIL)
    assert last.removed == [OLD]
    assert not any(OLD in key for key in bucket.objects)


def test_locked_wal_is_counted_and_no_error(vault: Vault, bucket: Bucket) -> None:
    """Locks are the store's word, and outlive retention."""
    wal = [key for key in bucket.objects if key.startswith(layout.wal("main", SYSTEM))]
    bucket.locked |= set(wal)

    report = expire(vault, LATER)

    assert report.tallies["primary"].locked_count == 3
    assert set(wal) <= set(bucket.objects)
    report.require_done()


def test_a_denied_key_is_named_and_the_others_go(vault: Vault, bucket: Bucket) -> None:
    """And the command ends non-zero; the next one goes on where this one was denied."""
    bucket.denied.add(PACK)

    report = expire(vault, LATER)

    assert report.tallies["primary"].denied == [PACK]
    assert [key for key in bucket.objects if OLD in key and "/packs/" in key] == [PACK]
    assert ROOT not in bucket.objects
    with pytest.raises(StoreDenied, match="1 object was not removed"):
        report.require_done()
    bucket.denied.clear()
    assert expire(vault, LATER).removed == [OLD]


def test_a_denied_root_keeps_its_data(vault: Vault, bucket: Bucket) -> None:
    """What is listed must be whole."""
    bucket.denied.add(ROOT)

    report = expire(vault, LATER)

    vault.require_whole()
    assert len(vault.labels()) == 3
    with pytest.raises(StoreDenied):
        report.require_done()


def test_where_all_is_denied_it_is_not_tried_for_ever(vault: Vault, bucket: Bucket) -> None:
    """A role that may not remove anything, and thousands of keys."""
    packs = [layout.pack("main", OLD, number) for number in range(10, 300)]
    bucket.objects |= dict.fromkeys(packs, b"x")
    bucket.denied |= set(packs)

    expire(vault, LATER)

    tried = [key for verb, key in bucket.calls if verb == "delete_version" and any(pack in key for pack in packs)]
    assert MOST_DENIED <= len(tried) < 2 * MOST_DENIED

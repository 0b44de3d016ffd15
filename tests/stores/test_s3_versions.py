"""Versions and locks, on every S3 server that has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.errors import ObjectMissing, StoreDenied, StoreUnfit
from pgvault.stores.base import Guards, LockingStore, LockMode, ObjectLock, VersionedStore
from tests.s3servers import OWNER, S3Server, Versitygw
from tests.stores.conftest import make_store

KEY = "clusters/main/backups/b/manifest"
OTHER = "clusters/main/backups/b/manifest.d/x"
DAY = timedelta(days=1)


def is_real(server: S3Server) -> bool:
    """Whether the server is versitygw, not moto."""
    return server.credentials == OWNER


def put_over(server: S3Server, url: str, key: str, body: bytes) -> None:
    """Put other bytes under a key, as somebody with stolen rights might."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    server.client().put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=body)


def test_older_versions_are_kept_and_listed(s3_server: S3Server) -> None:
    """What was put over, or deleted, is still there: oldest first, with the delete marker last and latest."""
    store = make_store(s3_server, is_versioned=True)
    store.put_if_absent(KEY, b"yesterday")
    put_over(s3_server, store.url, KEY, b"today!")
    store.delete(KEY)

    found = list(store.versions(KEY))

    assert isinstance(store, VersionedStore)
    assert [(version.key, version.size) for version in found] == [(KEY, 9), (KEY, 6), (KEY, 0)]
    assert [version.is_delete_marker for version in found] == [False, False, True]
    assert [version.is_latest for version in found] == [False, False, True]
    assert [store.get_version(KEY, version.id) for version in found[:2]] == [b"yesterday", b"today!"]
    assert datetime.now(UTC) - found[0].at < DAY
    with pytest.raises(ObjectMissing):
        store.get(KEY)
    with pytest.raises(ObjectMissing):
        store.get_version(KEY, found[2].id)


def test_a_key_and_what_lies_under_it_are_listed(s3_server: S3Server) -> None:
    """The neighbours db10 and db1-old have no part in db1, on however many pages they stand."""
    store = make_store(s3_server, is_versioned=True)
    keys = ["db1-old/a", "db1-old/b", "db1.x", "db1/a", "db1/b/c", "db10/a"]
    for key in keys:
        store.put_if_absent(key, b"1")
    put_over(s3_server, store.url, "db1/a", b"22")
    put_over(s3_server, store.url, "db1/a", b"333")

    # versitygw gives the first page for ever where a key's versions do not fit on one; it is refused then.
    for page_size in (1000,) if is_real(s3_server) else (1, 2, 1000):
        store.bucket.page_size = page_size
        assert [(version.key, version.size) for version in store.versions("db1")] == [
            ("db1/a", 1),
            ("db1/a", 2),
            ("db1/a", 3),
            ("db1/b/c", 1),
        ]
        assert [version.key for version in store.versions("db1/b/c")] == ["db1/b/c"]
        assert list(store.versions("db")) == []


def test_a_bucket_without_versions_has_one_of_each(s3_server: S3Server) -> None:
    """There the only version is the object, and is called null."""
    store = make_store(s3_server)
    store.put_if_absent(KEY, b"only")

    (version,) = store.versions(KEY)

    assert (version.id, version.is_latest, version.is_delete_marker) == ("null", True, False)
    assert store.get_version(KEY, "null") == b"only"
    assert store.guards() == Guards(is_versioned=False, can_lock=False, needs_mfa=False)
    store.delete_version(KEY, "null")
    assert list(store.versions(KEY)) == []


def test_a_version_can_be_removed_for_ever(s3_server: S3Server) -> None:
    """Removing the newest brings the one before back to every reader; an absent one is fine."""
    store = make_store(s3_server, is_versioned=True)
    store.put_if_absent(KEY, b"yesterday")
    put_over(s3_server, store.url, KEY, b"today")
    old, new = store.versions(KEY)

    store.delete_version(KEY, new.id)
    store.delete_version(KEY, new.id)

    assert store.get(KEY) == b"yesterday"
    assert [version.id for version in store.versions(KEY)] == [old.id]
    with pytest.raises(ObjectMissing):
        store.get_version(KEY, new.id)


@pytest.mark.parametrize("mode", ["governance", "compliance"])
@pytest.mark.parametrize("checksums", ["sha256", "none"])
def test_a_locked_version_outlives_whoever_deletes_it(s3_server: S3Server, mode: LockMode, checksums: str) -> None:
    """Every put is locked for so many days; a delete or another put hides it, and its version stays."""
    store = make_store(s3_server, can_lock=True, lock=ObjectLock(mode, 3), checksums=checksums)
    store.put_if_absent(KEY, b"yesterday")
    put_over(s3_server, store.url, KEY, b"evil")
    store.delete(KEY)
    locked = next(store.versions(KEY))

    with pytest.raises(StoreDenied):
        store.delete_version(KEY, locked.id)

    assert isinstance(store, LockingStore)
    assert store.guards() == Guards(is_versioned=True, can_lock=True, needs_mfa=False)
    assert store.get_version(KEY, locked.id) == b"yesterday"
    until = store.locked_until(KEY, locked.id)
    assert until is not None
    assert 2 * DAY < until - datetime.now(UTC) <= 3 * DAY


def test_short_lived_objects_are_not_locked(versitygw: Versitygw) -> None:
    """A lease that is renewed twice a minute must not stay for a month; nor is what was put without a lock."""
    store = make_store(versitygw.server, can_lock=True, lock=ObjectLock("compliance", 3))
    store.put_if_absent("leases/backup/1", b"x")
    put_over(versitygw.server, store.url, KEY, b"by hand")

    for key in ("leases/backup/1", KEY):
        (version,) = store.versions(key)
        assert store.locked_until(key, version.id) is None
        store.delete_version(key, version.id)
        assert list(store.versions(key)) == []
    with pytest.raises(ObjectMissing):
        store.locked_until("never/was", "null")


def test_a_lock_is_extended_and_never_shortened(s3_server: S3Server) -> None:
    """What an incremental needs stays locked as long as the incremental; an object without a lock gets one."""
    store = make_store(s3_server, can_lock=True, lock=ObjectLock("compliance", 3))
    later = (datetime.now(UTC) + 9 * DAY).replace(microsecond=0)
    store.put_if_absent(KEY, b"x")
    put_over(s3_server, store.url, OTHER, b"y")

    for key in (KEY, OTHER) if is_real(s3_server) else (KEY,):
        assert store.extend_lock(key, later) == later
        assert store.extend_lock(key, later - 5 * DAY) == later
        (version,) = store.versions(key)
        assert store.locked_until(key, version.id) == later
    put_over(s3_server, store.url, KEY, b"evil")
    assert store.extend_lock(KEY, later + DAY, version=next(store.versions(KEY)).id) == later + DAY
    with pytest.raises(ObjectMissing):
        store.extend_lock("never/was", later)


def test_a_bucket_without_locks_is_unfit_for_them(s3_server: S3Server) -> None:
    """A configured lock that the bucket does not know is a clear error of the first put."""
    store = make_store(s3_server, lock=ObjectLock("compliance", 3))

    with pytest.raises(StoreUnfit) as caught:
        store.put_if_absent(KEY, b"x")

    assert "object lock" in (caught.value.hint or "")
    if is_real(s3_server):
        put_over(s3_server, store.url, KEY, b"x")
        with pytest.raises(StoreUnfit):
            store.extend_lock(KEY, datetime.now(UTC) + DAY)

"""What a put carries, copies that the store makes itself, classes of storage and thaws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from pgvault.errors import ConfigInvalid, ObjectExists, ObjectMissing, StoreDenied, StoreUnfit
from pgvault.stores.base import ColdStore, CopyingStore, ObjectLock, StoreLocation
from pgvault.stores.cold import state_of, thaw_time
from pgvault.stores.open import open_store
from pgvault.stores.s3 import S3Store
from tests.fakes import MemoryStore
from tests.s3servers import S3Server, Versitygw
from tests.stores.conftest import BRIEF, STEADY, make_store
from tests.stores.faults import Answer, Change, FaultyServer, Request, error

KEY = "clusters/main/backups/b/packs/1"
BODY = b"sealed" * 1000
SHA256 = hashlib.sha256(BODY).digest()


def test_a_put_carries_what_the_copy_asks_for(faulty_server: FaultyServer, faulty_store: S3Store) -> None:
    """Encryption, class and lock go as plain headers; without checksums none goes, unless a lock needs one."""
    client = faulty_store.bucket.client
    plain = replace(faulty_store.location, checksums="none")
    kept = replace(plain, encryption="aws:kms", encryption_key="alias/backups", storage_class="STANDARD_IA")
    locked = replace(plain, lock=ObjectLock("compliance", 3))
    faulty_server.always(Answer(200, headers={"ETag": '"x"'}), method="PUT")
    for location in (plain, kept, locked, replace(locked, checksums="sha256")):
        S3Store(client, location, patience=STEADY).put_if_absent(KEY, BODY)
    S3Store(client, locked, patience=STEADY).put_if_absent("leases/a/1", BODY)

    bare, encrypted, with_md5, with_sha256, lease = (request.headers for request in faulty_server.requests)

    sums = ("x-amz-checksum-sha256", "x-amz-sdk-checksum-algorithm", "content-md5", "x-amz-trailer")
    lock = ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date")
    assert [name for name in (*sums, *lock) if name in bare or name in lease] == []
    assert encrypted["x-amz-server-side-encryption"] == "aws:kms"
    assert encrypted["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/backups"
    assert encrypted["x-amz-storage-class"] == "STANDARD_IA"
    assert [name for name in (*sums, *lock) if name in with_md5] == ["content-md5", *lock]
    assert [name for name in (*sums, *lock) if name in with_sha256] == [*sums[:2], *lock]
    assert with_md5["x-amz-object-lock-mode"] == "COMPLIANCE"
    assert all("STREAMING" not in request.headers["x-amz-content-sha256"] for request in faulty_server.requests)


def test_the_store_keeps_what_was_asked_for(moto_server: S3Server) -> None:
    """Encryption and class are those of the object afterwards, also of a copy made by the store."""
    options: dict[str, Any] = {"encryption": "aws:kms", "encryption_key": "alias/backups"}
    source, target = make_store(moto_server), make_store(moto_server, storage_class="STANDARD_IA", **options)
    target.put_if_absent("wal/a", BODY)
    source.put_if_absent(KEY, BODY)
    assert target.server_copy(source, KEY, length=len(BODY), sha256=SHA256)

    for key in ("wal/a", KEY):
        head = target.bucket.head(key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/backups")
        assert target.state(key).storage_class == "STANDARD_IA"
    assert [entry.storage_class for entry in target.list("wal")] == ["STANDARD_IA"]


def test_a_class_that_can_not_be_read_is_refused() -> None:
    """What a backup puts it reads back before it commits; cold classes are for later."""
    for name in ("GLACIER", "DEEP_ARCHIVE"):
        with pytest.raises(ConfigInvalid) as caught:
            open_store(StoreLocation("s3://bucket/copy", region="us-east-1", storage_class=name))
        assert "archive_after" in (caught.value.hint or "")


def test_a_copy_within_the_store_is_the_expected_one(s3_server: S3Server) -> None:
    """The store copies between buckets by itself; a key that is taken is not copied over."""
    source, target = make_store(s3_server), make_store(s3_server)
    source.put_if_absent(KEY, BODY)

    assert isinstance(target, CopyingStore)
    assert target.server_copy(source, KEY, length=len(BODY), sha256=SHA256)

    assert target.get(KEY) == BODY
    with pytest.raises(ObjectExists):
        target.server_copy(source, KEY, length=len(BODY), sha256=SHA256)


def test_a_copy_within_the_store_is_locked_as_a_put_is(versitygw: Versitygw) -> None:
    """moto refuses a lock with a copy, as it wants a header that the protocol has only for puts."""
    source = make_store(versitygw.server)
    target = make_store(versitygw.server, can_lock=True, lock=ObjectLock("compliance", 3))
    source.put_if_absent(KEY, BODY)

    assert target.server_copy(source, KEY, length=len(BODY), sha256=SHA256)

    (version,) = target.versions(KEY)
    assert target.locked_until(KEY, version.id) is not None


def test_what_is_not_expected_is_not_copied(s3_server: S3Server) -> None:
    """Another sum or length, an object without the store's own sum, another provider, absence: the caller streams."""
    source, target = make_store(s3_server, checksums="none"), make_store(s3_server)
    source.put_if_absent("wal/nosum", BODY)
    summed = S3Store(source.bucket.client, replace(source.location, checksums="sha256"), patience=BRIEF)
    summed.put_if_absent(KEY, BODY)
    elsewhere = replace(target.location, credentials=("other", "other"))
    other = S3Store(target.bucket.client, elsewhere, patience=BRIEF)

    assert not target.server_copy(summed, KEY, length=len(BODY), sha256=bytes(32))
    assert not target.server_copy(summed, KEY, length=len(BODY) + 1, sha256=SHA256)
    assert not target.server_copy(source, "wal/nosum", length=len(BODY), sha256=SHA256)
    assert not target.server_copy(source, "wal/absent", length=len(BODY), sha256=SHA256)
    assert not target.server_copy(MemoryStore(), KEY, length=len(BODY), sha256=SHA256)
    assert not other.server_copy(summed, KEY, length=len(BODY), sha256=SHA256)
    assert target.children("") == []


@pytest.fixture
def pair(faulty_server: FaultyServer, faulty_store: S3Store) -> tuple[S3Store, S3Store]:
    """Source and target behind the proxy, one object in the source."""
    location = replace(faulty_store.location, url=f"{faulty_store.url}-dr")
    faulty_store.put_if_absent(KEY, BODY)
    return faulty_store, S3Store(faulty_store.bucket.client, location, patience=STEADY)


def copies(fault: Answer | Change) -> Callable[[Request], Answer | Change | None]:
    """Meet only the copy itself with `fault`."""
    return lambda request: fault if "x-amz-copy-source" in request.headers else None


def test_a_copy_with_another_sum_is_removed(faulty_server: FaultyServer, pair: tuple[S3Store, S3Store]) -> None:
    """A store that says of its copy another sum, or none, is not believed, and the copy goes."""
    source, target = pair
    for told in ("", "<ChecksumSHA256>AAAA</ChecksumSHA256>"):
        body = f'<CopyObjectResult><ETag>"x"</ETag>{told}</CopyObjectResult>'
        faulty_server.plan = copies(Answer(200, body.encode()))
        assert not target.server_copy(source, KEY, length=len(BODY), sha256=SHA256)
        assert target.children("") == []


def test_a_copy_that_is_refused_is_streamed(faulty_server: FaultyServer, pair: tuple[S3Store, S3Store]) -> None:
    """No right, no such verb, an error within a success: the caller hears that nothing was copied."""
    source, target = pair
    quick = S3Store(target.bucket.client, target.location, patience=replace(STEADY, deadline_seconds=0.2))
    for fault in (error(403, "AccessDenied"), error(501, "NotImplemented"), error(200, "InternalError")):
        faulty_server.plan = copies(fault)
        assert not quick.server_copy(source, KEY, length=len(BODY), sha256=SHA256)
    assert quick.children("") == []


def test_an_object_moves_to_another_class(moto_server: S3Server) -> None:
    """Once; its bytes stay, and on a versioned bucket the dearer version goes."""
    for is_versioned in (False, True):
        store = make_store(moto_server, is_versioned=is_versioned)
        store.put_if_absent(KEY, BODY)

        assert isinstance(store, ColdStore)
        assert store.transition(KEY, "GLACIER_IR")
        assert not store.transition(KEY, "GLACIER_IR")

        assert store.state(KEY).storage_class == "GLACIER_IR"
        assert store.state(KEY).is_readable
        assert store.get(KEY) == BODY
        assert [version.size for version in store.versions(KEY)] == [len(BODY)]
        with pytest.raises(ObjectMissing):
            store.transition("wal/absent", "GLACIER_IR")


def test_a_locked_object_is_not_moved(s3_server: S3Server) -> None:
    """The locked version would stay where it is, beside the new one."""
    store = make_store(s3_server, can_lock=True, lock=ObjectLock("compliance", 3))
    store.put_if_absent(KEY, BODY)

    with pytest.raises(StoreUnfit, match="locked"):
        store.transition(KEY, "GLACIER_IR")

    assert len(list(store.versions(KEY))) == 1


def test_a_store_of_one_class_says_so(versitygw_store: S3Store) -> None:
    """versitygw refuses the copy onto itself, and the object stays as it is."""
    versitygw_store.put_if_absent(KEY, BODY)

    with pytest.raises(StoreUnfit):
        versitygw_store.transition(KEY, "GLACIER_IR")

    assert versitygw_store.get(KEY) == BODY


def test_a_cold_object_says_that_it_must_be_thawed(moto_server: S3Server) -> None:
    """Reading names the class and how long a thaw takes; thawed, it reads; thawing again changes nothing."""
    store = make_store(moto_server)
    store.put_if_absent(KEY, BODY)
    store.transition(KEY, "DEEP_ARCHIVE")

    for read in (store.get, lambda key: store.get_range(key, 0, 5)):
        with pytest.raises(StoreDenied) as caught:
            read(KEY)
        assert "DEEP_ARCHIVE" in (caught.value.hint or "")
        assert "48 h" in (caught.value.hint or "")
    assert not store.state(KEY).is_readable
    with pytest.raises(StoreUnfit):
        store.transition(KEY, "STANDARD")
    store.thaw(KEY, days=3)
    after = store.thaw(KEY, days=3)

    assert after.is_readable or after.is_thawing
    assert store.get(KEY) == BODY


def test_states_are_read_from_two_headers() -> None:
    """Class and restoration tell whether an object can be read, and until when."""
    assert state_of(None, None).is_readable
    assert state_of("GLACIER_IR", None).is_readable
    frozen = state_of("GLACIER", None)
    thawing = state_of("GLACIER", 'ongoing-request="true"')
    thawed = state_of("GLACIER", 'ongoing-request="false", expiry-date="Fri, 23 Dec 2026 00:00:00 GMT"')

    assert [(each.is_readable, each.is_thawing) for each in (frozen, thawing, thawed)] == [
        (False, False),
        (False, True),
        (True, False),
    ]
    assert thawed.readable_until is not None
    assert thawed.readable_until.isoformat() == "2026-12-23T00:00:00+00:00"


def test_thaw_times_grow_with_the_cold() -> None:
    """Nothing for what is readable; a tier that a class has not is its standard one."""
    times = [thaw_time(name, "Expedited") for name in ("STANDARD", "GLACIER", "DEEP_ARCHIVE")]

    assert times[0] == timedelta(0)
    assert all(one < other for one, other in pairwise(times))

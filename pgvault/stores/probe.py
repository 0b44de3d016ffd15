"""Try whether a store keeps what is promised of it, and does what its copy is configured for.

Some S3-compatible stores accept `If-None-Match: *` and ignore it. Two backups, or two archivers after a
failover, would then overwrite each other without anybody hearing of it. So `init` and `check` try. Others obey it, but
not among writers at the same moment: `probe_race` looks for that, and a store that passes may still be racy.

What is written goes away again, if the credentials may delete; those of a host that may only append may not.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier

from pgvault.errors import ObjectExists, ObjectMissing, PgvaultError, StoreDenied, StoreUnfit
from pgvault.stores.base import LockingStore, ObjectEntry, ObjectStore, SummingStore
from pgvault.stores.commit import put_object

WRITERS = 8
BODY_BYTES = 32


def probe_put_if_absent(store: ObjectStore, prefix: str) -> None:
    """Write a fresh key under `prefix` twice. Raises StoreUnfit unless the second write fails and changes nothing."""
    first = secrets.token_bytes(BODY_BYTES)
    with _object(store, prefix, first) as key:
        try:
            store.put_if_absent(key, secrets.token_bytes(BODY_BYTES))
        except ObjectExists:
            if store.get(key) == first:
                return
        raise StoreUnfit(
            f"store {store.url} overwrites an object that it was told not to",
            hint="A store must obey If-None-Match to be a deciding copy; it may be a further copy.",
        )


def probe_race(store: ObjectStore, prefix: str) -> int:
    """Have several write one fresh key at the same moment, and return how many were told that they won: 1 is right."""
    key = f"{prefix}/{secrets.token_hex(16)}"
    start = Barrier(WRITERS)

    def put(number: int) -> bool:
        start.wait()
        try:
            store.put_if_absent(key, bytes([number]) * BODY_BYTES)
        except ObjectExists:
            return False
        return True

    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(put, range(WRITERS))).count(True)
    finally:
        with suppress(StoreDenied):
            store.delete(key)


def probe_verbs(store: ObjectStore, prefix: str) -> bool:
    """Put, read, read a part, list and delete; whether deleting is allowed. Raises StoreUnfit where one fails."""
    body = secrets.token_bytes(BODY_BYTES)
    with _object(store, prefix, body) as key:
        tried = {
            "sends back what was put": store.get(key) == body and store.size(key) == BODY_BYTES,
            "sends a part of an object": store.get_range(key, 5, 7) == body[5:12],
            "sends the end of an object": store.get_range(key, BODY_BYTES - 3, 99) == body[-3:],
            "lists what was put": ObjectEntry(key, BODY_BYTES) in store.list(prefix),
            "lists names": key.rpartition("/")[2] in store.children(prefix),
        }
        for claim, is_kept in tried.items():
            if not is_kept:
                raise StoreUnfit(f"store {store.url} does not do what is needed: that it {claim}")
        try:
            store.delete(key)
        except StoreDenied:
            return False
        try:
            store.get(key)
        except ObjectMissing:
            return True
        raise StoreUnfit(f"store {store.url} still shows an object that it deleted")


def probe_checksum(store: ObjectStore, prefix: str) -> bool | None:
    """Put bytes under the SHA-256 of others; whether the store noticed. None: puts carry none here."""
    if not isinstance(store, SummingStore):
        return None
    key = f"{prefix}/{secrets.token_hex(16)}"
    try:
        return store.notices_wrong_sum(key, secrets.token_bytes(BODY_BYTES))
    finally:
        with suppress(StoreDenied):
            store.delete(key)


def probe_lock(store: ObjectStore) -> str | None:
    """Return what the bucket has against loss. Raises StoreUnfit where the lock that is configured is not kept."""
    if not isinstance(store, LockingStore):
        return None
    guards = store.guards()
    if store.lock is not None and not (guards.is_versioned and guards.can_lock):
        lacking = "object lock" if guards.is_versioned else "versioning"
        raise StoreUnfit(
            f"objects in {store.url} are to be locked for {store.lock.days} days, and the bucket has no {lacking}",
            hint="Enable versioning and object lock on the bucket, or take object_lock out of the copy.",
        )
    kept = "older versions are kept" if guards.is_versioned else "older versions are not kept"
    lock = "" if store.lock is None else f", each object locked for {store.lock.days} days ({store.lock.mode})"
    return kept + lock + (", MFA delete" if guards.needs_mfa else "")


@contextmanager
def _object(store: ObjectStore, prefix: str, body: bytes) -> Iterator[str]:
    """Put a fresh object and take it away afterwards, if that is allowed; its key."""
    key = f"{prefix}/{secrets.token_hex(16)}"
    put_object(store, key, body)
    try:
        yield key
    except PgvaultError:
        with suppress(PgvaultError):  # the first error is the one to report
            store.delete(key)
        raise
    with suppress(StoreDenied):
        store.delete(key)

"""What a put carries besides the bytes: checksum, the store's own encryption, storage class, lock.

The SHA-256 is a plain header: the SDK's own checksums come as chunked trailers, which many compatible stores
refuse. Some refuse the header as well; for those `checksums: none` leaves it out. A lock needs some sum of the body,
by the protocol, and gets Content-MD5 then: the oldest, known everywhere.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from datetime import datetime, timedelta

from pgvault.stores.base import StoreLocation

Arguments = dict[str, object]


def body_arguments(location: StoreLocation, key: str, body: bytes) -> Arguments:
    """Return what lets the store compare the bytes that arrived."""
    if location.checksums == "sha256":
        checksum = b64encode(hashlib.sha256(body).digest()).decode()
        return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum}
    if location.lock is not None and location.lock.covers(key):
        return {"ContentMD5": b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}
    return {}


def object_arguments(location: StoreLocation, key: str, *, now: datetime) -> Arguments:
    """Return how the store is to keep the object, by a put and by a copy alike."""
    arguments: Arguments = {}
    if location.encryption is not None:
        arguments["ServerSideEncryption"] = location.encryption
    if location.encryption_key is not None:
        arguments["SSEKMSKeyId"] = location.encryption_key
    if location.storage_class is not None:
        arguments["StorageClass"] = location.storage_class
    if location.lock is not None and location.lock.covers(key):
        arguments["ObjectLockMode"] = location.lock.mode.upper()
        arguments["ObjectLockRetainUntilDate"] = now + timedelta(days=location.lock.days)
    return arguments

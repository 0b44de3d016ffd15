"""Copies that a store makes itself, from one prefix or bucket to another, without the bytes passing through here.

They are believed only by the store's own SHA-256, which it has of each object that was put with one: the source's must
be the expected one before anything is copied, and the copy's afterwards. An ETag is no checksum, and a store that
tells none is not asked to copy. CopyObject has no put-if-absent that stores keep (two that were tried ignore
the header), so we look first; whoever copies at the same time copies the same bytes.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import dataclass

from pgvault.errors import ObjectExists, ObjectMissing, StoreDenied, StoreUnfit, StoreUnreachable
from pgvault.stores.retry import Transient
from pgvault.stores.s3bucket import Bucket
from pgvault.stores.s3client import Response
from pgvault.stores.s3options import Arguments
from pgvault.stores.s3versions import delete_version

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the copy must be."""

    length: int  # bytes
    sha256: bytes  # of the whole object
    keeping: Arguments  # how the store is to keep it


def server_copy(source: Bucket, target: Bucket, key: str, expected: Expected) -> bool:
    """Copy an object within the store; whether it is there now with the expected bytes. Raises ObjectExists."""
    checksum = b64encode(expected.sha256).decode()
    try:
        before = source.head(key, ChecksumMode="ENABLED")
        if int(before["ContentLength"]) != expected.length or before.get("ChecksumSHA256") != checksum:
            return False
        if target.lists(key):
            raise ObjectExists(f"object {key!r} exists in {target.url}")
        answer = _copy(source, target, key, before["ETag"], expected)
    except (ObjectMissing, StoreDenied, StoreUnfit, StoreUnreachable) as error:
        # Also where a policy wants If-None-Match of every put. Streaming will tell what is really wrong.
        logger.info("%s is not copied within the store: %s", key, error)
        return False
    if answer["CopyObjectResult"].get("ChecksumSHA256") == checksum and _length(target, key) == expected.length:
        return True
    logger.warning("the store's own copy of %s in %s is not what was expected: removed", key, target.url)
    _remove(target, key, answer.get("VersionId"))
    return False


def _copy(source: Bucket, target: Bucket, key: str, etag: str, expected: Expected) -> Response:
    arguments = {
        **expected.keeping,
        **target.where(key),
        "CopySource": source.where(key),
        "CopySourceIfMatch": etag,
        "ChecksumAlgorithm": "SHA256",
    }

    def copy() -> Response:
        answer = target.client.copy_object(**arguments)
        if not answer.get("CopyObjectResult", {}).get("ETag"):
            raise Transient(StoreUnreachable(f"store {target.url} did not acknowledge the copy of {key!r}"))
        return answer

    return target.request(f"copy {key!r} from {source.url}", copy, moved_bytes=expected.length)


def _length(target: Bucket, key: str) -> int:
    return int(target.head(key)["ContentLength"])


def _remove(target: Bucket, key: str, version: str | None) -> None:
    if version is not None:
        delete_version(target, key, version)
        return
    target.request(f"delete {key!r}", lambda: target.client.delete_object(**target.where(key)))

"""Move objects between classes of storage, and thaw those that can not be read where they lie."""

from __future__ import annotations

from pgvault.errors import PgvaultError, StoreDenied, StoreUnfit, StoreUnreachable
from pgvault.stores.base import StoreLocation
from pgvault.stores.cold import STANDARD, ObjectState, ThawTier, state_of
from pgvault.stores.retry import Transient
from pgvault.stores.s3bucket import Bucket
from pgvault.stores.s3client import Response
from pgvault.stores.s3errors import FOREIGN, code_of, status_of
from pgvault.stores.s3options import object_arguments
from pgvault.stores.s3versions import delete_version

THAWING = "RestoreAlreadyInProgress"


def state(bucket: Bucket, key: str) -> ObjectState:
    """Return in which class an object lies, and whether it can be read now. Raises ObjectMissing."""
    return _state(bucket.head(key))


def _state(answer: Response) -> ObjectState:
    return state_of(answer.get("StorageClass"), answer.get("Restore"))


def transition(bucket: Bucket, location: StoreLocation, key: str, storage_class: str) -> bool:
    """Move an object to another class by a copy onto itself; whether it had to be moved. Raises ObjectMissing.

    On a versioned bucket that makes a new version, and the old one would go on costing what it cost: it is removed.
    """
    before = bucket.head(key)
    now = _state(before)
    if now.storage_class == storage_class:
        return False
    if not now.is_readable:
        raise StoreUnfit(f"object {key!r} in {bucket.url} lies in {now.storage_class} and must be thawed to be moved")
    arguments = {
        **object_arguments(location, key, now=before["LastModified"]),
        **bucket.where(key),
        "CopySource": bucket.where(key),
        "CopySourceIfMatch": before["ETag"],
        "MetadataDirective": "COPY",
        "StorageClass": storage_class,
    }

    def copy() -> Response:
        answer = bucket.client.copy_object(**arguments)
        if not answer.get("CopyObjectResult", {}).get("ETag"):
            raise Transient(StoreUnreachable(f"store {bucket.url} did not acknowledge the move of {key!r}"))
        return answer

    try:
        answer = bucket.request(f"move {key!r} to {storage_class}", copy, moved_bytes=int(before["ContentLength"]))
    except (StoreUnreachable, StoreDenied) as error:
        if status_of(error.__cause__) == 400:
            raise StoreUnfit(f"{error}", hint="This store may know no other class of storage.") from error
        raise
    if storage_class != STANDARD and state(bucket, key).storage_class != storage_class:
        raise StoreUnfit(f"store {bucket.url} took the move of {key!r} to {storage_class} and did not make it")
    old, new = before.get("VersionId"), answer.get("VersionId")
    if old and new and old != new:
        delete_version(bucket, key, old)
    return True


def thaw(bucket: Bucket, key: str, *, days: int, tier: ThawTier) -> ObjectState:
    """Have an object made readable for so many days, and return its state now. Raises ObjectMissing."""
    before = state(bucket, key)
    if before.is_readable or before.is_thawing:
        return before
    request = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
    where = bucket.where(key)

    def restore() -> None:
        try:
            bucket.client.restore_object(**where, RestoreRequest=request)
        except FOREIGN as error:
            if code_of(error) != THAWING:
                raise

    try:
        bucket.request(f"thaw {key!r}", restore)
    except PgvaultError as error:
        if status_of(error.__cause__) == 501:
            raise StoreUnfit(f"{error}", hint="This store does not thaw on request.") from error
        raise
    return state(bucket, key)

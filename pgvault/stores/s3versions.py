"""Older versions of objects, and the locks on them.

A versioned bucket keeps what was put over or deleted. A delete without a version is a *delete marker*: the newest
version, without bytes; readers then see nothing. A lock protects a version and not its key: a plain PUT over a locked
object succeeds, and readers see the new bytes until somebody asks for the version that is locked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from pgvault.errors import ObjectMissing, PgvaultError, StoreUnfit
from pgvault.stores.base import Guards, ObjectVersion
from pgvault.stores.keys import is_key
from pgvault.stores.s3bucket import Bucket
from pgvault.stores.s3client import Response
from pgvault.stores.s3errors import code_of, message_of, status_of

# What S3, and others, call a version that is not there; a HEAD has no body to say it in, and 405 is a delete marker.
ABSENT_CODES = {"404", "NoSuchKey", "NoSuchVersion"}
NOT_LOCKED_CODES = {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"}
NO_LOCKS = re.compile(r"missing object ?lock", re.IGNORECASE)  # the message of a bucket without locks


@dataclass(frozen=True, slots=True)
class Retention:
    """The lock on one version."""

    mode: str  # GOVERNANCE or COMPLIANCE
    until: datetime  # aware UTC


def versions(bucket: Bucket, key: str) -> Iterator[ObjectVersion]:
    """Yield every version of `key`, and of every key under it: by key, oldest first."""
    full = f"{bucket.prefix}{key}"
    kept: list[ObjectVersion] = []  # of the last key so far: its versions may go on in the next page
    for page in _pages(bucket, full):
        kept += _in_page(bucket, page, key)
        kept.sort(key=lambda version: version.key)  # stable: newest first within a key, as S3 lists them
        done = [version for version in kept if version.key != kept[-1].key]
        kept = kept[len(done) :]
        yield from _oldest_first(done)
    yield from _oldest_first(kept)


def _pages(bucket: Bucket, full: str) -> Iterator[Response]:
    """Yield the pages of a listing that hold versions of `full` and of what lies under it, or raise."""
    prefix, marker = full, dict[str, str]()
    while True:
        arguments = {"Bucket": bucket.name, "Prefix": prefix, "MaxKeys": bucket.page_size, **marker}
        page = bucket.listing("list versions", lambda: bucket.client.list_object_versions(**arguments))  # noqa: B023
        yield page
        if not page["IsTruncated"]:
            return
        following = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
        if not following["KeyMarker"] or following == marker:
            raise StoreUnfit(f"store {bucket.url} cuts its listing and does not say how to go on")
        marker = {name: value for name, value in following.items() if value}
        if full < following["KeyMarker"] < f"{full}/":  # neighbours: "db1-old/…" stands before "db1/…"
            prefix, marker = f"{full}/", {}


def _in_page(bucket: Bucket, page: Response, key: str) -> Iterator[ObjectVersion]:
    """Yield the versions of a page that are asked for: those with bytes, then the delete markers."""
    for name in ("Versions", "DeleteMarkers"):
        for entry in page.get(name, ()):
            found = entry["Key"].removeprefix(bucket.prefix)
            if (found == key or found.startswith(f"{key}/")) and is_key(found):
                yield _version(found, entry, is_delete_marker=name == "DeleteMarkers")


def _version(key: str, entry: Mapping[str, Any], *, is_delete_marker: bool) -> ObjectVersion:
    at = entry["LastModified"].astimezone(UTC)
    size = int(entry.get("Size") or 0)
    return ObjectVersion(key, entry["VersionId"], is_delete_marker, bool(entry["IsLatest"]), size, at)


def _oldest_first(found: list[ObjectVersion]) -> Iterator[ObjectVersion]:
    """Turn each key's versions round.

    Stores tell whole seconds at best, so within one the order of the listing counts, and the latest is the last.
    """
    for _, same in groupby(found, key=lambda version: version.key):
        oldest_first = list(same)[::-1]
        oldest_first.sort(key=lambda version: (version.is_latest, version.at.replace(microsecond=0)))
        yield from oldest_first


def get_version(bucket: Bucket, key: str, version: str) -> bytes:
    """Return a whole object as it was in that version. Raises ObjectMissing."""
    bucket.where(key)  # a malformed key is no absence
    try:
        return bucket.persist(
            f"read version {version!r} of {key!r}", lambda: bucket.receive(key, bucket.ask(key, VersionId=version))
        )
    except PgvaultError as error:
        raise _absent(bucket, key, version, error) or error from error.__cause__


def delete_version(bucket: Bucket, key: str, version: str) -> None:
    """Remove one version for ever; an absent one is fine. Raises StoreDenied where a lock or a right forbids it."""
    where = bucket.where(key, version)
    try:
        bucket.request(f"delete version {version!r} of {key!r}", lambda: bucket.client.delete_object(**where))
    except PgvaultError as error:
        if _absent(bucket, key, version, error) is None:
            raise


def guards(bucket: Bucket) -> Guards:
    """Look at what the bucket's owner has set against loss. Raises StoreDenied."""
    versioning = bucket.request(
        "look at the versioning", lambda: bucket.client.get_bucket_versioning(Bucket=bucket.name)
    )
    is_versioned = versioning.get("Status") == "Enabled"
    needs_mfa = versioning.get("MFADelete") == "Enabled"
    try:
        answer = bucket.request(
            "look at the lock", lambda: bucket.client.get_object_lock_configuration(Bucket=bucket.name)
        )
    except PgvaultError as error:
        if not _says_unlocked(error):
            raise
        return Guards(is_versioned, can_lock=False, needs_mfa=needs_mfa)
    enabled = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled")
    return Guards(is_versioned, can_lock=enabled == "Enabled", needs_mfa=needs_mfa)


def retention(bucket: Bucket, key: str, version: str | None) -> Retention | None:
    """Return the lock on a version (None: the current one), if there is one. Raises ObjectMissing.

    A HEAD tells it, unless the right to see locks is missing: then there only seems to be none. So its silence is
    not believed.
    """
    where = bucket.where(key, version)
    try:
        head = bucket.request(f"look at {key!r}", lambda: bucket.client.head_object(**where))
        if head.get("ObjectLockMode") and "ObjectLockRetainUntilDate" in head:
            return Retention(head["ObjectLockMode"], head["ObjectLockRetainUntilDate"].astimezone(UTC))
        answer = bucket.request(f"look at the lock of {key!r}", lambda: bucket.client.get_object_retention(**where))
    except PgvaultError as error:
        absent = _absent(bucket, key, version, error)
        if absent is not None:
            raise absent from error
        if _says_unlocked(error):
            return None
        raise
    found = answer.get("Retention", {})
    if not found.get("Mode") or "RetainUntilDate" not in found:
        return None
    return Retention(found["Mode"], found["RetainUntilDate"].astimezone(UTC))


def extend(bucket: Bucket, key: str, version: str | None, wanted: Retention) -> datetime:
    """Lock a version until then or later, in the mode it has or else the wanted one. Raises ObjectMissing."""
    present = retention(bucket, key, version)
    if present is not None and present.until >= wanted.until:
        return present.until
    lock = {"Mode": wanted.mode if present is None else present.mode, "RetainUntilDate": wanted.until}
    where = bucket.where(key, version)
    bucket.request(f"lock {key!r}", lambda: bucket.client.put_object_retention(**where, Retention=lock))
    return wanted.until


def _absent(bucket: Bucket, key: str, version: str | None, error: PgvaultError) -> ObjectMissing | None:
    """Return the absence that an answer amounts to, or None."""
    cause = error.__cause__
    is_unknown_id = code_of(cause) == "InvalidArgument" and "version id" in message_of(cause).lower()
    if code_of(cause) in ABSENT_CODES or (version is not None and (status_of(cause) == 405 or is_unknown_id)):
        which = "" if version is None else f" version {version!r} of"
        return ObjectMissing(f"{which} object {key!r} is absent in {bucket.url}".lstrip())
    return None


def _says_unlocked(error: PgvaultError) -> bool:
    cause = error.__cause__
    return code_of(cause) in NOT_LOCKED_CODES or NO_LOCKS.search(message_of(cause)) is not None

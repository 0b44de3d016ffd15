"""What a store is: eight verbs on immutable objects, and where one is found.

A store maps keys (`keys`) to bytes. An object appears whole or not at all, by `put_if_absent`, the only
atomic primitive; nothing is ever overwritten. All eight may be called from several threads.

Every verb raises StoreUnreachable (no answer, or none in time, after the store's own retries), StoreDenied
(credentials, rights) and UsageError (a malformed key) besides what it names. Absence is a fact, not the lack
of an answer: ObjectMissing is raised only where the store confirmed it.

What a store does not promise: that bytes it returns are those that were written (objects carry their own
SHA-256), that a listing shows what another host wrote a moment ago, or that times it shows mean anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

Names = list[str]  # `list` is a verb within the protocol
Addressing = Literal["auto", "path", "virtual"]
LockMode = Literal["governance", "compliance"]


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """For how long each object may not be removed, by the store's own rule."""

    mode: LockMode
    days: int


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Where a store is and how to get in; what `open.open_store` needs, without any config."""

    url: str  # file:///path or s3://bucket/prefix
    region: str | None = None
    endpoint_url: str | None = None  # None: Amazon's own
    profile: str | None = None  # of ~/.aws/config
    addressing: Addressing = "auto"  # how a bucket stands in the URL; auto: in the path where endpoint_url is set
    credentials: tuple[str, str] | None = field(default=None, repr=False)  # access key, secret key; None: SDK's chain
    checksums: Literal["sha256", "none"] = "sha256"  # what a put carries for the store to compare; none: nothing
    encryption: Literal["AES256", "aws:kms"] | None = None  # the store's own, beside ours; None: the bucket's default
    encryption_key: str | None = None  # of KMS
    storage_class: str | None = None  # None: the bucket's default
    lock: ObjectLock | None = None


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One line of a listing."""

    key: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One of the versions that a versioned bucket keeps under a key."""

    key: str
    id: str
    is_delete_marker: bool
    is_latest: bool
    size: int  # bytes; 0 for a delete marker
    at: datetime  # the store's clock


class ObjectStore(Protocol):
    """A place for objects. `url` names it in messages and holds no secret."""

    @property
    def url(self) -> str: ...

    def create_root(self) -> None:
        """Make the place itself where the kind of store allows (a directory); only `init` calls this.

        Idempotent. A bucket is never made, only looked for.
        """

    def put_if_absent(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, durable when this returns.

        Raises ObjectExists if the key holds anything, be it this very body: the store repeats a put whose answer
        was lost and then meets its own object. `commit.put_object` tells these apart; prefer it. What holds the
        key is durable then, too. Raises DiskFull, and StoreUnfit where the store can't do it atomically.
        """

    def get(self, key: str) -> bytes:
        """Return a whole object. Raises ObjectMissing."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from offset `start`, fewer only at the object's end. Raises ObjectMissing."""

    def size(self, key: str) -> int:
        """Return an object's length in bytes. Raises ObjectMissing."""

    def children(self, prefix: str) -> Names:
        """Return, sorted, the distinct names one level under `prefix` that are, or lead to, an object.

        The empty prefix is the store's root.
        """

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yield every object under `prefix`, sorted by key, to exhaustion, or raise.

        The prefix may not be empty: nobody means the whole store, and deletions often follow a listing.
        Things that no key could name are passed over.
        """

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is fine. Durable when this returns."""


@runtime_checkable
class VersionedStore(Protocol):
    """What a store offers beyond that where it keeps older versions; every S3 store has the verbs."""

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """Yield every version of the key `prefix`, and of every key under it: by key, oldest first.

        A bucket that was never versioned has one version of each, with the id "null".
        """

    def get_version(self, key: str, version: str) -> bytes:
        """Return a whole object as it was in that version. Raises ObjectMissing."""

    def delete_version(self, key: str, version: str) -> None:
        """Remove one version for ever. Raises StoreDenied where a lock or a right forbids it."""

    def locked_until(self, key: str, version: str) -> datetime | None:
        """Until when the store refuses to remove a version; None: it is not locked. Raises ObjectMissing."""

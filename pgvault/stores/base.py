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

from pgvault.stores.cold import ObjectState, ThawTier

Names = list[str]  # `list` is a verb within the protocol
Addressing = Literal["auto", "path", "virtual"]
LockMode = Literal["governance", "compliance"]


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """For how long each object may not be removed, by the store's own rule."""

    mode: LockMode
    days: int
    free: tuple[str, ...] = ("leases", "notices", "probes")  # what lies below these is of use for days, and not locked

    def covers(self, key: str) -> bool:
        """Whether the object `key` is to be locked."""
        return key.partition("/")[0] not in self.free


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
    storage_class: str | None = field(default=None, compare=False)  # as the store calls it; None: it has but one


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
class ReplacingStore(Protocol):
    """A store that can be told to change an object. For `verify --repair` alone: nothing else is ever overwritten."""

    def replace(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, whatever that holds, durable when this returns; readers see the one or the other.

        Whoever calls has put what is there elsewhere before. Raises DiskFull.
        """


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


@dataclass(frozen=True, slots=True)
class Guards:
    """What a bucket's owner has set against loss."""

    is_versioned: bool
    can_lock: bool  # object lock was enabled
    needs_mfa: bool  # to remove a version


@runtime_checkable
class LockingStore(Protocol):
    """A store that can refuse to remove a version until a moment; every S3 store has the verbs."""

    @property
    def lock(self) -> ObjectLock | None:
        """What each put asks for; None: nothing is locked."""

    def guards(self) -> Guards:
        """Look at the bucket. Raises StoreDenied: looking at these settings is a right of its own."""

    def extend_lock(self, key: str, until: datetime, *, version: str | None = None) -> datetime:
        """Lock a version (None: the current one) until then or later, and return until when it is locked.

        Idempotent: a lock is never shortened. Raises ObjectMissing, StoreDenied, and StoreUnfit where the bucket
        knows no locks.
        """


@runtime_checkable
class SummingStore(Protocol):
    """A store that compares a put with the checksum that comes along."""

    def notices_wrong_sum(self, key: str, body: bytes) -> bool | None:
        """Put `body` under the checksum of other bytes; whether that was refused. None: puts carry no checksum here.

        Only a probe does this, under a key of its own: a store that notices nothing holds `body` then.
        """


@runtime_checkable
class CopyingStore(Protocol):
    """A store that can copy within itself, without the bytes passing through here."""

    def server_copy(self, source: ObjectStore, key: str, *, length: int, sha256: bytes) -> bool:
        """Bring `key` from `source` to here; whether it is here now, with these very bytes.

        False: nothing was changed here, and the caller has to stream. `source` is of another provider, it does
        not hold bytes with that SHA-256 (by the store's own checksum; an ETag is none), or the rights do not suffice.
        Raises ObjectExists if the key holds anything here. Not atomic: two at once may both succeed. So it is
        for a further copy, where everybody brings the bytes that won, and never for the deciding one.
        """


@runtime_checkable
class LinkedStore(Protocol):
    """A store that can be reached by more than one url, and tells."""

    def is_place_of(self, other: ObjectStore) -> bool:
        """Tell whether what is put here is found there. Raises StoreUnreachable."""


@runtime_checkable
class DatedStore(Protocol):
    """A store that tells the time by its own clock; every store of ours does."""

    def answered_at(self) -> datetime | None:
        """Ask it something, and return when it answered, aware UTC; None: it does not tell, or not us.

        To the second, where it tells no more. Raises StoreUnreachable.
        """


@runtime_checkable
class ColdStore(Protocol):
    """A store with classes of storage, some of which must be thawed before they can be read (`cold`)."""

    def state(self, key: str) -> ObjectState:
        """Return in which class an object lies, and whether it can be read now. Raises ObjectMissing."""

    def transition(self, key: str, storage_class: str) -> bool:
        """Move an object to another class, its bytes unchanged; whether it had to be moved.

        Raises ObjectMissing; StoreUnfit where objects are locked, or where the store does not do it.
        """

    def thaw(self, key: str, *, days: int, tier: ThawTier = "Standard") -> ObjectState:
        """Have an object made readable for so many days, and return its state now; it may take hours.

        Idempotent: one that is readable, or thawing already, is left as it is. Raises ObjectMissing.
        """

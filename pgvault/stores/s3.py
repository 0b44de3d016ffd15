"""Objects in an S3 bucket, below a prefix.

    s3://<bucket>/<prefix>/clusters/main/...               key = what follows "<prefix>/"

One PutObject with `If-None-Match: *` and the body's SHA-256 per object (objects stay below 5 GiB, so no
multipart upload can be left behind or half done). A GET is believed only with an ETag and a length that the bytes
agree with; a 403 or a nameless 404 is absence only if a LIST of that very key says so. An ETag is never taken for a
checksum.

    s3client   how a client is made                  s3bucket    requests, retried and within their time
    s3options  what a put carries                    s3versions  older versions and locks
    s3cold     classes of storage                    s3copy      copies that the store makes itself
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pgvault.errors import ObjectMissing, StoreUnfit, StoreUnreachable
from pgvault.instants import Clock, SystemClock
from pgvault.stores import s3cold, s3copy, s3versions
from pgvault.stores.base import Guards, Names, ObjectEntry, ObjectLock, ObjectStore, ObjectVersion, StoreLocation
from pgvault.stores.cold import ObjectState, ThawTier
from pgvault.stores.keys import check_key, is_component, is_key
from pgvault.stores.retry import Patience, Transient
from pgvault.stores.s3bucket import PAGE_SIZE, Bucket
from pgvault.stores.s3client import Client, is_same_provider, open_client, parse_s3_url
from pgvault.stores.s3errors import FOREIGN, status_of
from pgvault.stores.s3options import Arguments, body_arguments, object_arguments

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def open_s3(location: StoreLocation, *, patience: Patience) -> S3Store:
    """Return the store that an s3:// location names. Raises ConfigInvalid."""
    parse_s3_url(location.url)
    return S3Store(open_client(location, patience=patience), location, patience=patience)


class S3Store:
    """The objects of the bucket and below the prefix that a location names; `clock` dates locks."""

    def __init__(
        self,
        client: Client,
        location: StoreLocation,
        *,
        patience: Patience,
        page_size: int = PAGE_SIZE,
        clock: Clock | None = None,
    ) -> None:
        self.bucket = Bucket(client, location, patience=patience, page_size=page_size)
        self.location = location
        self._clock = clock or SystemClock()

    @property
    def url(self) -> str:
        return self.bucket.url

    @property
    def lock(self) -> ObjectLock | None:
        return self.location.lock

    def create_root(self) -> None:
        """Look whether the bucket answers; it is for its owner to make one."""
        self.bucket.page("look at", Prefix=self.bucket.prefix, MaxKeys=1)

    def put_if_absent(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, durable when this returns. Raises ObjectExists."""
        self._put(self.bucket, key, body, {**body_arguments(self.location, key, body), "IfNoneMatch": "*"})

    def replace(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, whatever it holds; a versioned bucket keeps what that was."""
        self._put(self.bucket, key, body, body_arguments(self.location, key, body))

    def _put(self, bucket: Bucket, key: str, body: bytes, saying: Arguments) -> None:
        keeping = object_arguments(self.location, key, now=self._clock.now())
        arguments = {**bucket.where(key), **keeping, **saying}

        def put() -> None:
            answer = bucket.client.put_object(Body=body, ContentLength=len(body), **arguments)
            if not answer.get("ETag"):
                raise Transient(StoreUnreachable(f"store {self.url} did not acknowledge {key!r}"))

        bucket.request(f"put {key!r}", put, moved_bytes=len(body))

    def answered_at(self) -> datetime | None:
        """Return what the header Date of an answer says, to the second; None: there is none that can be read."""
        answer = self.bucket.page("ask for the time", Prefix=self.bucket.prefix, MaxKeys=1)
        said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        try:
            at = parsedate_to_datetime(said)
        except ValueError:
            return None
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

    def get(self, key: str) -> bytes:
        """Return a whole object. Raises ObjectMissing."""
        return self.bucket.read(key, lambda: self.bucket.receive(key, self.bucket.ask(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer only at the object's end. Raises ObjectMissing."""
        if length <= 0:
            self.size(key)
            return b""

        def get() -> bytes:
            try:
                answer = self.bucket.ask(key, Range=f"bytes={start}-{start + length - 1}")
            except FOREIGN as error:
                if status_of(error) == 416:  # begins at or behind the end
                    return b""
                raise
            body = self.bucket.receive(key, answer)
            if "ContentRange" not in answer:  # the whole, as is a server's right
                return body[start : start + length]
            match = CONTENT_RANGE.fullmatch(answer["ContentRange"])
            if match is None or int(match[1]) != start or len(body) != min(length, int(match[3]) - start):
                raise Transient(StoreUnreachable(f"store {self.url} sent another range of {key!r} than asked"))
            return body

        return self.bucket.read(key, get)

    def size(self, key: str) -> int:
        """Return an object's length in bytes. Raises ObjectMissing."""
        return int(self.bucket.head(key)["ContentLength"])

    def children(self, prefix: str) -> Names:
        """Return, sorted, the names one level under `prefix` that are, or lead to, an object."""
        full = f"{self.bucket.prefix}{check_key(prefix)}/" if prefix else self.bucket.prefix
        names: set[str] = set()
        for page in self.bucket.pages(Prefix=full, Delimiter="/"):
            names.update(
                entry["Prefix"].removeprefix(full).removesuffix("/") for entry in page.get("CommonPrefixes", ())
            )
            names.update(entry["Key"].removeprefix(full) for entry in page.get("Contents", ()))
        return sorted(name for name in names if is_component(name))

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yield every object under `prefix`, sorted by key."""
        return self._list(f"{self.bucket.prefix}{check_key(prefix)}/")

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is fine. On a versioned bucket its versions stay, under a delete marker."""
        where = self.bucket.where(key)
        try:
            self.bucket.request(f"delete {key!r}", lambda: self.bucket.client.delete_object(**where))
        except ObjectMissing:
            return

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """Yield every version of the key `prefix`, and of every key under it: by key, oldest first."""
        return s3versions.versions(self.bucket, check_key(prefix))

    def get_version(self, key: str, version: str) -> bytes:
        """Return a whole object as it was in that version. Raises ObjectMissing."""
        return s3versions.get_version(self.bucket, key, version)

    def delete_version(self, key: str, version: str) -> None:
        """Remove one version for ever; an absent one is fine. Raises StoreDenied where a lock or a right forbids it."""
        s3versions.delete_version(self.bucket, key, version)

    def guards(self) -> Guards:
        """Look at what the bucket's owner has set against loss. Raises StoreDenied."""
        return s3versions.guards(self.bucket)

    def locked_until(self, key: str, version: str) -> datetime | None:
        """Until when the store refuses to remove a version; None: it is not locked. Raises ObjectMissing."""
        retention = s3versions.retention(self.bucket, key, version)
        return None if retention is None else retention.until

    def extend_lock(self, key: str, until: datetime, *, version: str | None = None) -> datetime:
        """Lock a version (None: the current one) until then or later, and return until when. Raises ObjectMissing."""
        mode = "COMPLIANCE" if self.location.lock is None else self.location.lock.mode.upper()
        return s3versions.extend(self.bucket, key, version, s3versions.Retention(mode, until))

    def notices_wrong_sum(self, key: str, body: bytes) -> bool | None:
        """Put `body` under the checksum of other bytes; whether that was refused. None: puts carry none here."""
        sums = body_arguments(self.location, key, body + b"\0")
        if not sums:
            return None
        hasty = replace(self.bucket.patience, deadline_seconds=0.0)  # "damaged on the way" is tried again
        bucket = Bucket(self.bucket.client, self.location, patience=hasty, page_size=PAGE_SIZE)
        try:
            self._put(bucket, key, body, {**sums, "IfNoneMatch": "*"})
        except StoreUnreachable as error:
            if status_of(error.__cause__) == 400:
                return True
            raise
        return False

    def server_copy(self, source: ObjectStore, key: str, *, length: int, sha256: bytes) -> bool:
        """Bring `key` from `source` to here within the store; whether it is here now, with these very bytes.

        Raises ObjectExists if the key holds anything here.
        """
        if not isinstance(source, S3Store) or not is_same_provider(source.location, self.location):
            return False
        keeping = object_arguments(self.location, key, now=self._clock.now())
        return s3copy.server_copy(source.bucket, self.bucket, key, s3copy.Expected(length, sha256, keeping))

    def state(self, key: str) -> ObjectState:
        """Return in which class an object lies, and whether it can be read now. Raises ObjectMissing."""
        return s3cold.state(self.bucket, key)

    def transition(self, key: str, storage_class: str) -> bool:
        """Move an object to another class of storage; whether it had to be moved. Raises ObjectMissing, StoreUnfit."""
        if self.lock is not None and self.lock.covers(key):
            raise StoreUnfit(
                f"object {key!r} in {self.url} is locked and can not be moved to {storage_class}",
                hint="A copy would leave the locked version where it is; let a lifecycle rule of the bucket move it.",
            )
        return s3cold.transition(self.bucket, self.location, key, storage_class)

    def thaw(self, key: str, *, days: int, tier: ThawTier = "Standard") -> ObjectState:
        """Have an object made readable for so many days, and return its state now. Raises ObjectMissing."""
        return s3cold.thaw(self.bucket, key, days=days, tier=tier)

    def _list(self, full: str) -> Iterator[ObjectEntry]:
        last = ""
        for page in self.bucket.pages(Prefix=full):
            for entry in page.get("Contents", ()):
                # Also what stops a server that gives the first page again and again.
                if not last < entry["Key"] or not entry["Key"].startswith(full):
                    raise StoreUnfit(f"store {self.url} lists its keys out of order")
                last = entry["Key"]
                key = last.removeprefix(self.bucket.prefix)
                if is_key(key):
                    yield ObjectEntry(key, int(entry["Size"]), entry.get("StorageClass"))

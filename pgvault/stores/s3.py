"""Objects in an S3 bucket, below a prefix.

    s3://<bucket>/<prefix>/clusters/main/...               key = what follows "<prefix>/"

One PutObject with `If-None-Match: *` and the body's SHA-256 per object (objects stay below 5 GiB, so no
multipart upload can be left behind or half done). The SHA-256 is a plain header: the SDK's own checksums
come as chunked trailers, which many compatible stores refuse.

A GET is believed only with an ETag and a length that the bytes agree with; a 403 or a nameless 404 is absence
only if a LIST of that very key says so. An ETag is never taken for a checksum.
"""

from __future__ import annotations

import hashlib
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from pgvault.errors import ConfigInvalid, ObjectMissing, StoreDenied, StoreUnfit, StoreUnreachable
from pgvault.stores.base import Names, ObjectEntry, StoreLocation
from pgvault.stores.keys import check_key, is_component, is_key
from pgvault.stores.retry import Overdue, Patience, Transient, within
from pgvault.stores.s3errors import FOREIGN, classify, status_of

if TYPE_CHECKING:
    from botocore.response import StreamingBody

logger = logging.getLogger(__name__)

T = TypeVar("T")
Response = Mapping[str, Any]  # as botocore parsed it
PAGE_SIZE = 1000  # keys; the most that S3 gives
CONNECTIONS = 32
S3_URL = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(?P<prefix>[^\x00-\x1f\x7f]*))?")
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Client(Protocol):
    """What we use of boto3's client."""

    def put_object(self, **arguments: object) -> Response: ...
    def get_object(self, **arguments: object) -> Response: ...
    def head_object(self, **arguments: object) -> Response: ...
    def delete_object(self, **arguments: object) -> Response: ...
    def list_objects_v2(self, **arguments: object) -> Response: ...


def open_s3(location: StoreLocation, *, patience: Patience) -> S3Store:
    """Return the store that an s3:// location names. Raises ConfigInvalid."""
    bucket, prefix = parse_s3_url(location.url)
    access_key, secret_key = location.credentials or (None, None)
    try:
        session = boto3.session.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=location.region,
            profile_name=location.profile,
        )
        client = session.client(
            "s3",
            endpoint_url=location.endpoint_url,
            config=Config(
                connect_timeout=patience.connect_seconds,
                read_timeout=patience.read_seconds,
                retries={"total_max_attempts": 1},  # `retry` does it
                max_pool_connections=CONNECTIONS,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": location.addressing},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigInvalid(f"store {location.url} can't be opened: {error}") from error
    # The stubs know each argument by name; we pass them on as dictionaries.
    return S3Store(cast("Client", client), bucket, prefix, patience=patience)


def parse_s3_url(url: str) -> tuple[str, str]:
    """Return bucket and prefix (without slashes around it, maybe empty). Raises ConfigInvalid."""
    match = S3_URL.fullmatch(url)
    prefix = ((match["prefix"] if match else None) or "").removesuffix("/")
    if match is None or (prefix and any(part in ("", ".", "..") for part in prefix.split("/"))):
        raise ConfigInvalid(f"not the url of a bucket: {url!r}", hint="Write s3://bucket/prefix.")
    return match["bucket"], prefix


class S3Store:
    """The objects of `bucket` below `prefix`."""

    def __init__(
        self, client: Client, bucket: str, prefix: str, *, patience: Patience, page_size: int = PAGE_SIZE
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._patience = patience
        self._page_size = page_size

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".removesuffix("/")

    def create_root(self) -> None:
        """Look whether the bucket answers; it is for its owner to make one."""
        self._page("look at", Prefix=self._prefix, MaxKeys=1)

    def put_if_absent(self, key: str, body: bytes) -> None:
        """Store `body` under `key`, durable when this returns. Raises ObjectExists."""
        where = self._where(key)
        checksum = b64encode(hashlib.sha256(body).digest()).decode()

        def put() -> None:
            answer = self._client.put_object(
                **where,
                Body=body,
                ContentLength=len(body),
                ChecksumSHA256=checksum,
                IfNoneMatch="*",
            )
            if not answer.get("ETag"):
                raise Transient(StoreUnreachable(f"store {self.url} did not acknowledge {key!r}"))

        self._request(f"put {key!r}", put, moved_bytes=len(body))

    def get(self, key: str) -> bytes:
        """Return a whole object. Raises ObjectMissing."""

        def get() -> bytes:
            return self._receive(key, self._ask(key))

        return self._read(key, get)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer only at the object's end. Raises ObjectMissing."""
        if length <= 0:
            self.size(key)
            return b""

        def get() -> bytes:
            try:
                answer = self._ask(key, Range=f"bytes={start}-{start + length - 1}")
            except FOREIGN as error:
                if status_of(error) == 416:  # begins at or behind the end
                    return b""
                raise
            body = self._receive(key, answer)
            if "ContentRange" not in answer:  # the whole, as is a server's right
                return body[start : start + length]
            match = CONTENT_RANGE.fullmatch(answer["ContentRange"])
            if match is None or int(match[1]) != start or len(body) != min(length, int(match[3]) - start):
                raise Transient(StoreUnreachable(f"store {self.url} sent another range of {key!r} than asked"))
            return body

        return self._read(key, get)

    def size(self, key: str) -> int:
        """Return an object's length in bytes. Raises ObjectMissing."""

        def head() -> int:
            answer = within(self._patience.limit_seconds(0), lambda: self._client.head_object(**self._where(key)))
            if not answer.get("ETag"):
                raise Transient(StoreUnreachable(f"store {self.url} gave no proper answer about {key!r}"))
            return int(answer["ContentLength"])

        return self._read(key, head)

    def children(self, prefix: str) -> Names:
        """Return, sorted, the names one level under `prefix` that are, or lead to, an object."""
        full = f"{self._prefix}{check_key(prefix)}/" if prefix else self._prefix
        names: set[str] = set()
        for page in self._pages(Prefix=full, Delimiter="/"):
            names.update(
                entry["Prefix"].removeprefix(full).removesuffix("/") for entry in page.get("CommonPrefixes", ())
            )
            names.update(entry["Key"].removeprefix(full) for entry in page.get("Contents", ()))
        return sorted(name for name in names if is_component(name))

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yield every object under `prefix`, sorted by key."""
        return self._list(f"{self._prefix}{check_key(prefix)}/")

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is fine."""
        where = self._where(key)
        try:
            self._request(f"delete {key!r}", lambda: self._client.delete_object(**where))
        except ObjectMissing:
            return

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{check_key(key)}"}

    def _list(self, full: str) -> Iterator[ObjectEntry]:
        last = ""
        for page in self._pages(Prefix=full):
            for entry in page.get("Contents", ()):
                # Also what stops a server that gives the first page again and again.
                if not last < entry["Key"] or not entry["Key"].startswith(full):
                    raise StoreUnfit(f"store {self.url} lists its keys out of order")
                last = entry["Key"]
                key = last.removeprefix(self._prefix)
                if is_key(key):
                    yield ObjectEntry(key, int(entry["Size"]))

    def _pages(self, **arguments: object) -> Iterator[Response]:
        """Yield the pages of a listing to the last, or raise."""
        seen: set[str] = set()
        page = self._page("list", MaxKeys=self._page_size, **arguments)
        yield page
        while page["IsTruncated"]:
            token = page.get("NextContinuationToken")
            if not token or token in seen:
                raise StoreUnfit(f"store {self.url} cuts its listing and does not say how to go on")
            seen.add(token)
            page = self._page("list", MaxKeys=self._page_size, ContinuationToken=token, **arguments)
            yield page

    def _page(self, doing: str, **arguments: object) -> Response:
        def list_once() -> Response:
            page = self._client.list_objects_v2(Bucket=self._bucket, **arguments)
            if "IsTruncated" not in page:  # some page of a proxy parses as an empty listing
                raise Transient(StoreUnreachable(f"store {self.url} answered a listing with something else"))
            return page

        return self._request(doing, list_once)

    def _ask(self, key: str, **arguments: object) -> Response:
        """Begin a GET; the body is still to be received."""
        return within(
            self._patience.limit_seconds(0),
            lambda: self._client.get_object(**self._where(key), **arguments),
            discard=lambda answer: answer["Body"].close(),
        )

    def _receive(self, key: str, answer: Response) -> bytes:
        """Return the body of a GET, of exactly the length it was announced with."""
        stream, length = answer["Body"], answer.get("ContentLength")
        if not answer.get("ETag") or length is None:
            stream.close()
            raise Transient(StoreUnreachable(f"store {self.url} gave no proper answer for {key!r}"))
        body = within(self._patience.limit_seconds(length), lambda: drain(stream))
        if len(body) != length:
            raise Transient(StoreUnreachable(f"store {self.url} sent {len(body)} of {length} bytes of {key!r}"))
        return body

    def _read(self, key: str, operation: Callable[[], T]) -> T:
        """Perform a read whose absence must be certain. Raises ObjectMissing."""
        try:
            return self._persist(f"read {key!r}", operation)
        except (StoreDenied, StoreUnreachable) as error:
            # Without the right to list, S3 answers 403 for a key that is absent; and 404 is also what any
            # web server says, or a bucket that is gone. Only a listing tells.
            if status_of(error.__cause__) not in (403, 404):
                raise
            if not self._is_listed(key):
                raise ObjectMissing(f"object {key!r} is absent in {self.url}") from error
        # Listed, so it was put since we asked (somebody waits for it); or it may really not be read.
        return self._persist(f"read {key!r}", operation)

    def _is_listed(self, key: str) -> bool:
        full = self._where(key)["Key"]
        page = self._page(f"look for {key!r}", Prefix=full, MaxKeys=1)
        return any(entry["Key"] == full for entry in page.get("Contents", ()))

    def _request(self, doing: str, operation: Callable[[], T], *, moved_bytes: int = 0) -> T:
        """Perform one request, under the time limit for what it moves."""
        limit = self._patience.limit_seconds(moved_bytes)
        return self._persist(doing, lambda: within(limit, operation))

    def _persist(self, doing: str, operation: Callable[[], T]) -> T:
        """Perform an operation, again while that may help; foreign errors become ours."""

        def attempt() -> T:
            try:
                return operation()
            except FOREIGN as error:
                raise classify(error, f"could not {doing} in {self.url}") from error
            except Overdue as error:
                raise Transient(StoreUnreachable(f"could not {doing} in {self.url}: {error}")) from error

        return self._patience.persist(attempt)


def drain(stream: StreamingBody) -> bytes:
    """Read a body to its end; a connection that failed is closed, not used again."""
    try:
        return stream.read()
    except BaseException:
        stream.close()
        raise

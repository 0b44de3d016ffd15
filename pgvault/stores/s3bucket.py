"""One bucket below a prefix, asked with patience: what every verb of the S3 store is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pgvault.errors import ObjectMissing, StoreDenied, StoreUnfit, StoreUnreachable
from pgvault.stores.base import StoreLocation
from pgvault.stores.keys import check_key
from pgvault.stores.retry import Overdue, Patience, Transient, within
from pgvault.stores.s3client import Client, Response, parse_s3_url
from pgvault.stores.s3errors import FOREIGN, classify, code_of, status_of

if TYPE_CHECKING:
    from botocore.response import StreamingBody

T = TypeVar("T")
PAGE_SIZE = 1000  # keys; the most that S3 gives


class Bucket:
    """The objects of a bucket below a prefix, and how to ask for them."""

    def __init__(self, client: Client, location: StoreLocation, *, patience: Patience, page_size: int) -> None:
        self.client = client
        self.name, prefix = parse_s3_url(location.url)
        self.prefix = f"{prefix}/" if prefix else ""
        self.patience = patience
        self.page_size = page_size

    @property
    def url(self) -> str:
        return f"s3://{self.name}/{self.prefix}".removesuffix("/")

    def where(self, key: str, version: str | None = None) -> dict[str, str]:
        """Return what names an object, or one version of it, in a request. Raises UsageError."""
        where = {"Bucket": self.name, "Key": f"{self.prefix}{check_key(key)}"}
        return where if version is None else {**where, "VersionId": version}

    def request(self, doing: str, operation: Callable[[], T], *, moved_bytes: int = 0) -> T:
        """Perform one request, under the time limit for what it moves; again while that may help."""
        limit = self.patience.limit_seconds(moved_bytes)
        return self.persist(doing, lambda: within(limit, operation))

    def persist(self, doing: str, operation: Callable[[], T]) -> T:
        """Perform an operation, again while that may help; foreign errors become ours."""

        def attempt() -> T:
            try:
                return operation()
            except FOREIGN as error:
                raise classify(error, f"could not {doing} in {self.url}") from error
            except Overdue as error:
                raise Transient(StoreUnreachable(f"could not {doing} in {self.url}: {error}")) from error

        return self.patience.persist(attempt)

    def read(self, key: str, operation: Callable[[], T]) -> T:
        """Perform a read whose absence must be certain. Raises ObjectMissing."""
        try:
            return self.persist(f"read {key!r}", operation)
        except (StoreDenied, StoreUnreachable) as error:
            # Without the right to list, S3 answers 403 for a key that is absent; and 404 is also what any
            # web server says, or a bucket that is gone. Only a listing tells.
            if status_of(error.__cause__) not in (403, 404) or code_of(error.__cause__) == "InvalidObjectState":
                raise
            if not self.lists(key):
                raise ObjectMissing(f"object {key!r} is absent in {self.url}") from error
        # Listed, so it was put since we asked (somebody waits for it); or it may really not be read.
        return self.persist(f"read {key!r}", operation)

    def head(self, key: str, **arguments: object) -> Response:
        """Return what the store says about an object. Raises ObjectMissing."""

        def head() -> Response:
            answer = within(
                self.patience.limit_seconds(0), lambda: self.client.head_object(**self.where(key), **arguments)
            )
            if not answer.get("ETag") or answer.get("ContentLength") is None:
                raise Transient(StoreUnreachable(f"store {self.url} gave no proper answer about {key!r}"))
            return answer

        return self.read(key, head)

    def ask(self, key: str, **arguments: object) -> Response:
        """Begin a GET; the body is still to be received."""
        return within(
            self.patience.limit_seconds(0),
            lambda: self.client.get_object(**self.where(key), **arguments),
            discard=lambda answer: answer["Body"].close(),
        )

    def receive(self, key: str, answer: Response) -> bytes:
        """Return the body of a GET, of exactly the length it was announced with."""
        stream, length = answer["Body"], answer.get("ContentLength")
        if not answer.get("ETag") or length is None:
            stream.close()
            raise Transient(StoreUnreachable(f"store {self.url} gave no proper answer for {key!r}"))
        body = within(self.patience.limit_seconds(length), lambda: drain(stream))
        if len(body) != length:
            raise Transient(StoreUnreachable(f"store {self.url} sent {len(body)} of {length} bytes of {key!r}"))
        return body

    def lists(self, key: str) -> bool:
        """Whether a listing shows an object of exactly that key."""
        full = self.where(key)["Key"]
        page = self.page(f"look for {key!r}", Prefix=full, MaxKeys=1)
        return any(entry["Key"] == full for entry in page.get("Contents", ()))

    def pages(self, **arguments: object) -> Iterator[Response]:
        """Yield the pages of a listing to the last, or raise."""
        seen: set[str] = set()
        page = self.page("list", MaxKeys=self.page_size, **arguments)
        yield page
        while page["IsTruncated"]:
            token = page.get("NextContinuationToken")
            if not token or token in seen:
                raise StoreUnfit(f"store {self.url} cuts its listing and does not say how to go on")
            seen.add(token)
            page = self.page("list", MaxKeys=self.page_size, ContinuationToken=token, **arguments)
            yield page

    def page(self, doing: str, **arguments: object) -> Response:
        """Return one page of a listing."""
        return self.listing(doing, lambda: self.client.list_objects_v2(Bucket=self.name, **arguments))

    def listing(self, doing: str, ask: Callable[[], Response]) -> Response:
        """Return what `ask` lists, which must be a listing."""

        def list_once() -> Response:
            page = ask()
            if "IsTruncated" not in page:  # some page of a proxy parses as an empty listing
                raise Transient(StoreUnreachable(f"store {self.url} answered a listing with something else"))
            return page

        return self.request(doing, list_once)


def drain(stream: StreamingBody) -> bytes:
    """Read a body to its end; a connection that failed is closed, not used again."""
    try:
        return stream.read()
    except BaseException:
        stream.close()
        raise

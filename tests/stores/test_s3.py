"""The S3 store against a server and a network that misbehave."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from pgvault.errors import (
    ConfigInvalid,
    DiskFull,
    ObjectExists,
    ObjectMissing,
    PgvaultError,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
)
from pgvault.stores.base import ObjectStore, StoreLocation
from pgvault.stores.commit import Outcome, put_object
from pgvault.stores.open import open_store
from pgvault.stores.probe import probe_put_if_absent
from pgvault.stores.s3 import parse_s3_url
from tests.stores.conftest import HURRIED, s3_location
from tests.stores.faults import Answer, Change, Fault, FaultyServer, Request, Silence, error

BODY = bytes(range(256)) * 4096
LONGEST_SECONDS = 2 * HURRIED.answer_seconds + 4  # for two attempts, on a loaded machine

TRANSIENT = [
    error(408, "RequestTimeout"),
    error(409, "ConditionalRequestConflict"),
    error(429, "TooManyRequests"),
    error(499, "ClientClosedRequest"),
    error(500, "InternalError"),
    error(502, "BadGateway"),
    error(503, "SlowDown"),
    error(504, "GatewayTimeout"),
    error(400, "BadDigest"),
    error(400, "RequestTimeout"),
    Answer(503),
    Answer(502, b"<html>bad gateway", {"Content-Type": "text/html"}),
    Silence(),
]
FOR_EVER: list[tuple[Fault, type[PgvaultError]]] = [
    (error(409, "ConditionalRequestConflict"), StoreUnreachable),
    (error(429, "TooManyRequests"), StoreUnreachable),
    (error(500, "InternalError"), StoreUnreachable),
    (error(503, "SlowDown"), StoreUnreachable),
    (Answer(500), StoreUnreachable),
    (Silence(), StoreUnreachable),
    (Silence(seconds_per_byte=0.1), StoreUnreachable),
]
PERMANENT: list[tuple[Fault, type[PgvaultError]]] = [
    (error(400, "InvalidRequest"), StoreUnreachable),
    (error(400, "ExpiredToken"), StoreDenied),
    (error(401, "Unauthorized"), StoreDenied),
    (error(403, "AccessDenied"), StoreDenied),
    (error(403, "SignatureDoesNotMatch"), StoreDenied),
    (error(404, "NoSuchBucket"), StoreUnreachable),
    (error(501, "NotImplemented"), StoreUnfit),
    (error(507, "InsufficientStorage"), DiskFull),
]


def name_of(fault: object) -> str | None:
    """What pytest calls a case."""
    if isinstance(fault, Answer):
        code = fault.body.decode().partition("<Code>")[2].partition("</Code>")[0]
        return f"{fault.status}-{code}"
    return type(fault).__name__ if isinstance(fault, Silence) else None


@pytest.mark.parametrize("fault", TRANSIENT, ids=name_of)
def test_a_passing_fault_is_overcome(faulty_server: FaultyServer, faulty_store: ObjectStore, fault: Fault) -> None:
    """One refused put, get or listing is tried again, with the whole body."""
    faulty_server.once(fault, method="PUT")
    assert put_object(faulty_store, "wal/a", BODY) is Outcome.CREATED

    faulty_server.once(fault, method="GET")
    assert faulty_store.get("wal/a") == BODY
    faulty_server.once(fault, method="GET")
    assert faulty_store.get_range("wal/a", 3, 5) == BODY[3:8]
    faulty_server.once(fault, method="GET")
    assert [entry.size for entry in faulty_store.list("wal")] == [len(BODY)]
    faulty_server.once(fault, method="HEAD")
    assert faulty_store.size("wal/a") == len(BODY)
    faulty_server.once(fault, method="DELETE")
    faulty_store.delete("wal/a")
    assert faulty_store.children("") == []


@pytest.mark.parametrize(("fault", "expected"), FOR_EVER, ids=name_of)
def test_a_lasting_fault_ends_within_the_deadline(
    faulty_server: FaultyServer, hurried_store: ObjectStore, fault: Fault, expected: type[PgvaultError]
) -> None:
    """A store that does not recover is tried at least twice and given up in time, never taken for an empty one."""
    for method, verb in (("PUT", put), ("GET", get), ("GET", list_all), ("HEAD", size)):
        faulty_server.always(fault, method=method)
        faulty_server.requests.clear()
        begun = time.monotonic()

        with pytest.raises(expected) as caught:
            verb(hurried_store)

        assert type(caught.value) is expected
        assert len(faulty_server.requests) >= 2
        assert time.monotonic() - begun < LONGEST_SECONDS


@pytest.mark.parametrize(("fault", "expected"), PERMANENT, ids=name_of)
def test_a_refusal_is_not_repeated(
    faulty_server: FaultyServer, faulty_store: ObjectStore, fault: Fault, expected: type[PgvaultError]
) -> None:
    """What will not change within seconds is reported at once."""
    faulty_server.plan = lambda request: fault
    for verb in (put, list_all):
        faulty_server.requests.clear()

        with pytest.raises(expected):
            verb(faulty_store)

        assert len(faulty_server.requests) == 1


def test_a_wrong_clock_is_tried_again_and_named(
    faulty_server: FaultyServer, faulty_store: ObjectStore, hurried_store: ObjectStore
) -> None:
    """RequestTimeTooSkewed is a 403, yet no refusal of rights; lasting, it says what to look at."""
    skewed = error(403, "RequestTimeTooSkewed")
    faulty_server.once(skewed, method="PUT")
    put(faulty_store)
    faulty_server.once(skewed, method="GET")
    get(faulty_store)

    faulty_server.plan = lambda request: skewed
    for verb in (put, get, list_all):
        with pytest.raises(StoreDenied) as caught:
            verb(hurried_store)
        assert "clock" in (caught.value.hint or "")


def put(store: ObjectStore) -> None:
    store.put_if_absent("wal/a", BODY)


def get(store: ObjectStore) -> None:
    store.get("wal/a")


def size(store: ObjectStore) -> None:
    store.size("wal/a")


def list_all(store: ObjectStore) -> None:
    list(store.list("wal"))


def test_each_attempt_is_logged(
    faulty_server: FaultyServer, faulty_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry leaves a line that names the cause and no secret."""
    faulty_server.once(error(503, "SlowDown"), method="PUT")

    with caplog.at_level(logging.INFO, logger="pgvault"):
        put(faulty_store)

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pgvault")]
    assert len(lines) == 1
    assert "SlowDown" in lines[0]


def test_a_put_whose_answer_was_lost_is_ours(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """The retry meets our own object: no conflict, and the object is there once."""
    faulty_server.once(Change(is_lost=True), method="PUT")

    assert put_object(faulty_store, "wal/a", BODY) is Outcome.OURS

    assert faulty_store.get("wal/a") == BODY


def test_a_lost_answer_does_not_hide_a_conflict(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """Other content under the name stays a conflict, whatever happened on the way."""
    faulty_store.put_if_absent("wal/a", b"other" + BODY[5:])
    faulty_server.once(Change(is_lost=True), method="PUT")

    with pytest.raises(ObjectExists):
        put_object(faulty_store, "wal/a", BODY)


@pytest.mark.parametrize("body", [error(200, "InternalError").body, b""])
def test_a_success_with_an_error_inside_is_no_acknowledgement(
    faulty_server: FaultyServer, faulty_store: ObjectStore, body: bytes
) -> None:
    """200 with an <Error> document, or without an ETag, is not believed: the put is made again."""
    faulty_server.once(Answer(200, body), method="PUT")

    put_object(faulty_store, "wal/a", BODY)

    assert [request.method for request in faulty_server.requests].count("PUT") == 2
    assert faulty_store.get("wal/a") == BODY


def test_a_success_with_an_error_inside_is_no_object(
    faulty_server: FaultyServer, faulty_store: ObjectStore, hurried_store: ObjectStore
) -> None:
    """200 with an <Error> document is neither the object's bytes nor its length nor an empty listing."""
    put(faulty_store)
    for method, verb in (("GET", get), ("HEAD", size), ("GET", list_all)):
        faulty_server.always(Answer(200, error(200, "InternalError").body), method=method)

        with pytest.raises(StoreUnreachable):
            verb(hurried_store)


def test_a_page_of_a_proxy_is_no_listing(faulty_server: FaultyServer, hurried_store: ObjectStore) -> None:
    """Well-formed XML that is not a listing does not make the store empty."""
    faulty_server.always(Answer(200, b"<html><body>Please log in</body></html>"), method="GET")

    with pytest.raises(StoreUnreachable):
        list_all(hurried_store)
    with pytest.raises(StoreUnreachable):
        hurried_store.children("")


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("kept", [0, 1, len(BODY) * 2 // 5, len(BODY) - 1])
def test_a_cut_download_is_never_an_object(
    faulty_server: FaultyServer,
    faulty_store: ObjectStore,
    hurried_store: ObjectStore,
    kept: int,
    says_length: bool,
) -> None:
    """A body that ends early, also cleanly, is fetched again and else refused."""
    put(faulty_store)
    cut = Change(cut_body_to=kept, says_length=says_length)

    faulty_server.once(cut, method="GET")
    assert faulty_store.get("wal/a") == BODY
    faulty_server.once(cut, method="GET")
    assert faulty_store.get_range("wal/a", 0, len(BODY)) == BODY
    faulty_server.always(cut, method="GET")
    with pytest.raises(StoreUnreachable):
        hurried_store.get("wal/a")
    with pytest.raises(StoreUnreachable):
        hurried_store.get_range("wal/a", 0, len(BODY))


def test_a_short_range_is_never_a_range(faulty_server: FaultyServer, hurried_store: ObjectStore) -> None:
    """A 206 that holds less than was asked, under a length that agrees with itself, is refused."""
    for content_range in ("bytes 0-3/1048576", "bytes 1-8/1048576", "bytes 0-3/*", "nonsense"):
        headers = {"ETag": '"x"', "Content-Range": content_range}
        faulty_server.always(Answer(206, b"abcd", headers), method="GET")

        with pytest.raises(StoreUnreachable):
            hurried_store.get_range("wal/a", 0, 8)


def test_a_server_may_ignore_a_range(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """A whole object in answer to a range is cut to what was asked."""
    put(faulty_store)
    faulty_server.plan = lambda request: Change(drop_request_headers=frozenset({"range"}))

    assert faulty_store.get_range("wal/a", 5, 300) == BODY[5:305]


def test_403_for_a_key_is_absence_only_if_a_listing_says_so(
    faulty_server: FaultyServer, faulty_store: ObjectStore
) -> None:
    """Without rights S3 answers 403 for absent and present keys alike; a listing decides, if it may."""
    faulty_store.put_if_absent("wal/ab", b"x")

    def refuse_reads(request: Request) -> Fault:
        is_read = request.method in ("GET", "HEAD") and not request.is_listing
        return error(403, "AccessDenied") if is_read else None

    faulty_server.plan = refuse_reads
    for verb in (get, size):
        with pytest.raises(ObjectMissing):
            verb(faulty_store)
    faulty_store.put_if_absent("wal/a", b"x")
    for verb in (get, size):
        with pytest.raises(StoreDenied):
            verb(faulty_store)


@pytest.mark.parametrize("status", [403, 404])
def test_no_listing_no_absence(faulty_server: FaultyServer, faulty_store: ObjectStore, status: int) -> None:
    """Where neither the read nor the listing is allowed, nothing is known, and that is an error."""
    faulty_server.plan = lambda request: error(403 if request.is_listing else status, "AccessDenied")

    for verb in (get, size):
        with pytest.raises(StoreDenied):
            verb(faulty_store)


def test_404_of_something_else_is_no_absence(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """A web server's 404, and a bucket that is gone, say nothing about an object."""
    put(faulty_store)
    faulty_server.plan = lambda request: None if request.is_listing else Answer(404, b"<html>not found</html>")
    for verb in (get, size):
        with pytest.raises(StoreUnreachable):
            verb(faulty_store)

    faulty_server.plan = lambda request: Answer(404, b"<html>not found</html>")
    for verb in (get, size, list_all):
        with pytest.raises(StoreUnreachable):
            verb(faulty_store)


def test_a_missing_bucket_is_not_an_empty_store(moto_address: tuple[str, int]) -> None:
    """Every verb on a bucket that does not exist fails and names it; nothing in it is 'absent'."""
    host, port = moto_address
    store = open_store(s3_location(f"http://{host}:{port}", "no-such-bucket", "copy"), patience=HURRIED)

    for verb in (put, get, size, list_all):
        with pytest.raises(StoreUnreachable, match="no-such-bucket"):
            verb(store)
    for act in (store.create_root, lambda: store.delete("wal/a"), lambda: store.children("")):
        with pytest.raises(StoreUnreachable):
            act()


def test_a_store_that_ignores_the_condition_is_found_unfit(
    faulty_server: FaultyServer, faulty_store: ObjectStore
) -> None:
    """Where If-None-Match has no effect, the probe says so and cleans up."""
    faulty_server.plan = lambda request: Change(drop_request_headers=frozenset({"if-none-match"}))

    with pytest.raises(StoreUnfit):
        probe_put_if_absent(faulty_store, "probe")

    assert faulty_store.children("") == []


def test_a_store_that_does_not_know_the_condition_is_unfit(
    faulty_server: FaultyServer, faulty_store: ObjectStore
) -> None:
    """501 for the conditional put is a property of the store, not a fault."""
    faulty_server.always(error(501, "NotImplemented"), method="PUT")

    with pytest.raises(StoreUnfit):
        probe_put_if_absent(faulty_store, "probe")


def test_a_put_is_one_plain_request(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """The condition and the SHA-256 go as plain headers; no chunked signing, no trailer, which many stores refuse."""
    put(faulty_store)

    (request,) = faulty_server.requests
    assert request.body == BODY
    assert request.headers["if-none-match"] == "*"
    assert "x-amz-checksum-sha256" in request.headers
    assert not {"x-amz-trailer", "transfer-encoding", "content-encoding"} & request.headers.keys()
    assert "STREAMING" not in request.headers["x-amz-content-sha256"]


@pytest.fixture
def many_keys(s3_store: ObjectStore, bucket: str) -> list[str]:
    """2,500 objects: three pages."""
    keys = [f"packs/{number:05d}" for number in range(2500)]
    prefix = s3_store.url.split("/", 3)[3]
    for key in keys:  # moto serves from this very process; 2,500 requests would take 20 s
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, f"{prefix}/{key}", b"")
    return keys


def test_2500_keys_are_listed(s3_store: ObjectStore, many_keys: list[str]) -> None:
    """A listing goes on after its first 1,000 keys."""
    assert [entry.key for entry in s3_store.list("packs")] == many_keys
    assert s3_store.children("packs") == [key.removeprefix("packs/") for key in many_keys]


def paged(bodies: list[str]) -> list[Answer]:
    """Listing documents, in the order of a listing."""
    head = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name>'
    return [Answer(200, f"{head}{body}</ListBucketResult>".encode()) for body in bodies]


def entries(store: ObjectStore, *names: str) -> str:
    """The lines of a listing."""
    prefix = store.url.split("/", 3)[3]
    return "".join(f"<Contents><Key>{prefix}/{name}</Key><Size>1</Size></Contents>" for name in names)


MORE = "<IsTruncated>true</IsTruncated><NextContinuationToken>t{}</NextContinuationToken>"
LAST = "<IsTruncated>false</IsTruncated>"


@pytest.mark.parametrize("fault", [error(403, "AccessDenied"), error(500, "InternalError"), Silence()], ids=name_of)
def test_an_error_on_page_two_raises(faulty_server: FaultyServer, hurried_store: ObjectStore, fault: Fault) -> None:
    """A listing that can't be finished is no short listing."""
    (first,) = paged([entries(hurried_store, "wal/a") + MORE.format(1)])
    faulty_server.plan = lambda request: fault if "continuation-token" in request.query else first

    listing = hurried_store.list("wal")

    assert next(listing).key == "wal/a"
    with pytest.raises(PgvaultError):
        next(listing)
    with pytest.raises(PgvaultError):
        hurried_store.children("wal")


def test_a_passing_error_on_page_two_loses_nothing(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """Only the page is asked for again."""
    first, second = paged([entries(faulty_store, "wal/a") + MORE.format(1), entries(faulty_store, "wal/b") + LAST])
    answers = iter([first, error(503, "SlowDown"), second])
    faulty_server.plan = lambda request: next(answers)

    assert [entry.key for entry in faulty_store.list("wal")] == ["wal/a", "wal/b"]


def test_a_listing_that_turns_in_circles_is_refused(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """The same page again, keys out of order or of a neighbour, a cut without a way on: none is a listing."""
    pages = [
        entries(faulty_store, "wal/a") + MORE.format(1),
        entries(faulty_store, "wal/b", "wal/a") + LAST,
        entries(faulty_store, "wal10/a") + LAST,
        entries(faulty_store, "wal/a") + "<IsTruncated>true</IsTruncated>",
        MORE.format(1),
    ]
    for page in paged(pages):
        faulty_server.always(page, method="GET")

        with pytest.raises(StoreUnfit):
            list_all(faulty_store)


def test_names_that_are_not_ours_are_passed_over(faulty_server: FaultyServer, faulty_store: ObjectStore) -> None:
    """Folder markers and other people's files in the bucket are neither listed nor in the way."""
    (page,) = paged([entries(faulty_store, "wal/", "wal/a", "wal/my notes.txt") + LAST])
    faulty_server.always(page, method="GET")

    assert [entry.key for entry in faulty_store.list("wal")] == ["wal/a"]
    assert faulty_store.children("wal") == ["a"]


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An endpoint that accepts connections and never says a word."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_black_hole_ends_within_the_deadline(black_hole: str) -> None:
    """An endpoint that swallows everything fails every verb within seconds."""
    store = open_store(s3_location(black_hole, "bucket", "copy"), patience=HURRIED)
    for verb in (put, get, size, list_all):
        begun = time.monotonic()

        with pytest.raises(StoreUnreachable):
            verb(store)

        assert time.monotonic() - begun < LONGEST_SECONDS


def test_nobody_listens() -> None:
    """A refused connection is tried until the deadline, then named with its endpoint."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        store = open_store(
            s3_location(f"http://127.0.0.1:{unused.getsockname()[1]}", "bucket", "copy"), patience=HURRIED
        )

        with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1"):
            get(store)


def test_a_profile_that_does_not_exist_is_a_mistake_of_the_config() -> None:
    """Opening with an unknown profile or a malformed endpoint fails before any request."""
    for location in (
        StoreLocation("s3://bucket/copy", profile="no-such-profile-of-pgvault"),
        StoreLocation("s3://bucket/copy", region="us-east-1", endpoint_url="minio:9000"),
    ):
        with pytest.raises(ConfigInvalid):
            open_store(location)


def test_the_prefix_may_need_encoding(moto_address: tuple[str, int], bucket: str) -> None:
    """A copy's own prefix is free text: spaces, plus signs and percent signs name what they say."""
    host, port = moto_address
    for prefix in ("with space", "a+b", "100%", "50%25=x", "é"):
        store = open_store(s3_location(f"http://{host}:{port}", bucket, prefix))
        store.put_if_absent("wal/a", prefix.encode())

        assert store.get("wal/a") == prefix.encode()
        assert [entry.key for entry in store.list("wal")] == ["wal/a"]
        assert store.children("") == ["wal"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a", ("bucket", "a")),
        ("s3://my.bucket-1/a/b/", ("my.bucket-1", "a/b")),
    ],
)
def test_a_bucket_url_is_read(url: str, expected: tuple[str, str]) -> None:
    """Bucket and prefix, with or without a last slash."""
    assert parse_s3_url(url) == expected


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///a", "s3://b", "s3://bucket//a", "s3://bucket/a/../b", "s3://bucket/a\n"]
)
def test_an_unclear_bucket_url_is_refused(url: str) -> None:
    """A prefix that could be read in two ways is no prefix."""
    with pytest.raises(ConfigInvalid):
        parse_s3_url(url)

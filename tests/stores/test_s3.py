"""What the S3 store asks, what it takes for absence, and what a location means."""

from __future__ import annotations

import pytest

from pgvault.errors import (
    ConfigInvalid,
    ObjectMissing,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
)
from pgvault.stores.base import ObjectStore, StoreLocation
from pgvault.stores.open import open_store
from pgvault.stores.probe import probe_put_if_absent
from pgvault.stores.s3client import parse_s3_url
from tests.stores.conftest import HURRIED, s3_location
from tests.stores.faults import (
    BODY,
    Answer,
    Change,
    Fault,
    FaultyServer,
    Request,
    error,
    get,
    list_all,
    put,
    size,
)


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

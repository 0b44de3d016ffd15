"""Listings of a bucket: to exhaustion, or an error."""

from __future__ import annotations

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from pgvault.errors import (
    PgvaultError,
    StoreUnfit,
)
from pgvault.stores.base import ObjectStore
from tests.stores.faults import (
    Answer,
    Fault,
    FaultyServer,
    Silence,
    error,
    list_all,
    name_of,
)


@pytest.fixture
def many_keys(s3_store: ObjectStore, bucket: str) -> list[str]:
    """2,500 objects: three pages."""
    keys = [f"packs/{number:05d}" for number in range(2500)]
    prefix = s3_store.url.split("/", 3)[3]
    for key in keys:  # moto serves from this very process; 2,500 requests would take 20 s
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, f"{prefix}/{key}", b"")
    return keys


@pytest.mark.endurance
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

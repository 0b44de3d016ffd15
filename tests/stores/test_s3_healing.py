"""A whole repository in a versioned bucket that somebody wrote over and emptied: it reads as it was."""

from __future__ import annotations

from datetime import UTC, datetime

from pgvault.pipeline.header import Kind
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain, read_plain
from pgvault.repository.repository import init_repository
from tests.s3servers import S3Server
from tests.stores.conftest import make_store

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
OVERWRITTEN, DELETED = "clusters/main/drills/a", "clusters/main/drills/b"


def test_reading_comes_back_to_the_oldest_whole_version(s3_server: S3Server) -> None:
    """Written over twice, or deleted, by whoever holds the host's rights; what was there first is read."""
    store = make_store(s3_server, is_versioned=True)
    repository, _ = init_repository([Copy("primary", store)], Credential("raw", bytes(32)), now=AT)
    for path in (OVERWRITTEN, DELETED):
        put_plain(repository, path, Kind.DRILL, plain=path.encode())
    bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
    client = s3_server.client()
    for body in (b"ransom", b"more ransom"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{OVERWRITTEN}", Body=body)
    client.delete_object(Bucket=bucket, Key=f"{prefix}/{DELETED}")

    for path in (OVERWRITTEN, DELETED):
        assert read_plain(repository, path, Kind.DRILL) == path.encode()

    assert {(d.path, d.taken_from, d.is_older) for d in repository.reader.damages} == {
        (OVERWRITTEN, "primary", True),
        (DELETED, "primary", True),
    }

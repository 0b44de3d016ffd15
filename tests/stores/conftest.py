"""Stores of every kind, and an S3 server on the loopback for the one that needs it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from pgvault.stores.base import ObjectStore, StoreLocation
from pgvault.stores.file import FileStore
from pgvault.stores.retry import Patience
from pgvault.stores.s3 import S3Store, open_s3
from pgvault.stores.s3client import Client, open_client
from tests.fakes import MemoryStore
from tests.s3servers import S3Server, Versitygw
from tests.stores.faults import FaultyServer

# For what must come right: notices silence soon, but a loaded machine has time for many attempts.
STEADY = Patience(
    deadline_seconds=30.0, connect_seconds=1.0, read_seconds=0.5, first_wait_seconds=0.02, longest_wait_seconds=0.1
)
BRIEF = replace(STEADY, deadline_seconds=2.0, read_seconds=10.0)  # for a server that is well
# For what must fail: two attempts or a few.
HURRIED = replace(STEADY, deadline_seconds=0.3, answer_seconds=0.8, least_bytes_per_second=8 * 1024 * 1024)


@pytest.fixture(scope="session")
def moto_address() -> Iterator[tuple[str, int]]:
    """Where moto's S3 listens."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture(scope="session")
def bucket(moto_address: tuple[str, int]) -> str:
    """An empty bucket, made by its owner."""
    import boto3

    name = "pgvault-tests"
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{moto_address[0]}:{moto_address[1]}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=name)
    client.close()
    return name


def s3_location(endpoint_url: str, bucket: str, prefix: str) -> StoreLocation:
    """A location with everything given, so that no environment matters."""
    return StoreLocation(
        f"s3://{bucket}/{prefix}",
        region="us-east-1",
        endpoint_url=endpoint_url,
        credentials=("test", "test"),
    )


@pytest.fixture(scope="session")
def s3_client(moto_address: tuple[str, int], bucket: str) -> Client:
    """A client as `open_s3` makes it, once: reading the SDK's description of S3 takes a while."""
    host, port = moto_address
    return open_s3(s3_location(f"http://{host}:{port}", bucket, "any"), patience=Patience()).bucket.client


@pytest.fixture
def s3_store(s3_client: Client, moto_address: tuple[str, int], bucket: str) -> S3Store:
    """A fresh prefix in the bucket."""
    location = s3_location(f"http://{moto_address[0]}:{moto_address[1]}", bucket, f"copies/{secrets.token_hex(4)}")
    return S3Store(s3_client, location, patience=Patience())


@pytest.fixture
def file_store(tmp_path: Path) -> FileStore:
    """A fresh directory."""
    store = FileStore(tmp_path / "srv" / "copy")
    store.create_root()
    return store


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versitygw]:
    """A real S3 server."""
    with Versitygw(tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture(scope="session")
def moto_server(moto_address: tuple[str, int]) -> S3Server:
    """moto's, which asks nobody for credentials."""
    return S3Server(f"http://{moto_address[0]}:{moto_address[1]}", ("test", "test"))


@pytest.fixture(params=[pytest.param("moto", marks=pytest.mark.endurance), "versitygw"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each S3 server in turn."""
    if request.param == "versitygw":
        running: Versitygw = request.getfixturevalue("versitygw")
        return running.server
    server: S3Server = request.getfixturevalue("moto_server")
    return server


def make_store(server: S3Server, *, is_versioned: bool = False, can_lock: bool = False, **options: Any) -> S3Store:
    """Open a store with `options` of a StoreLocation, in a bucket of its own."""
    name = f"bucket-{secrets.token_hex(4)}"
    client = server.client()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=can_lock)
    if is_versioned and not can_lock:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return S3Store(shared_client(server), replace(server.location(name), **options), patience=BRIEF)


@cache
def shared_client(server: S3Server) -> Client:
    """Return a client as `open_s3` makes it for a server's owner, once."""
    return open_client(server.location("any"), patience=BRIEF)


@pytest.fixture(scope="session")
def versitygw_bucket(versitygw: Versitygw) -> S3Store:
    """A store at the root of a plain bucket of versitygw."""
    return make_store(versitygw.server)


@pytest.fixture
def versitygw_store(versitygw_bucket: S3Store) -> S3Store:
    """A fresh prefix in it."""
    location = replace(versitygw_bucket.location, url=f"{versitygw_bucket.url}/{secrets.token_hex(4)}")
    return S3Store(versitygw_bucket.bucket.client, location, patience=BRIEF)


# versitygw 1.7.0 obeys If-None-Match, but not among writers at the same moment: in 40 of 60 rounds of eight, more
# than one was told that it won (measured 2026-11). moto does.
@pytest.fixture(params=["memory", "file", "s3"])
def strict_store(request: pytest.FixtureRequest) -> ObjectStore:
    """Every kind of store in turn that decides among simultaneous writers."""
    if request.param == "memory":
        return MemoryStore()
    opened: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return opened


@pytest.fixture(params=["memory", "file", "s3", "versitygw"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """Every kind of store in turn."""
    if request.param == "memory":
        return MemoryStore()
    opened: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return opened


@pytest.fixture(scope="session")
def proxy(moto_address: tuple[str, int]) -> Iterator[FaultyServer]:
    """A proxy before moto."""
    with FaultyServer(moto_address) as server:
        yield server


@pytest.fixture(scope="session")
def faulty_client(proxy: FaultyServer, bucket: str) -> Client:
    """A client that asks the proxy."""
    return open_s3(s3_location(proxy.url, bucket, "any"), patience=STEADY).bucket.client


@pytest.fixture
def faulty_server(proxy: FaultyServer) -> Iterator[FaultyServer]:
    """The proxy, misbehaving as told for the time of one test."""
    proxy.reset()
    yield proxy
    proxy.reset()


@pytest.fixture
def faulty_prefix() -> str:
    """A fresh prefix."""
    return f"faulty/{secrets.token_hex(4)}"


@pytest.fixture
def faulty_store(faulty_client: Client, proxy: FaultyServer, bucket: str, faulty_prefix: str) -> S3Store:
    """A store behind the proxy that gets over passing faults."""
    return S3Store(faulty_client, s3_location(proxy.url, bucket, faulty_prefix), patience=STEADY)


@pytest.fixture
def hurried_store(faulty_client: Client, proxy: FaultyServer, bucket: str, faulty_prefix: str) -> S3Store:
    """The same store, soon giving up."""
    return S3Store(faulty_client, s3_location(proxy.url, bucket, faulty_prefix), patience=HURRIED)

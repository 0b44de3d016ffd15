"""Versions, delete markers and locks of real S3 servers under verify and repair."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from pgvault.instants import SystemClock
from pgvault.progress import NoProgress
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.stores.base import ObjectLock
from pgvault.stores.retry import Patience
from pgvault.stores.s3 import S3Store, open_s3
from pgvault.verify.copies import Reports, Request, verify_copies
from pgvault.verify.repair import repair_copies
from pgvault.verify.selection import Selection
from tests.s3servers import S3Server, Versitygw
from tests.verify.copies import of, said
from tests.verify.test_versions import PACK
from tests.verify.vault import LABELS, Vault

REQUEST = Request("main", Selection(), 4)
LOCK = ObjectLock("governance", 2)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Which server."""
    named: str = request.param
    return named


@pytest.fixture
def s3_server(kind: str, tmp_path: Path) -> Iterator[S3Server]:
    """A server of this test alone."""
    if kind == "versitygw":
        with Versitygw(tmp_path / "versitygw") as running:
            yield running.server
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(f"http://{host}:{port}", ("test", "test"))
    server.stop()


@pytest.fixture
def store(s3_server: S3Server) -> S3Store:
    """A store in a bucket that locks what is put."""
    name = f"bucket-{secrets.token_hex(4)}"
    with closing(s3_server.client()) as client:
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return open_s3(replace(s3_server.location(name), lock=LOCK), patience=Patience())


def verify(repository: Repository) -> Reports:
    return verify_copies(repository, REQUEST, progress=NoProgress(), clock=SystemClock())


@pytest.mark.endurance
@pytest.mark.parametrize("kind", ["moto", "versitygw"], indirect=True)
def test_a_locked_bucket_that_somebody_was_at(store: S3Store, vault: Vault) -> None:
    """Put over, deleted, and put without a lock: each is told; repair brings back what older versions hold."""
    for key, body in vault.objects.items():
        store.put_if_absent(key, body)
    repository = replace(vault.repository, copies=(Copy("primary", store),))
    assert said(of(verify(repository), "primary")) == []

    store.replace(PACK, b"other bytes")
    refs = layout.refs("main", LABELS[1])
    store.delete(refs)
    lines = said(of(verify(repository), "primary"))
    assert any(f"{PACK!r} was overwritten" in line for line in lines)
    assert any("which no expiry explains" in line and refs in line for line in lines)

    reports, (done,) = repair_copies(repository, REQUEST, progress=NoProgress(), clock=SystemClock())
    reports.require_whole()
    assert sorted(healed.path for healed in done.healed) == sorted([PACK, refs])
    assert store.get(PACK) == vault.objects[PACK]
    assert store.get(refs) == vault.objects[refs]


# moto answers a question for the lock of what has none with an empty lock, which the store takes for no answer.
@pytest.mark.endurance
@pytest.mark.parametrize("kind", ["versitygw"], indirect=True)
def test_what_was_put_without_a_lock_is_found(store: S3Store, vault: Vault) -> None:
    """By somebody with a right to put, and not our configuration."""
    pack = vault.objects[PACK]
    for key, body in vault.objects.items():
        store.put_if_absent(key, body)
    repository = replace(vault.repository, copies=(Copy("primary", store),))
    careless = S3Store(store.bucket.client, replace(store.location, lock=None), patience=Patience())
    other = f"{layout.watermarks('main')}/20261121T080000Z-0001"
    careless.put_if_absent(other, pack)

    lines = said(of(verify(repository), "primary"))
    assert any("1 objects are not locked" in line and other in line for line in lines)

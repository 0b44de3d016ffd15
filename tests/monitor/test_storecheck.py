"""What `check` says about the stores of the first copy and of further ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.errors import ObjectExists, StoreDenied, StoreUnfit, StoreUnreachable
from pgvault.instants import SystemClock
from pgvault.monitor.finding import Level
from pgvault.monitor.storecheck import RACY, store_findings
from pgvault.monitor.tried import Finding
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.stores.base import ObjectLock
from pgvault.stores.probe import WRITERS
from tests.fakes import MemoryStore
from tests.s3servers import Versitygw
from tests.stores.conftest import make_store


class Overwriting(MemoryStore):
    """Takes every put."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        self.objects.pop(key, None)
        super().put_if_absent(key, body)


class Racy(MemoryStore):
    """Tells each of those that race that it won; only they write one byte over and over."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        try:
            super().put_if_absent(key, body)
        except ObjectExists:
            if len(set(body)) > 1:
                raise


class Keeping(MemoryStore):
    """Allows no deletion."""

    def delete(self, key: str) -> None:
        raise StoreDenied("not allowed")


class Away(MemoryStore):
    """Does not answer."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        raise StoreUnreachable("no answer")


class Cutting(MemoryStore):
    """Gives less than was asked."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return super().get_range(key, start, length)[:-1]


@pytest.fixture
def repository() -> Repository:
    first = Copy("primary", MemoryStore())
    made, _ = init_repository([first], Credential("raw", bytes(32)), now=SystemClock().now())
    return made


def look(repository: Repository, *copies: Copy) -> dict[str, Finding]:
    """Return what is found of these copies."""
    return {finding.name: finding for finding in store_findings(replace(repository, copies=copies))}


def test_a_store_that_does_all_is_fine(repository: Repository) -> None:
    """And nothing that was tried stays behind."""
    store = MemoryStore()

    found = look(repository, Copy("primary", store), Copy("dr", MemoryStore()))

    assert list(found) == ["put-if-absent", "store primary", "store dr"]
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert store.objects == {}


def test_only_a_further_copy_may_ignore_the_condition(repository: Repository) -> None:
    """In the first copy it is red, in another a warning."""
    found = look(repository, Copy("primary", Overwriting()), Copy("dr", Overwriting()))

    assert isinstance(found["put-if-absent"].error, StoreUnfit)
    assert found["store dr"].level is Level.WARN
    assert "overwrites" in found["store dr"].detail


def test_a_further_copy_that_is_away_is_red_only_where_something_waits(repository: Repository) -> None:
    """A region that is down stops no archiver, unless it was told to."""
    found = look(repository, Copy("primary", MemoryStore()), Copy("dr", Away()), Copy("near", Away(), True))

    assert found["store dr"].level is Level.WARN
    assert found["store near"].level is Level.RED


def test_a_store_that_cuts_ranges_is_unfit(repository: Repository) -> None:
    """Every verb that the rest is built on is tried."""
    found = look(repository, Copy("primary", Cutting()))

    assert isinstance(found["store primary"].error, StoreUnfit)
    assert "part of an object" in str(found["store primary"].error)


def test_a_host_that_may_not_delete_is_told_so(repository: Repository) -> None:
    """It can archive; it can not expire."""
    found = look(repository, Copy("primary", Keeping()))

    assert {finding.level for finding in found.values()} == {Level.OK}
    assert "not delete" in found["store primary"].detail


def test_a_store_that_takes_two_at_once_is_told(repository: Repository) -> None:
    """It obeys the condition, one writer after another, and not among simultaneous ones."""
    found = look(repository, Copy("primary", Racy()))

    assert found["put-if-absent"].warning == RACY
    assert f"{WRITERS} simultaneous writers" in found["put-if-absent"].detail


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versitygw]:
    with Versitygw(Path(tmp_path_factory.mktemp("versitygw"))) as running:
        yield running


def test_a_real_store_is_looked_at_whole(repository: Repository, versitygw: Versitygw) -> None:
    """Checksums are compared there; a lock that the bucket does not have is red, one that it has is told."""
    plain = make_store(versitygw.server)
    locked = make_store(versitygw.server, can_lock=True, lock=ObjectLock("compliance", 3))
    versioned = make_store(versitygw.server, is_versioned=True, lock=ObjectLock("compliance", 3))
    unsummed = make_store(versitygw.server, checksums="none")

    copies = [Copy(name, store) for name, store in (("a", plain), ("b", locked), ("c", versioned), ("d", unsummed))]
    found = look(repository, *copies)

    assert {name for name, finding in found.items() if finding.error is not None} == {"versions c"}
    assert found["versions c"].error is not None
    assert "no object lock" in str(found["versions c"].error)
    assert found["versions a"].detail == "older versions are not kept"
    assert found["versions b"].detail == "older versions are kept, each object locked for 3 days (compliance)"
    assert "refuses" in found["checksums a"].detail
    assert "checksums d" not in found

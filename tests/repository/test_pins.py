"""Pins: what a reader asked for is seen by whoever wants to remove it, for as long as that is true."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from pgvault.errors import ObjectMissing, StoreDenied, StoreUnreachable
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from pgvault.repository.pins import READ_PREFIX, labels_under_way, live_leases, pin, sweep_pins, watched_leases
from pgvault.repository.repository import Repository, init_repository
from tests.fakes import MemoryStore
from tests.repository.holders import START, Time, host_terms
from tests.repository.samples import LABEL, SAMPLE

CLAIM = Claim("main", labels=(LABEL,), wal_from={7: Lsn(0x3000000)})


@pytest.fixture
def repository(repository: Repository) -> Repository:
    """One that holds the backup."""
    commit_manifest(repository, SAMPLE)
    return repository


def test_pin_is_seen_while_it_is_held(repository: Repository) -> None:
    """By every host, with what it pins; afterwards not."""
    time = Time()
    terms = host_terms(time, "a")

    with pin(repository, CLAIM, terms=terms) as held:
        (seen,) = live_leases(repository, READ_PREFIX, terms=host_terms(time, "b"))
        assert held.is_held
        assert seen.claim == CLAIM

    assert live_leases(repository, READ_PREFIX, terms=host_terms(time, "b")) == []


def test_nobody_known_to_be_dead_counts_as_live(repository: Repository) -> None:
    """At once; whoever has the time to watch knows better."""
    time = Time()
    acquire(repository, "read-x", CLAIM, command="restore", terms=host_terms(time, "dead"))
    living = acquire(repository, "read-y", CLAIM, command="restore", terms=host_terms(time, "a"))
    time.meanwhile.append(lambda _: living.beat())
    observer = host_terms(time, "b")

    assert [entry.lease for entry in live_leases(repository, READ_PREFIX, terms=observer)] == ["read-x", "read-y"]
    assert [entry.lease for entry in watched_leases(repository, READ_PREFIX, terms=observer)] == ["read-y"]
    assert 120 <= time.seconds < 130


def test_other_leases_are_no_pins(repository: Repository) -> None:
    """They are found under their own names."""
    terms = host_terms(Time(), "a")
    acquire(repository, "backup-main", Claim("main", "z"), command="backup", terms=terms)

    assert live_leases(repository, READ_PREFIX, terms=terms) == []
    assert [entry.claim.label for entry in live_leases(repository, "backup-", terms=terms)] == ["z"]


def test_labels_under_way_are_those_nobody_ended(repository: Repository) -> None:
    """Of this cluster: running or killed; not what was released, nor another cluster's."""
    terms = host_terms(Time(), "a")
    for name, claim in [("backup-main", "x"), ("logical-main", "y"), ("backup-main2", "z")]:
        lease = acquire(repository, name, Claim("main", claim), command="backup", terms=terms)
        assert labels_under_way(repository, "main") == ({"x", claim} if name != "backup-main2" else {"x"})
        if name == "logical-main":
            lease.release()


def test_pin_that_was_left_outlives_its_process(repository: Repository) -> None:
    """Until the instant it names and a day more, since clocks differ."""
    time = Time()
    observer = host_terms(time, "b")

    with pin(repository, CLAIM, terms=host_terms(time, "a")) as held:
        held.leave(timedelta(days=3))

    assert len(watched_leases(repository, READ_PREFIX, terms=observer)) == 1
    time.wall = timedelta(days=4, seconds=-1)
    assert len(watched_leases(repository, READ_PREFIX, terms=observer)) == 1
    time.wall = timedelta(days=4)
    assert watched_leases(repository, READ_PREFIX, terms=observer) == []


def test_reader_that_may_not_write_is_warned(
    repository: Repository, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It reads all the same."""

    def deny(key: str, body: bytes) -> None:
        raise StoreDenied(f"put of {key!r} is denied")

    store.put_if_absent = deny  # type: ignore[method-assign]

    with caplog.at_level(logging.WARNING), pin(repository, CLAIM, terms=host_terms(Time(), "a")) as held:
        held.leave()

    assert not held.is_held
    assert "is not pinned" in caplog.text


def test_backup_that_went_before_its_pin_was_there(repository: Repository, store: MemoryStore) -> None:
    """Whoever removed the root may not have seen the pin: the reader is told before it reads."""
    terms = host_terms(Time(), "a")
    del store.objects[layout.manifest("main", LABEL)]

    message = f"backup '{LABEL}' of cluster 'main' was removed meanwhile"
    with pytest.raises(ObjectMissing, match=message), pin(repository, CLAIM, terms=terms):
        raise AssertionError

    assert live_leases(repository, READ_PREFIX, terms=terms) == []


def test_error_of_the_reader_passes_and_releases(repository: Repository) -> None:
    """A pin is about what is read, not about how that ends."""
    terms = host_terms(Time(), "a")

    with pytest.raises(KeyError), pin(repository, CLAIM, terms=terms):
        raise KeyError

    assert live_leases(repository, READ_PREFIX, terms=terms) == []


def test_pins_of_other_copies_count_where_they_answer(credential: Credential) -> None:
    """Of whoever reads one copy alone; a copy that is silent hinders nobody, since nothing is removed from it."""
    time, dr = Time(), MemoryStore()
    copies = [Copy("primary", MemoryStore()), Copy("dr", dr)]
    repository = init_repository(copies, credential, now=START)[0]
    alone = replace(repository, copies=repository.copies[1:])
    commit_manifest(alone, SAMPLE)
    terms = host_terms(time, "a")
    acquire(alone, "backup-main", Claim("main", "x"), command="backup", terms=terms)

    with pin(alone, CLAIM, terms=terms):
        (seen,) = live_leases(repository, "", terms=terms)
        assert seen.claim == CLAIM
        assert watched_leases(repository, READ_PREFIX, terms=terms) == [seen]

        def silent(prefix: str) -> list[str]:
            raise StoreUnreachable("gone")

        dr.children = silent  # type: ignore[method-assign]
        assert live_leases(repository, READ_PREFIX, terms=terms) == []
        del dr.children

    assert sweep_pins(repository, terms=terms) == 1
    assert dr.children(layout.LEASES) == ["backup-main"]


def test_pins_that_are_over_are_swept(repository: Repository, store: MemoryStore) -> None:
    """The released and the dead, whole; those that may live stay, and so do all other leases."""
    time = Time()
    terms = host_terms(time, "a", 7)
    with pin(repository, CLAIM, terms=terms):
        pass
    acquire(repository, "read-dead", CLAIM, command="drill", terms=terms)
    acquire(repository, "read-alive", CLAIM, command="drill", terms=host_terms(time, "b"))
    acquire(repository, "backup-main", Claim(), command="backup", terms=terms).release()

    assert sweep_pins(repository, terms=host_terms(time, "a", 8, gone=frozenset({7}))) == 2
    assert store.children(layout.LEASES) == ["backup-main", "read-alive"]

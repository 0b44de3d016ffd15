"""Whoever comes while an expiry is under way: readers and holds, before and after a removal is announced."""

from __future__ import annotations

import pytest

from pgvault.expire.apply import Policed, expire_cluster
from pgvault.repository import layout
from pgvault.repository.holds import Hold, put_hold
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from pgvault.repository.pins import pin
from pgvault.repository.tombstones import Order, State, begin_removal, put_tombstone, read_tombstone
from tests.expire.test_apply import LATER, NOW, expire
from tests.expire.vaults import HOUR, Vault, label_of, policy, terms


@pytest.fixture(scope="module")
def filled() -> Vault:
    """Six backups, of which policy wants the last two."""
    return Vault.make().fill(6)


@pytest.fixture
def vault(filled: Vault) -> Vault:
    return filled.fork()


def test_a_reader_keeps_what_it_reads(vault: Vault) -> None:
    """A restore from an expiring backup is let finish; so is its WAL."""
    expire(vault, NOW)
    claim = Claim(cluster="main", labels=(label_of(1),))
    with pin(vault.repository, claim, terms=terms(LATER)):
        report = expire(vault, LATER)

    assert label_of(1) not in report.removed
    assert label_of(1) in vault.labels()
    vault.require_whole()
    assert expire(vault, LATER).removed == [label_of(1)]


def test_a_reader_that_comes_late_is_seen(vault: Vault) -> None:
    """After the plan was made and before the removal was announced: it is withdrawn, and nothing is gone."""
    expire(vault, NOW)
    wanted = Policed("main", policy(), "test@db1")
    claim = Claim(cluster="main", labels=(label_of(3),))
    late = Comes(vault, f"{layout.tombstones('main', label_of(3))}/00000001", claim)

    report = expire_cluster(vault.through({"primary": late}), wanted, terms=terms(LATER))  # type: ignore[dict-item]

    assert late.has_come
    assert report.removed == [label_of(number) for number in range(3)]
    assert label_of(3) in report.kept
    assert report.notes == ["no WAL was removed, since not everything else could be"]
    stone = read_tombstone(vault.repository, "main", label_of(3))
    assert stone is not None
    assert stone.state is State.KEPT
    assert label_of(3) in vault.labels()
    vault.require_whole()


def test_a_reader_that_comes_when_the_root_is_gone_finds_its_data(vault: Vault) -> None:
    """It had read the root a moment before: what it reads is left until it has ended."""
    expire(vault, NOW)
    claim = Claim(cluster="main", labels=(label_of(3),))
    late = Comes(vault, layout.manifest("main", label_of(3)), claim, verb="delete")

    wanted = Policed("main", policy(), "test@db1")
    report = expire_cluster(vault.through({"primary": late}), wanted, terms=terms(LATER))  # type: ignore[dict-item]

    assert label_of(3) not in report.removed
    assert "packs/00000000" in vault.below(3)
    assert "manifest" not in vault.below(3)
    late.end()
    assert expire(vault, LATER).removed == [label_of(3)]
    assert vault.below(3) == []


def test_a_hold_that_comes_late_is_seen(vault: Vault) -> None:
    """Set after the plan was made."""
    expire(vault, NOW)
    hold = Hold("20260306T000000Z-aaaa", label_of(3), None, None, None, Order(LATER, "ann@db1", "incident"))
    late = Comes(vault, f"{layout.tombstones('main', label_of(3))}/00000001", hold)

    wanted = Policed("main", policy(), "test@db1")
    report = expire_cluster(vault.through({"primary": late}), wanted, terms=terms(LATER))  # type: ignore[dict-item]

    assert "hold 20260306T000000Z-aaaa by ann@db1: incident" in report.kept[label_of(3)]
    assert label_of(3) in vault.labels()
    assert expire(vault, LATER + HOUR).plan.marks == ()


def test_a_hold_saves_what_a_killed_run_had_only_announced(vault: Vault) -> None:
    """Its root is there, so all of it is."""
    expire(vault, NOW)
    stone, _ = put_tombstone(vault.repository, "main", label_of(2), Order(NOW, "x", ""))
    begin_removal(vault.repository, "main", stone)
    put_hold(vault.repository, "main", Hold("a", label_of(2), None, None, None, Order(LATER, "ann@db1", "")))

    expire(vault, LATER)

    assert label_of(2) in vault.labels()
    vault.require_whole()


def test_a_hold_that_the_first_copy_lost_still_holds() -> None:
    """Or never had, where another was the first when it was put."""
    vault = Vault.make("primary", "dr").fill(6)
    put_hold(vault.repository, "main", Hold("a", label_of(0), None, None, None, Order(LATER, "ann@db1", "")))
    del vault.stores["primary"].objects[layout.hold("main", "a", 0)]

    expire(vault, NOW)
    report = expire(vault, LATER)

    assert label_of(0) not in {each.label for each in report.plan.marks}
    assert label_of(0) in vault.labels()


class Comes:
    """Somebody pins, or holds, the moment one operation on one key is through."""

    def __init__(self, vault: Vault, key: str, what: Claim | Hold, *, verb: str = "put_if_absent") -> None:
        self.has_come = False
        self._vault = vault
        self._store = vault.store
        self._at = (verb, key)
        self._what = what
        self._lease = None if isinstance(what, Hold) else what

    def __getattr__(self, name: str) -> object:
        found = getattr(self._store, name)
        if name != self._at[0]:
            return found

        def call(key: str, *rest: object) -> object:
            result = found(key, *rest)
            if key == self._at[1] and not self.has_come:
                self.has_come = True
                self._come()
            return result

        return call

    def _come(self) -> None:
        if isinstance(self._what, Hold):
            put_hold(self._vault.repository, "main", self._what)
        else:
            self._pin = acquire(self._vault.repository, "read-1", self._what, command="restore", terms=terms(LATER))

    def end(self) -> None:
        self._pin.release()

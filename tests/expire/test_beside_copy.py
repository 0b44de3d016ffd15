"""`pgvault copy` beside an expiry: what is being removed does not come back, what stays after all does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgvault.expire.apply import Policed, expire_cluster
from pgvault.mirror.run import CopyOrder, copy_into
from pgvault.repository import layout
from pgvault.repository.holds import Hold, put_hold
from pgvault.repository.tombstones import Order, put_tombstone, take_back
from tests.archive import StillClock
from tests.expire.test_apply import LATER, NOW, expire
from tests.expire.test_crashes import Killed
from tests.expire.vaults import HOUR, Vault, label_of, policy, terms

ROOT = layout.manifest("main", label_of(0))


class DiesAtRoot:
    """The process ends right behind the removal of a root from this store."""

    def __init__(self, vault: Vault) -> None:
        self._store = vault.stores["dr"]

    def __getattr__(self, name: str) -> object:
        found = getattr(self._store, name)

        def delete(key: str) -> None:
            found(key)
            if key == ROOT:
                raise Killed

        return delete if name == "delete" else found


@pytest.fixture(scope="module")
def filled() -> Vault:
    """Two copies, the other one async; four of six backups are marked."""
    vault = Vault.make("primary", "dr").fill(6)
    first, other = vault.repository.copies
    copies = (first, replace(other, is_sync_for_backups=False, is_sync_for_wal=False))
    vault = replace(vault, repository=replace(vault.repository, copies=copies))
    expire(vault, NOW)
    copy(vault)
    return vault


@pytest.fixture
def vault(filled: Vault) -> Vault:
    return filled.fork()


def copy(vault: Vault) -> int:
    """Do one round; return how many objects came."""
    first, other = vault.repository.copies
    report = copy_into(CopyOrder(first, (other,), StillClock()), other)
    assert (report.error, report.problems) == (None, ())
    return report.objects


def kill_at_root(vault: Vault) -> None:
    wanted = Policed("main", policy(), "test@db1")
    with pytest.raises(Killed):
        expire_cluster(vault.through({"dr": DiesAtRoot(vault)}), wanted, terms=terms(LATER))  # type: ignore[dict-item]
    assert ROOT in vault.store.objects
    assert ROOT not in vault.stores["dr"].objects


def test_what_is_being_removed_does_not_come_back(vault: Vault) -> None:
    """An async copy has not got the announcement: it is told before its root goes."""
    kill_at_root(vault)

    copy(vault)

    assert ROOT not in vault.stores["dr"].objects
    expire(vault, LATER + HOUR)
    assert vault.below(0, "dr") == vault.below(0) == []


def test_what_a_hold_saves_at_the_last_moment_comes_back(vault: Vault) -> None:
    """A killed run had begun in the other copy; the first one is whole still."""
    kill_at_root(vault)
    put_hold(vault.repository, "main", Hold("a", label_of(0), None, None, None, Order(LATER, "ann@db1", "")))

    expire(vault, LATER + HOUR)
    copy(vault)

    assert label_of(0) in vault.labels()
    assert label_of(0) in vault.labels("dr")


def test_what_was_marked_and_taken_back_before_a_copy_had_it_is_brought(vault: Vault) -> None:
    """The marks of a sync copy that is being filled come before its backups."""
    put_tombstone(vault.repository, "main", label_of(5), Order(NOW, "ann@db1", ""), is_deliberate=True)
    take_back(vault.repository, "main", label_of(5), Order(NOW, "ann@db1", ""))
    copy(vault)
    dr = vault.stores["dr"]
    for key in [key for key in dr.objects if label_of(5) in key and "/tombstones/" not in key]:
        del dr.objects[key]

    copy(vault)

    assert label_of(5) in vault.labels("dr")

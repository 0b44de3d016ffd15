"""Old packs and WAL move to another class of storage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgvault.errors import StoreUnfit
from pgvault.expire.apply import Policed, expire_cluster
from pgvault.expire.carrying import Report
from pgvault.expire.cold import ColdRule, old_wal
from pgvault.expire.copyroots import CopyRoots
from pgvault.expire.policy import Policy
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.stores.cold import STANDARD, ObjectState, ThawTier
from tests.archive import SYSTEM
from tests.expire.vaults import DAY, FIRST, Vault, label_of, terms
from tests.fakes import MemoryStore

NOW = FIRST + 6 * DAY
RULE = ColdRule(timedelta(days=3), "GLACIER_IR")


class Classes(MemoryStore):
    """A store that remembers which object lies where."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: dict[str, str] = {}
        self.is_locked = False

    def state(self, key: str) -> ObjectState:
        self.calls.append(("state", key))
        return ObjectState(self.classes.get(key, STANDARD), is_readable=True)

    def transition(self, key: str, storage_class: str) -> bool:
        self._note("transition", key)
        if self.is_locked:
            raise StoreUnfit(f"object {key!r} is locked", hint="Let a lifecycle rule move it.")
        is_new = self.classes.get(key) != storage_class
        self.classes[key] = storage_class
        return is_new

    def thaw(self, key: str, *, days: int, tier: ThawTier = "Standard") -> ObjectState:
        return self.state(key)


@pytest.fixture(scope="module")
def filled() -> Vault:
    return Vault.make().fill(6)


@pytest.fixture
def store(filled: Vault) -> Classes:
    store = Classes()
    store.objects |= filled.store.objects
    return store


def expire(filled: Vault, store: MemoryStore) -> Report:
    vault = filled.on({"primary": store})
    wanted = Policed("main", Policy(None), "test@db1", cold={"primary": RULE})
    return expire_cluster(vault.repository, wanted, terms=terms(NOW))


def test_packs_of_old_backups_move_and_nothing_else_of_them(filled: Vault, store: Classes) -> None:
    """Roots, lists and refs are read by every plan. The last pack of each goes last, so once is enough."""
    report = expire(filled, store)

    moved = {key for key, storage_class in store.classes.items() if storage_class == "GLACIER_IR"}
    assert {key.split("/")[3] for key in moved} == {label_of(number) for number in range(3)}
    assert all("/packs/" in key for key in moved)
    assert report.notes == ["copy 'primary': 6 objects were moved to GLACIER_IR"]

    store.calls.clear()
    assert expire(filled, store).notes == []
    assert not [key for verb, key in store.calls if verb == "transition"]
    assert len([key for verb, key in store.calls if verb == "state"]) == 3


def test_what_is_locked_stays_where_it_is_and_is_said(filled: Vault, store: Classes) -> None:
    """Moving would leave the locked version behind."""
    store.is_locked = True

    report = expire(filled, store)

    (note,) = report.notes
    assert note.endswith("is locked. Let a lifecycle rule move it.")
    report.require_done()


def test_a_store_without_classes_says_so(filled: Vault) -> None:
    """A directory has but one."""
    report = expire(filled, filled.fork().store)

    assert report.notes == ["copy 'primary' knows no classes of storage: archive_after does nothing there"]


def test_wal_moves_by_directories(filled: Vault) -> None:
    """One that holds a segment which a younger backup needs stays; tails, partial segments and histories, too."""
    vault = filled.fork()
    segment = layout.wal_file("main", SYSTEM, WalSegment(1, 3, MIB).name)
    strays = [
        f"{segment}.tail/00000000-00000080",
        f"{segment}.partial",
        f"{layout.wal('main', SYSTEM)}/00000002.history",
    ]
    vault.store.objects |= dict.fromkeys(strays, b"x")
    roots = CopyRoots.of(vault.repository, "main", vault.repository.deciding)

    (keys,) = old_wal(roots, SYSTEM, MIB, first=13)

    assert len(keys) == 13
    assert not set(strays) & set(keys)
    assert list(old_wal(roots, SYSTEM, MIB, first=12)) == []

"""An expiry that is killed after any operation of a store: what is listed is whole, and the next one goes on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock

import pytest

from pgvault.expire.actions import ExpireRequest
from pgvault.expire.apply import Policed, expire_cluster
from pgvault.repository import layout
from pgvault.repository.who import Presence
from pgvault.stores.base import ObjectStore
from tests.archive import make_archive
from tests.crashpoints import enumerate_crashes
from tests.expire.vaults import DAY, FIRST, HOUR, Vault, label_of, policy, terms
from tests.fakes import MemoryStore

NOW = FIRST + 4 * DAY
LATER = NOW + 5 * HOUR
NEVER_COMMITTED = label_of(0)[:-4] + "ffff"
VERBS = ("put_if_absent", "delete")


class Killed(BaseException):
    """The process is gone; nothing catches that."""


class Life:
    """How many more operations that change something a process will live to see."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._lock = Lock()

    def spend(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left <= 0:
                raise Killed


class Mortal:
    """A store as one process sees it until it dies: right behind an operation, and then nothing more is done."""

    def __init__(self, store: MemoryStore, life: Life) -> None:
        self._store = store
        self._life = life

    def __getattr__(self, name: str) -> object:
        found = getattr(self._store, name)
        if name not in VERBS:
            return found

        def call(*arguments: object) -> object:
            if self._life.left <= 0:
                raise Killed
            result = found(*arguments)
            self._life.spend()
            return result

        return call


def expire(vault: Vault, at: datetime, *, life: Life | None = None) -> bool:
    """Run one to its end, or to that of the process; tell which. Whoever was before is gone."""
    stores: dict[str, ObjectStore] = {}
    if life is not None:
        stores = {name: Mortal(store, life) for name, store in vault.stores.items()}  # type: ignore[misc]
    wanted = Policed("main", policy(), "test@db1", ExpireRequest())
    try:
        report = expire_cluster(vault.through(stores), wanted, terms=terms(at, presence=Presence.GONE))
    except Killed:
        return False
    report.require_done()
    return True


def left_of(vault: Vault) -> dict[str, set[str]]:
    """What is stored of backups and WAL, in each copy, but for records that `pgvault copy` brings to one without."""
    below = (layout.backups("main"), layout.wals("main"))
    records = ("/tombstones/", f"{NEVER_COMMITTED}/manifest")
    return {
        name: {key for key in store.objects if key.startswith(below) and not any(record in key for record in records)}
        for name, store in vault.stores.items()
    }


@pytest.fixture(scope="module")
def marked() -> Vault:
    """Two copies, four backups; what is to go is marked, and something never committed lies about."""
    vault = Vault.make("primary", "dr").fill(4)
    for store in vault.stores.values():
        store.objects[layout.pack("main", NEVER_COMMITTED, 0)] = b"x"
    return vault


def try_all(vault: Vault, at: datetime, *, numbers: Iterable[int]) -> int:
    """Kill a run after so many operations each, let another one finish it; return after how many none was killed."""
    through = vault.fork()
    expire(through, at)
    expire(through, at + HOUR)
    expected = left_of(through)
    last = 0
    for number in numbers:
        last = number
        killed = vault.fork()
        is_through = expire(killed, at, life=Life(number))
        killed.require_whole()
        expire(killed, at)
        expire(killed, at + HOUR)
        killed.require_whole()
        assert left_of(killed) == expected, f"after {number} operations"
        if is_through:
            return number
    return last


@pytest.mark.parametrize("at", [NOW, LATER])
def test_whoever_goes_on_comes_to_the_same_end(marked: Vault, at: datetime) -> None:
    """A few of all the moments; the others are tried in endurance."""
    vault = marked.fork()
    if at == LATER:
        expire(vault, NOW)

    try_all(vault, at, numbers=range(3, 60, 13))


@pytest.mark.endurance
@pytest.mark.parametrize("at", [NOW, LATER])
def test_whenever_it_is_killed(marked: Vault, at: datetime) -> None:
    """After each operation of either copy."""
    vault = marked.fork()
    if at == LATER:
        expire(vault, NOW)

    assert try_all(vault, at, numbers=range(1, 500)) > 10


@pytest.mark.endurance
def test_whenever_the_command_is_killed(tmp_path: Path) -> None:
    """The same by SIGKILL, on directories: `list` and `verify` are green, and the next one succeeds."""
    places = {}

    def command(number: int) -> list[str | Path]:
        archive = make_archive(tmp_path / str(number))
        Vault(archive.repository, {}).fill(3)
        rules = "{dsn: '', retention: {full: 2, window: 1d, grace: 1h}}"
        archive.config.write_text(archive.config.read_text().replace("{dsn: ''}", rules))
        places[number] = archive.config
        # By name: policy removes nothing by a clock that is months ahead of all that was stored.
        wanted = Policed("main", policy(grace=HOUR), "test@db1", ExpireRequest(delete=(label_of(0),)))
        expire_cluster(archive.repository, wanted, terms=terms(NOW))  # long ago: it is marked, its grace is over
        return ["pgvault", "--config", archive.config, "expire"]

    def invariant(number: int) -> None:
        from tests.cli.here import pgvault_json

        words = ("--config", places[number])
        before = pgvault_json(*words, "list")
        assert len(before["backups"]) in {2, 3}
        assert before["gaps"] == before["not_restorable"] == []
        again = pgvault_json(*words, "expire")
        assert again["clusters"][0]["error"] is None
        assert [each["label"] for each in pgvault_json(*words, "list")["backups"]] == [label_of(1), label_of(2)]

    assert enumerate_crashes(command, invariant) > 10

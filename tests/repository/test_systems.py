from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from pgvault.errors import ObjectCorrupt, OtherCluster, StoreUnreachable
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, known_systems, record_system, require_system
from tests.fakes import MemoryStore

OURS = System(7501234567890123456, 18)
OTHER = System(7409999999999999999, 17)


def test_first_comer_is_recorded_and_accepted_from_then_on(repository: Repository, now: datetime) -> None:
    """Nobody has to announce a cluster: its first backup or WAL does."""
    for _ in range(3):
        require_system(repository, "main", OURS, now=now)

    assert known_systems(repository, "main") == {OURS.system_identifier}
    assert read_json(repository, layout.system("main", OURS.system_identifier), Kind.SYSTEM) == {
        "system_identifier": "7501234567890123456",
        "major": 18,
        "follows": None,
        "recorded_at": "2026-01-15T10:30:00+00:00",
    }


def test_other_system_is_refused_every_time(repository: Repository, store: MemoryStore, now: datetime) -> None:
    """Another cluster's WAL does not get in, however often its archiver tries; nothing is written."""
    require_system(repository, "main", OURS, now=now)
    before = dict(store.objects)

    for _ in range(3):
        with pytest.raises(OtherCluster, match=str(OURS.system_identifier)) as caught:
            require_system(repository, "main", OTHER, now=now)
        assert caught.value.hint
    assert store.objects == before


def test_clusters_have_systems_of_their_own(repository: Repository, now: datetime) -> None:
    """One name, one line of systems."""
    require_system(repository, "main", OURS, now=now)
    require_system(repository, "main2", OTHER, now=now)

    assert known_systems(repository, "main") == {OURS.system_identifier}
    assert known_systems(repository, "main2") == {OTHER.system_identifier}


def test_adopted_system_is_accepted_beside_the_old_one(repository: Repository, now: datetime) -> None:
    """After pg_upgrade both are the cluster's; recording one again is fine."""
    require_system(repository, "main", OURS, now=now)
    for _ in range(2):
        record_system(repository, "main", OTHER, follows=OURS.system_identifier, now=now)

    require_system(repository, "main", OURS, now=now)
    require_system(repository, "main", OTHER, now=now)
    record = read_json(repository, layout.system("main", OTHER.system_identifier), Kind.SYSTEM)
    assert record["follows"] == str(OURS.system_identifier)


def test_two_that_come_first_at_once_have_one_winner_for_ever(on_disk: Repository, now: datetime) -> None:
    """Two servers archive under one name: one is refused, then and whenever it tries again."""

    def attempt(system: System) -> bool:
        try:
            require_system(on_disk, "main", system, now=now)
        except OtherCluster:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(zip([OURS, OTHER] * 8, pool.map(attempt, [OURS, OTHER] * 8), strict=True))

    (winner,) = known_systems(on_disk, "main")
    assert all(accepted == (system.system_identifier == winner) for system, accepted in results)
    assert [attempt(system) for system in (OURS, OTHER)] == [
        system.system_identifier == winner for system in (OURS, OTHER)
    ]


@pytest.mark.parametrize("put", [1, 2])
@pytest.mark.parametrize("fault", ["fail_puts", "lose_answers", "die_after_puts"])
def test_first_comer_that_is_interrupted_stays_the_first_if_it_was(
    repository: Repository, store: MemoryStore, now: datetime, put: int, fault: str
) -> None:
    """Who has put `first` is the first, also if it died right after; before that the next one is."""
    setattr(store, fault, [store.puts + put])
    if fault == "lose_answers":
        require_system(repository, "main", OURS, now=now)
    else:
        with pytest.raises(StoreUnreachable):
            require_system(repository, "main", OURS, now=now)
    is_first = layout.first_system("main") in store.objects

    if is_first:
        with pytest.raises(OtherCluster):
            require_system(repository, "main", OTHER, now=now)
    require_system(repository, "main", OURS if is_first else OTHER, now=now)

    assert known_systems(repository, "main") == {(OURS if is_first else OTHER).system_identifier}


@pytest.mark.parametrize("document", [{}, {"system_identifier": 7}, {"system_identifier": "x"}])
def test_malformed_first_record_is_corrupt(repository: Repository, now: datetime, document: dict[str, object]) -> None:
    """Who came first is not guessed."""
    put_json(repository, layout.first_system("main"), Kind.SYSTEM, document=document)

    with pytest.raises(ObjectCorrupt):
        require_system(repository, "main", OURS, now=now)


def test_first_record_of_another_cluster_does_not_open(
    repository: Repository, store: MemoryStore, now: datetime
) -> None:
    """Nobody without the key copies one cluster's record to another's name."""
    require_system(repository, "main", OURS, now=now)
    store.objects[layout.first_system("shop")] = store.objects[layout.first_system("main")]

    with pytest.raises(ObjectCorrupt):
        require_system(repository, "shop", OURS, now=now)

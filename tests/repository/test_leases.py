"""Leases: one holder, who is known to live or to be dead, and one who slept and lost it learns that."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from pgvault.errors import AlreadyRunning, ObjectExists, StoreDenied, StoreUnreachable
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, commit_manifest, read_root
from pgvault.repository.leaseentry import Claim, State
from pgvault.repository.leases import KEPT_ENTRIES, Lease, Terms, acquire, read_newest
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore
from tests.repository.holders import Time, host_terms
from tests.repository.samples import LABEL, SAMPLE

NAME = "backup-main"
CLAIM = Claim("main", LABEL)


def take(repository: Repository, terms: Terms, claim: Claim = CLAIM) -> Lease:
    """Acquire without a thread: the tests beat themselves."""
    return acquire(repository, NAME, claim, command="backup", terms=terms)


def numbers(store: MemoryStore) -> list[int]:
    prefix = f"{layout.lease_series(NAME)}/"
    return sorted(int(key.removeprefix(prefix)) for key in store.objects if key.startswith(prefix))


def test_released_lease_is_free_at_once(repository: Repository) -> None:
    """The next one takes it without waiting, under a higher number."""
    time = Time()
    first = take(repository, host_terms(time, "a"))
    first.release()

    second = take(repository, host_terms(time, "b"))

    assert time.seconds == 0
    assert (first.entry.token, first.entry.state, second.entry.token) == (0, State.RELEASED, 2)


def test_living_holder_on_this_host_is_named_at_once(repository: Repository) -> None:
    """Host, process and since when; nobody waits for what can be seen."""
    time = Time()
    take(repository, host_terms(time, "a", 7))

    with pytest.raises(
        AlreadyRunning, match=rf"backup on host 'a', pid 7, backup {LABEL}, last heard of at 2026-01-15"
    ):
        take(repository, host_terms(time, "a", 8))

    assert time.seconds == 0


def test_living_holder_elsewhere_is_known_by_its_next_heartbeat(repository: Repository) -> None:
    """A quarter of the time to live is the longest that takes."""
    time = Time()
    holder = take(repository, host_terms(time, "a"))
    time.meanwhile.append(lambda seconds: holder.beat() if seconds >= 30 else None)

    with pytest.raises(AlreadyRunning, match="'a', pid 7"):
        take(repository, host_terms(time, "b"))

    assert 30 <= time.seconds < 40


def test_dead_holder_on_this_host_is_replaced_at_once(repository: Repository) -> None:
    """Its process is gone: there is nothing to wait for, and its backup can not come true any more."""
    time = Time()
    take(repository, host_terms(time, "a", 7))

    second = take(repository, host_terms(time, "a", 8, gone=frozenset({7})))

    assert (time.seconds, second.entry.token) == (0, 1)
    assert read_root(repository, "main", LABEL) is None


def test_silent_holder_elsewhere_is_replaced_after_its_time_to_live(repository: Repository) -> None:
    """Not before: it could still be alive."""
    time = Time()
    take(repository, host_terms(time, "a"))

    take(repository, host_terms(time, "b"))

    assert 120 <= time.seconds < 130


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)])
def test_wall_clock_decides_nothing(repository: Repository, jump: timedelta) -> None:
    """A clock that is set while somebody watches changes neither the wait nor who has the lease."""
    time = Time()
    holder = take(repository, host_terms(time, "a"))
    time.meanwhile.append(lambda _: setattr(time, "wall", jump))
    beating = Time(meanwhile=[lambda _: holder.beat()])

    with pytest.raises(AlreadyRunning):
        take(repository, host_terms(beating, "b"))
    take(repository, host_terms(time, "c"))

    assert 120 <= time.seconds < 130


def test_sleeper_learns_that_its_lease_was_taken(repository: Repository) -> None:
    """By its next heartbeat and before its commit; what it says names the one who has it."""
    time = Time()
    sleeper = take(repository, host_terms(time, "a"))
    take(repository, host_terms(time, "b", 9))

    for look in (sleeper.require_held, sleeper.beat, sleeper.require_held):
        with pytest.raises(
            AlreadyRunning, match="'backup-main' was taken over meanwhile, by backup on host 'b', pid 9"
        ):
            look()
    sleeper.release()

    newest = read_newest(repository, NAME)
    assert newest is not None
    assert (newest.number, newest.state) == (1, State.HELD)


def test_sleeper_can_not_commit(repository: Repository) -> None:
    """Not even one that slept between looking and putting its root: the aborted record has the name."""
    time = Time()
    take(repository, host_terms(time, "a"))
    take(repository, host_terms(time, "b"))

    with pytest.raises(ObjectExists):
        commit_manifest(repository, SAMPLE)


def test_committed_backup_of_a_dead_holder_stays(repository: Repository) -> None:
    """It died between its commit and its release."""
    time = Time()
    take(repository, host_terms(time, "a"))
    commit_manifest(repository, SAMPLE)

    take(repository, host_terms(time, "b"))

    assert read_root(repository, "main", LABEL) == SAMPLE


def test_sleeper_past_everything_that_was_removed_learns_it(repository: Repository, store: MemoryStore) -> None:
    """Its next number is free again, since old entries are removed; a listing tells."""
    time = Time()
    sleeper = take(repository, host_terms(time, "a"))
    for _ in range(KEPT_ENTRIES):
        take(repository, host_terms(time, "b")).release()
    assert 1 not in numbers(store)

    with pytest.raises(AlreadyRunning, match="taken over"):
        sleeper.require_held()


def test_slow_taker_is_not_fooled_by_a_number_that_is_free_again(repository: Repository, store: MemoryStore) -> None:
    """It saw entry 0, stood still while the series went on for long, and put entry 1."""
    time = Time()
    take(repository, host_terms(time, "a")).release()
    original = store.children
    woken: list[bool] = []

    def children(prefix: str) -> list[str]:
        names = original(prefix)
        if not woken and prefix == layout.lease_series(NAME):
            woken.append(True)
            for _ in range(KEPT_ENTRIES):
                take(repository, host_terms(time, "b")).release()
        return names

    store.children = children  # type: ignore[method-assign]

    lease = take(repository, host_terms(time, "c"))

    assert lease.entry.token == max(numbers(store)) > KEPT_ENTRIES


def test_exactly_one_of_many_wins(repository: Repository) -> None:
    """At an unused name, and at that of a dead holder; all others are told."""
    for dead in (False, True):
        time = Time()
        if dead:
            take(repository, host_terms(time, "dead")).release()
            take(repository, host_terms(time, "x", 1))
        barrier = Barrier(8)

        def race(pid: int, time: Time = time, barrier: Barrier = barrier) -> Lease | None:
            terms = host_terms(time, "x", pid, gone=frozenset({1}))
            barrier.wait()
            try:
                return take(repository, terms)
            except AlreadyRunning:
                return None

        with ThreadPoolExecutor(8) as pool:
            won = [lease for lease in pool.map(race, range(2, 10)) if lease is not None]

        assert len(won) == 1
        won[0].require_held()
        won[0].release()


def test_lost_answers_are_no_competitor(repository: Repository, store: MemoryStore) -> None:
    """An entry that was stored without an answer is ours: at the start, as a heartbeat, and at the end."""
    time = Time()
    store.lose_answers = {store.puts + 1, store.puts + 2}

    lease = take(repository, host_terms(time, "a"))
    lease.require_held()

    store.die_after_puts = {store.puts + 1}
    with pytest.raises(StoreUnreachable):
        lease.beat()
    time.sleep(1)
    lease.require_held()
    store.die_after_puts = {store.puts + 1}
    with pytest.raises(StoreUnreachable):
        lease.beat()
    time.sleep(1)
    lease.release()
    newest = read_newest(repository, NAME)
    assert newest is not None
    assert newest.state is State.RELEASED


def test_failing_heartbeat_is_made_up_for(
    repository: Repository, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that is away for a while costs nothing but a line in the log."""
    terms = Terms(ttl_seconds=0.04)
    store.fail_puts = set(range(store.puts + 2, store.puts + 5))

    with take(repository, terms) as lease:
        while lease.entry.number < 2:
            terms.sleep(0.005)
        lease.require_held()

    assert "no heartbeat of lease 'backup-main' was stored" in caplog.text
    assert lease.entry.state is State.RELEASED


def test_denied_is_told_apart_from_held(repository: Repository, store: MemoryStore) -> None:
    """Credentials that may not write are no reason to look for a holder."""

    def deny(key: str, body: bytes) -> None:
        raise StoreDenied(f"put of {key!r} is denied")

    store.put_if_absent = deny  # type: ignore[method-assign]

    with pytest.raises(StoreDenied, match="lease 'backup-main' can not be written"):
        take(repository, host_terms(Time(), "a"))


def test_entry_that_vanishes_between_list_and_read_is_looked_for_again(
    repository: Repository, store: MemoryStore
) -> None:
    """Its holder beat meanwhile and removed it: that holder lives."""
    time = Time()
    holder = take(repository, host_terms(time, "a"))
    holder.beat()
    original = store.get
    vanished: list[str] = []

    def get(key: str) -> bytes:
        holder.beat()
        holder.beat()
        if key not in store.objects:
            vanished.append(key)
        return original(key)

    store.get = get  # type: ignore[method-assign]

    with pytest.raises(AlreadyRunning, match="held by"):
        take(repository, host_terms(time, "b"))

    assert vanished
    assert time.seconds < 30


def test_heartbeats_are_removed_in_time(repository: Repository, store: MemoryStore) -> None:
    """A day of them leaves the token and the last two."""
    lease = take(repository, host_terms(Time(), "a"))

    for _ in range(20):
        lease.beat()

    assert numbers(store) == [0, 19, 20]


def test_heartbeats_stay_where_nothing_may_be_removed(repository: Repository, store: MemoryStore) -> None:
    """One try is enough to know that."""

    def deny(key: str) -> None:
        store.calls.append(("delete", key))
        raise StoreDenied(f"delete of {key!r} is denied")

    store.delete = deny  # type: ignore[method-assign]
    lease = take(repository, host_terms(Time(), "a"))

    for _ in range(5):
        lease.beat()

    assert numbers(store) == [0, 1, 2, 3, 4, 5]
    assert [verb for verb, _ in store.calls].count("delete") == 1


def test_damaged_entry_is_held_by_nobody_known_until_it_is_stale(repository: Repository, store: MemoryStore) -> None:
    """Who can write into the bucket without the key may make us wait, not take a lease away from us."""
    time = Time()
    take(repository, host_terms(time, "a"))
    path = layout.lease(NAME, 0)
    document = json.loads(store.objects[path])
    store.objects[path] = json.dumps(document | {"state": "released"}).encode()

    lease = take(repository, host_terms(time, "b"))

    assert time.seconds >= 120
    assert lease.entry.token == 1


def test_entry_that_was_moved_is_none(repository: Repository, store: MemoryStore) -> None:
    """A released entry of last week, copied over under a higher number, frees nothing."""
    time = Time()
    take(repository, host_terms(time, "a")).release()
    take(repository, host_terms(time, "a"))
    store.objects[layout.lease(NAME, 3)] = store.objects[layout.lease(NAME, 1)]

    take(repository, host_terms(time, "b"))

    assert time.seconds >= 120


def test_taking_over_an_aborted_label_is_fine(repository: Repository) -> None:
    """The dead one had aborted it itself, and did not get to its release."""
    time = Time()
    take(repository, host_terms(time, "a"))
    abort_label(repository, "main", LABEL, reason="x")

    assert take(repository, host_terms(time, "b")).entry.token == 1

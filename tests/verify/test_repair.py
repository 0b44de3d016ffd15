"""Repair puts right what another copy holds whole, keeps the bad bytes, and never acts without good ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgvault.errors import AlreadyRunning, ObjectCorrupt, RepositoryMissing, StoreUnreachable, VerifyFailed
from pgvault.progress import NoProgress
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import Terms, acquire
from pgvault.repository.names import is_local
from pgvault.repository.tombstones import Order, begin_removal, put_tombstone
from pgvault.repository.who import Presence
from pgvault.verify.copies import Reports, Request
from pgvault.verify.repair import Repairs, repair_copies
from pgvault.verify.selection import Selection
from tests.archive import AT, SYSTEM
from tests.fakes import MemoryStore
from tests.verify.copies import Copies, Still, flip, of, said
from tests.verify.test_verify import DAMAGES
from tests.verify.test_verify_copies import drop, of_backup
from tests.verify.vault import LABELS, Vault, segment_of, wal_key

FIRST, SECOND = LABELS
OBJECTS = (
    of_backup(FIRST, "manifest"),
    of_backup(FIRST, "refs"),
    of_backup(FIRST, "parts/00000000"),
    of_backup(FIRST, "maps/00000000"),
    of_backup(FIRST, "packs/00000003"),
    wal_key(segment_of(5).name),
    wal_key(segment_of(6).name),
    layout.system("main", SYSTEM),
)


def wait_for_nobody(seconds: float) -> None:
    raise AssertionError(f"slept for {seconds} s")


TERMS = Terms(clock=Still(), sleep=wait_for_nobody, look_for=lambda _: Presence.GONE)


def repair(
    copies: Copies, *, selection: Selection | None = None, terms: Terms = TERMS
) -> tuple[Reports, list[Repairs]]:
    """Verify and repair; what was done by copy, the deciding one first."""
    request = Request("main", selection or Selection(), 2)
    reports, repairs = repair_copies(copies.repository, request, progress=NoProgress(), clock=Still(), terms=terms)
    return reports, list(repairs)


def contents(store: MemoryStore) -> dict[str, bytes]:
    """What copies have in common."""
    marks = ("/verified/",)
    return {key: body for key, body in store.objects.items() if not is_local(key) and not any(m in key for m in marks)}


def quarantined(store: MemoryStore) -> dict[str, bytes]:
    """The bad bytes that were kept, by the name they had."""
    kept = {key: body for key, body in store.objects.items() if key.startswith(f"{layout.QUARANTINE}/")}
    assert all(key.split("/")[1].startswith(layout.stamp(Still().now())) for key in kept)
    return {key.split("/", 2)[2]: body for key, body in kept.items()}


class Hurt(Vault):
    """One copy as the damages of a single vault see it."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store


@pytest.fixture
def copies(vault: Vault) -> Copies:
    return Copies(vault)


@pytest.mark.parametrize("copy", ["primary", "dr"])
@pytest.mark.parametrize("key", OBJECTS)
def test_each_kind_of_object_is_put_right_in_each_copy(copies: Copies, copy: str, key: str) -> None:
    """The other copy's bytes; the bad ones are kept; nothing else is touched; both copies get their marks."""
    whole = contents(copies.primary)
    store = copies.store(copy)
    flip(store, key, 150)
    bad = store.objects[key]

    reports, repairs = repair(copies)

    reports.require_whole()
    assert contents(copies.primary) == contents(copies.dr) == whole
    (done,) = (each for each in repairs if each.copy == copy)
    assert ([healed.path for healed in done.healed], done.failed) == ([key], {})
    assert quarantined(store) == {key: bad}
    assert done.healed[0].quarantine in store.objects
    assert len(copies.marks()) == 4


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_kind_of_damage_is_put_right(copies: Copies, damage: Callable[[Vault, str], None]) -> None:
    """Missing, cut, longer, changed, empty."""
    whole = contents(copies.primary)
    keys = (of_backup(FIRST, "manifest"), of_backup(FIRST, "packs/00000001"), wal_key(segment_of(5).name))
    copies.verify()  # so that what is gone is known to have been there
    for key in keys:
        damage(Hurt(copies.dr), key)
    is_kept = keys[0] in copies.dr.objects

    reports, (_, done) = repair(copies)

    reports.require_whole()
    assert contents(copies.dr) == whole
    assert sorted(healed.path for healed in done.healed) == sorted(keys)
    assert set(quarantined(copies.dr)) == (set(keys) if is_kept else set())


def test_every_object_damaged_in_one_copy_or_the_other_is_put_right(copies: Copies) -> None:
    """Neither is whole by itself; together they are, and then each is."""
    whole = contents(copies.primary)
    for number, key in enumerate(sorted(whole)):
        flip((copies.primary, copies.dr)[number % 2], key, -1)

    reports, repairs = repair(copies)

    reports.require_whole()
    assert contents(copies.primary) == contents(copies.dr) == whole
    assert sum(len(done.healed) for done in repairs) == len(whole)


@pytest.mark.parametrize("key", OBJECTS)
def test_what_no_copy_holds_whole_stays_as_it_is(copies: Copies, key: str) -> None:
    """Said, red, and not one byte is moved: bad bytes may be all there ever will be."""
    flip(copies.primary, key, 150)
    flip(copies.dr, key, 151)
    before = [contents(copies.primary), contents(copies.dr)]

    reports, repairs = repair(copies)

    with pytest.raises(VerifyFailed):
        reports.require_whole()
    assert [contents(copies.primary), contents(copies.dr)] == before
    for done, store in zip(repairs, (copies.primary, copies.dr), strict=True):
        assert done.healed == []
        assert "no copy holds" in str(done.failed[key])
        assert quarantined(store) == {}


def test_a_lost_backup_comes_back_and_its_root_comes_last(copies: Copies) -> None:
    """A root says that all is there; so whoever is killed before it has committed nothing."""
    whole = contents(copies.primary)
    drop(copies, "primary", of_backup(SECOND, ""))
    drop(copies, "primary", wal_key(segment_of(7).name))
    copies.primary.calls.clear()

    reports, (done, _) = repair(copies)

    reports.require_whole()
    assert contents(copies.primary) == whole
    puts = [key for verb, key in copies.primary.calls if verb == "put" and key in whole]
    assert puts[-1] == of_backup(SECOND, "manifest")
    assert len(puts) == len([key for key in whole if SECOND in key]) + 1
    assert sorted(healed.path for healed in done.healed) == sorted(puts)


def test_what_is_behind_is_not_brought(copies: Copies) -> None:
    """That is for `pgvault copy`, which knows the order."""
    drop(copies, "dr", of_backup(SECOND, "manifest"))
    drop(copies, "dr", wal_key(segment_of(9).name))
    before = contents(copies.dr)

    repair(copies)[0].require_whole()

    assert contents(copies.dr) == before


def test_what_expire_removes_is_not_brought_back(copies: Copies) -> None:
    """Its removal has begun: a half of it is no damage."""
    tombstone, _ = put_tombstone(copies.repository, "main", FIRST, Order(AT, "test", "old"))
    begin_removal(copies.repository, "main", tombstone)
    drop(copies, "dr", of_backup(FIRST, "packs/00000001"))
    before = contents(copies.dr)

    repair(copies)

    assert contents(copies.dr) == before


def test_the_aborted_record_of_the_deciding_copy_wins(copies: Copies) -> None:
    """Whole as the root is: that backup never was one."""
    key = of_backup(SECOND, "manifest")
    root = copies.primary.objects.pop(key)
    abort_label(replace(copies.repository, copies=copies.repository.copies[:1]), "main", SECOND, reason="taken over")

    reports, (_, done) = repair(copies)

    reports.require_whole()
    assert copies.dr.objects[key] == copies.primary.objects[key] != root
    assert quarantined(copies.dr) == {key: root}
    assert [healed.path for healed in done.healed] == [key]


@pytest.mark.parametrize("copy", ["primary", "dr"])
def test_an_empty_copy_is_not_filled(copies: Copies, copy: str) -> None:
    """Its disk may not be mounted, and all of a repository would go below."""
    copies.store(copy).objects.clear()

    with pytest.raises(RepositoryMissing, match=f"'{copy}' is empty"):
        repair(copies)

    assert copies.store(copy).objects == {}


def test_two_do_not_repair_at_once(copies: Copies) -> None:
    """Who holds the lease is said."""
    flip(copies.dr, of_backup(FIRST, "refs"))
    runs = replace(TERMS, look_for=lambda _: Presence.RUNS)
    with (
        acquire(copies.repository, "repair-main", Claim(cluster="main"), command="verify --repair", terms=runs),
        pytest.raises(AlreadyRunning, match="verify --repair"),
    ):
        repair(copies, terms=runs)


def test_nothing_is_repaired_without_the_deciding_copy(copies: Copies) -> None:
    """Nobody knows what exists."""
    copies.primary.silent = True

    with pytest.raises(StoreUnreachable):
        repair(copies)


def test_a_sample_that_found_something_is_repaired_and_read_whole(copies: Copies) -> None:
    """What was damaged gets all the attention, and its mark."""
    flip(copies.dr, of_backup(FIRST, "parts/00000000"))

    reports, (_, done) = repair(copies, selection=Selection(share=0.01, seed=3))

    reports.require_whole()
    assert [healed.path for healed in done.healed] == [of_backup(FIRST, "parts/00000000")]
    assert set(copies.marks()) == {(FIRST, "primary"), (FIRST, "dr")}


def test_a_store_that_does_not_keep_what_it_took_is_told(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put is read back before it counts."""
    key = of_backup(FIRST, "refs")
    flip(copies.dr, key)
    monkeypatch.setattr(copies.dr, "replace", lambda _key, _body: None)

    reports, (_, done) = repair(copies)

    assert isinstance(done.failed[key], ObjectCorrupt)
    assert said(of(reports, "dr"))


class Killed(BaseException):
    """As SIGKILL: nobody cleans up."""


def test_a_repair_that_is_killed_at_any_step_is_done_by_the_next(vault: Vault) -> None:
    """After each write: what is listed is as bad as it was, or better; no bad byte is lost; the next run heals."""
    whole = contents(Copies(vault).primary)
    keys = (of_backup(FIRST, "packs/00000001"), wal_key(segment_of(6).name))
    step = 0
    while True:
        step += 1
        copies = Copies(vault)
        bad = {key: copies.dr.objects[key][:-1] for key in keys}
        copies.dr.objects |= bad
        drop(copies, "dr", of_backup(FIRST, "packs/00000003"))
        try:
            die_after(copies, step)
            repair(copies)
        except Killed:
            pass
        else:
            break
        revive(copies)
        for key in keys:
            assert copies.dr.objects[key] in (bad[key], whole[key])
            assert bad[key] in (copies.dr.objects[key], quarantined(copies.dr).get(key))

        repair(copies)[0].require_whole()
        assert contents(copies.dr) == contents(copies.primary) == whole

    assert step > 10  # two leases, three objects, two in quarantine, the marks


def die_after(copies: Copies, writes: int) -> None:
    """Let the process die at a write to any copy: before it reaches the store, or after, by turns."""
    left = [writes]

    def dying(act: Callable[[str, bytes], None]) -> Callable[[str, bytes], None]:
        def write(key: str, body: bytes) -> None:
            left[0] -= 1
            if left[0] == 0 and writes % 2:
                raise Killed
            if left[0] < 0:
                raise Killed
            act(key, body)
            if left[0] == 0:
                raise Killed

        return write

    for store in (copies.primary, copies.dr):
        for verb in ("put_if_absent", "replace"):
            setattr(store, verb, dying(getattr(store, verb)))


def revive(copies: Copies) -> None:
    """The next process has whole stores."""
    for store in (copies.primary, copies.dr):
        del store.put_if_absent, store.replace

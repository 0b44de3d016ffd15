"""Carrying out an expiry on repositories in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from pgvault.errors import AlreadyRunning, PgvaultError, Refused, StoreUnreachable, UsageError, VerifyFailed
from pgvault.expire.actions import ExpireRequest
from pgvault.expire.apply import Policed, expire_cluster, plan_only
from pgvault.expire.carrying import Report
from pgvault.expire.policy import Policy
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.gaps import EXPIRED, read_gaps
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from pgvault.repository.tombstones import Order, take_back
from tests.archive import SYSTEM
from tests.expire.vaults import DAY, FIRST, HOUR, Vault, label_of, policy, terms

NOW = FIRST + 6 * DAY
LATER = NOW + 5 * HOUR  # behind the grace


def expire(vault: Vault, at: datetime, request: ExpireRequest | None = None, *, rules: Policy | None = None) -> Report:
    wanted = Policed(vault.cluster, rules or policy(), "test@db1", request or ExpireRequest())
    return expire_cluster(vault.repository, wanted, terms=terms(at))


@pytest.fixture(scope="module")
def filled() -> Vault:
    """Six backups, of which policy wants the last two."""
    return Vault.make().fill(6)


@pytest.fixture
def vault(filled: Vault) -> Vault:
    return filled.fork()


@pytest.fixture(scope="module")
def filled_pair() -> Vault:
    """The same in two copies."""
    return Vault.make("primary", "dr").fill(6)


@pytest.fixture
def pair(filled_pair: Vault) -> Vault:
    return filled_pair.fork()


def test_first_marked_then_removed_when_the_grace_is_over(vault: Vault) -> None:
    """In the first run nothing goes; in a later one root, data, marks, tombstones, and the WAL that only they need."""
    first = expire(vault, NOW)
    early = expire(vault, NOW + 3 * HOUR)

    assert first.marked == [label_of(number) for number in range(4)]
    assert (first.removed, early.removed, early.marked) == ([], [], [])
    assert vault.segments() == list(range(1, 13))  # what is marked can be taken back, with every moment behind it
    assert len(vault.labels()) == 6
    vault.require_whole()

    last = expire(vault, LATER)

    assert last.removed == [label_of(number) for number in range(4)]
    assert vault.labels() == [label_of(4), label_of(5)]
    assert [vault.below(number) for number in range(4)] == [[], [], [], []]
    assert vault.segments() == [9, 10, 11, 12]  # WAL leaves the window, and goes when the grace is over
    vault.require_whole()
    last.require_done()
    expire(vault, LATER + 4 * HOUR)
    assert vault.segments() == [9, 11, 12]  # the older backup restores to its end only
    vault.require_whole()
    assert expire(vault, LATER + 5 * HOUR).plan.is_empty


def test_expired_wal_is_noted_in_few_records(vault: Vault) -> None:
    """However often retention runs; what was noted before stays noted."""
    expire(vault, NOW)
    expire(vault, LATER)
    for number in range(13, 17):
        vault.put_segment(number)
    for number in (6, 7):
        vault.put_backup(number)
    expire(vault, NOW + 3 * DAY)
    expire(vault, LATER + 3 * DAY)
    expire(vault, LATER + 3 * DAY + 4 * HOUR)

    gaps = read_gaps(vault.repository, "main", SYSTEM)

    assert vault.segments() == [13, 15, 16]
    assert [(gap.cause, gap.start_lsn.value >> 20, gap.end_lsn.value >> 20) for gap in gaps] == [
        (EXPIRED, 0, 13),
        (EXPIRED, 14, 15),
    ]
    vault.require_whole()


def test_both_copies_lose_it_the_deciding_one_last(pair: Vault) -> None:
    """Each by its own roots."""
    expire(pair, NOW)
    pair.store.calls.clear()
    expire(pair, LATER)

    assert pair.labels("dr") == pair.labels("primary") == [label_of(4), label_of(5)]
    assert pair.segments("dr") == pair.segments("primary") == [9, 10, 11, 12]
    pair.require_whole()


def test_a_dry_run_writes_nothing(vault: Vault) -> None:
    """And shows what a run would do."""
    before = dict(vault.store.objects)

    report = plan_only(vault.repository, Policed("main", policy(), "test@db1"), terms=terms(NOW))

    assert [mark.label for mark in report.plan.marks] == [label_of(number) for number in range(4)]
    assert vault.store.objects == before


def test_without_retention_nothing_expires_but_what_was_deleted(vault: Vault) -> None:
    """Deleting is somebody's word; it is kept after the grace of three days that counts without a policy."""
    nothing = Policy(None)

    assert expire(vault, NOW, rules=nothing).plan.is_empty
    expire(vault, NOW, ExpireRequest(delete=(label_of(0),)), rules=nothing)
    report = expire(vault, NOW + 4 * DAY, rules=nothing)

    assert report.removed == [label_of(0)]
    assert len(vault.labels()) == 5
    assert len(vault.segments()) == 13


def test_what_was_taken_back_stays(vault: Vault) -> None:
    """Also when policy does not want it; then it is marked anew."""
    expire(vault, NOW)
    for number in range(4):
        take_back(vault.repository, "main", label_of(number), Order(NOW, "ann", "needed"))

    report = expire(vault, LATER)

    assert report.removed == []
    assert report.marked == [label_of(number) for number in range(4)]
    assert len(vault.labels()) == 6


def test_a_neighbour_whose_name_begins_alike_is_left_alone() -> None:
    """db1 expires, db10 does not, though both hold the same labels."""
    ours = Vault.make(cluster="db1").fill(6)
    other = ours.beside("db10").fill(6)
    before = {key: body for key, body in ours.store.objects.items() if key.startswith("clusters/db10/")}

    expire(ours, NOW)
    expire(ours, LATER)

    assert len(ours.labels()) == 2
    assert {key: body for key, body in ours.store.objects.items() if key.startswith("clusters/db10/")} == before
    other.require_whole()


def test_many_objects_go(vault: Vault) -> None:
    """More than one page of any store's listing."""
    label = label_of(0)
    for number in range(2500):
        vault.store.objects[layout.pack("main", label, number + 10)] = b"x"

    expire(vault, NOW)
    report = expire(vault, LATER)

    assert vault.below(0) == []
    assert report.tallies["primary"].object_count > 2500


@pytest.mark.parametrize("copy", ["primary", "dr"])
def test_one_damaged_root_and_nothing_goes(pair: Vault, copy: str) -> None:
    """What it needs is not known; marks are put all the same, since they take nothing away."""
    expire(pair, NOW)
    path = layout.manifest("main", label_of(5))
    pair.stores[copy].objects[path] = pair.stores[copy].objects[path][:-1]
    before = {name: set(store.objects) for name, store in pair.stores.items()}

    report = expire(pair, LATER)

    assert report.removed == []
    assert all(before[name] <= set(store.objects) for name, store in pair.stores.items())
    with pytest.raises(VerifyFailed, match=label_of(5)):
        report.require_done()


def test_a_silent_copy_and_nothing_goes(pair: Vault) -> None:
    """It may be the one that lacks what would be removed; abandoned, it hinders nothing."""
    expire(pair, NOW)
    before = {name: set(store.objects) for name, store in pair.stores.items()}
    pair.stores["dr"].fail_after_calls = 0

    report = expire(pair, LATER)

    assert report.removed == []
    assert before["primary"] <= set(pair.store.objects)
    with pytest.raises(StoreUnreachable, match="copy 'dr'"):
        report.require_done()
    abandoning = expire(pair, LATER, ExpireRequest(abandoned=frozenset({"dr"})))
    assert abandoning.removed == [label_of(number) for number in range(4)]
    assert set(pair.stores["dr"].objects) == before["dr"]
    abandoning.require_done()


def test_a_copy_that_never_got_it_hinders(pair: Vault) -> None:
    """What a copy is still to receive does not go elsewhere."""
    expire(pair, NOW)
    for key in [key for key in pair.stores["dr"].objects if label_of(1) in key]:
        del pair.stores["dr"].objects[key]

    report = expire(pair, LATER)

    assert report.removed == [label_of(number) for number in (0, 2, 3)]
    assert label_of(1) in pair.labels("primary")
    assert [(each.label, each.why) for each in report.plan.waiting] == [(label_of(1), "copy 'dr' never got it")]


@pytest.mark.parametrize("name", ["primary", "elsewhere"])
def test_only_another_copy_can_be_abandoned(pair: Vault, name: str) -> None:
    """Not the one that decides, and none that is not there."""
    with pytest.raises(UsageError):
        expire(pair, NOW, ExpireRequest(abandoned=frozenset({name})))


def test_two_expiries_do_not_run_at_once(vault: Vault) -> None:
    """The second one says who does; of another cluster it may run."""
    with acquire(vault.repository, "expire-main", Claim(cluster="main"), command="expire", terms=terms(NOW)):
        with pytest.raises(AlreadyRunning, match="expire on host"):
            expire(vault, NOW)
        expire(replace(vault, cluster="other"), NOW)


def test_what_was_never_committed_is_swept(vault: Vault) -> None:
    """A label without a root that is older than the grace is aborted, its data goes; the record stays for a month."""
    old, young = label_of(1)[:-4] + "ffff", layout.make_label(NOW - HOUR, b"xx")
    for label in (old, young):
        vault.store.objects[layout.pack("main", label, 0)] = b"x"

    report = expire(vault, NOW)

    record = layout.manifest("main", old)
    assert report.swept == [old]
    assert [key for key in vault.store.objects if old in key] == [record]
    assert any(young in key for key in vault.store.objects)
    assert expire(vault, NOW + HOUR).swept == []
    assert record in vault.store.objects
    assert expire(vault, NOW + 30 * DAY).swept == [old, young]
    assert record not in vault.store.objects


def test_a_backup_that_lost_its_root_is_not_swept(vault: Vault) -> None:
    """It was verified, so it was committed: another copy, which this host does not know of, may have its root."""
    del vault.store.objects[layout.manifest("main", label_of(4))]
    before = vault.below(4)

    assert expire(vault, NOW).swept == []
    assert expire(vault, LATER).swept == []
    assert vault.below(4) == before


def test_a_backup_under_way_is_not_swept(vault: Vault) -> None:
    """However long it takes: its lease says that somebody works on it."""
    label = label_of(1)[:-4] + "ffff"
    vault.store.objects[layout.pack("main", label, 0)] = b"x"
    claim = Claim(cluster="main", label=label)

    with acquire(vault.repository, "backup-main", claim, command="backup", terms=terms(NOW)):
        assert expire(vault, NOW).swept == []
    assert layout.manifest("main", label) not in vault.store.objects


def test_an_aborted_label_is_swept(vault: Vault) -> None:
    """Its record last."""
    old = label_of(-50)
    abort_label(vault.repository, "main", old, reason="taken over")
    vault.store.objects[layout.pack("main", old, 0)] = b"x"

    assert expire(vault, NOW).swept == [old]
    assert not [key for key in vault.store.objects if old in key]


def test_deleting_marks_and_says_what_it_takes(vault: Vault) -> None:
    """The last verified full, or more than a third: only by naming where the window begins."""
    many = ExpireRequest(delete=tuple(label_of(number) for number in range(3)))

    with pytest.raises(Refused, match="shrink-window-to"):
        expire(vault, NOW, many)
    (note,) = plan_only(vault.repository, Policed("main", policy(), "x", many), terms=terms(NOW)).plan.notes
    begins = datetime.fromisoformat(note.rpartition(" ")[2])
    report = expire(vault, NOW, replace(many, shrink_window_to=begins))

    assert report.marked == list(many.delete)
    assert begins == FIRST + 3 * DAY + HOUR
    assert len(vault.labels()) == 6


@pytest.mark.parametrize("error", [StoreUnreachable("gone"), PgvaultError("x")])
def test_what_is_wrong_comes_out(vault: Vault, error: PgvaultError) -> None:
    """The first problem decides how the command ends; the others are counted."""
    report = expire(vault, NOW)
    report.problems += [error, error]

    with pytest.raises(type(error), match="and 1 more problems"):
        report.require_done()

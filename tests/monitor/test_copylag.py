from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pgvault.errors import ObjectiveMissed, RepositoryMissing, StoreUnreachable
from pgvault.instants import Clock
from pgvault.mirror.behind import dated
from pgvault.mirror.facts import read_facts
from pgvault.mirror.plan import Lane, plan_wal
from pgvault.monitor.copycheck import check_copies
from pgvault.monitor.copylag import judge_copies, look_at_copies
from pgvault.monitor.finding import Finding, Level
from pgvault.repository import layout
from pgvault.repository.copies import LeftOut
from pgvault.repository.repository import Repository
from tests.archive import StillClock
from tests.mirror.vaults import LABELS, NOW, Vault, tail_path, wal_path
from tests.verify.copies import flip


@pytest.fixture
def vault() -> Vault:
    vault = Vault()
    vault.fill()
    vault.copy()
    return vault


def judged(repository: Repository, *, after: timedelta = timedelta(minutes=10)) -> Finding:
    (finding,) = judge_copies(look_at_copies(repository, "main", now=NOW + after))
    return finding


def test_a_copy_that_holds_all_is_well(vault: Vault) -> None:
    """And its figures are nothing."""
    finding = judged(vault.both)

    assert (finding.name, finding.level) == ("copy_lag", Level.OK)
    assert {"copy": "dr", "objects": 0, "bytes": 0, "seconds": 0.0}.items() <= finding.figures.items()


@pytest.mark.parametrize(("minutes", "level"), [(14, Level.OK), (16, Level.RED)])
def test_lag_is_told_by_the_oldest_segment_that_is_missing(vault: Vault, minutes: int, level: Level) -> None:
    """By when it was pushed; the limit is the copy's own."""
    vault.push(7, at=NOW)
    vault.push(8, 9, at=NOW + timedelta(minutes=5))

    finding = judged(vault.both, after=timedelta(minutes=minutes))

    assert finding.level is level
    assert finding.figures["objects"] == 3
    assert finding.figures["bytes"] == sum(len(vault.primary.objects[wal_path(n)]) for n in (7, 8, 9))
    assert finding.figures["wal_seconds"] == minutes * 60.0


def test_a_missing_backup_has_its_own_limit(vault: Vault) -> None:
    """What was committed a day ago and is nowhere else."""
    vault.store_backup("20260115T123000Z-0009", wal=(1,))

    assert judged(vault.both, after=timedelta(hours=23)).level is Level.OK
    late = judged(vault.both, after=timedelta(hours=25))
    assert late.level is Level.RED
    assert late.figures["backup_seconds"] == 25 * 3600.0
    assert late.figures["wal_seconds"] == 0.0


def test_wal_that_a_backup_needs_is_counted_once(vault: Vault) -> None:
    """It is missing once, whoever brings it."""
    vault.push(7)
    vault.store_backup("20260115T123000Z-0009", wal=(7,))

    finding = judged(vault.both)

    held, there = vault.primary.objects, vault.dr.objects
    assert finding.figures["objects"] == len(set(held) - set(there))
    assert finding.figures["bytes"] == sum(len(held[path]) for path in set(held) - set(there))


def test_limits_come_from_the_copy(vault: Vault) -> None:
    """An RPO of a minute in the second region is its own promise."""
    vault.push(7)
    both = vault.both
    strict = replace(both, copies=(both.copies[0], replace(both.copies[1], wal_lag=timedelta(minutes=1))))

    assert judged(strict, after=timedelta(minutes=2)).level is Level.RED


def test_damage_is_red_at_once(vault: Vault) -> None:
    """An object that the two hold differently is no matter of time."""
    vault.dr.objects[wal_path(2)] = vault.dr.objects[wal_path(2)][:-1]

    finding = judged(vault.both, after=timedelta(0))

    assert finding.level is Level.RED
    assert "1 damaged" in finding.detail


def test_a_copy_that_lost_an_object_of_a_backup_is_red(vault: Vault) -> None:
    """By its listing alone; the root is there still, and nothing is under way."""
    del vault.dr.objects[layout.pack("main", LABELS[0], 2)]

    assert judged(vault.both, after=timedelta(0)).level is Level.RED


def test_lag_is_red_where_nobody_can_say_since_when(vault: Vault) -> None:
    """The oldest missing segment is damaged, and its time stands for that of all behind it."""
    vault.push(7, 8, 9, at=NOW)
    flip(vault.primary, wal_path(7))

    finding = judged(vault.both, after=timedelta(days=9))

    assert finding.level is Level.RED
    assert finding.figures["different"] == 1


def test_an_unreachable_copy_is_red_and_one_that_was_left_out_too(vault: Vault) -> None:
    """With what it said."""
    both = vault.both
    vault.dr.fail_after_calls = 0
    assert judged(both).level is Level.RED

    error = StoreUnreachable("no route to host")
    alone = Repository(both.id, both.keys, both.copies[:1], (LeftOut("dr", error),))
    assert "no route to host" in judged(alone).detail


def test_a_copy_without_a_repository_is_red(vault: Vault) -> None:
    """An empty bucket is no copy."""
    vault.dr.objects.clear()

    finding = judged(vault.both)

    assert finding.level is Level.RED
    assert "holds no repository" in finding.detail
    assert "pgvault copy" in (finding.hint or "")


def test_without_the_first_copy_nobody_knows(vault: Vault) -> None:
    """Which is no verdict about the others."""
    both = vault.both
    gone = Repository(both.id, both.keys, both.copies[1:], (LeftOut("primary", StoreUnreachable("x"), True),))

    finding = judged(gone)

    assert (finding.level, finding.figures["copy"]) == (Level.WARN, "dr")
    assert "unknown" in finding.detail


def test_few_objects_are_read_however_many_are_missing(vault: Vault) -> None:
    """The first of a timeline, and the first tail, bound the age of all."""
    vault.push(*range(7, 60))
    vault.store_tail(60, 0, 8)
    vault.store_tail(60, 8, 64)
    copies = vault.both.copies

    asked = dated(plan_wal(read_facts(copies[0], copies[1], Lane.WAL)))

    assert set(asked) == {wal_path(7), tail_path(60, 0, 8)}


class Later(StillClock):
    """An hour later."""

    def now(self) -> datetime:
        return NOW + timedelta(hours=1)


def checked(repository: Repository, clock: Clock) -> tuple[Level, type[BaseException] | None, str | None]:
    (finding,) = check_copies(repository, "main", clock=clock)
    return finding.level, None if finding.error is None else type(finding.error), finding.warning


def test_check_tells_of_copies_too(vault: Vault) -> None:
    """Behind, away or empty is red, each with its exit code; one that the archiver waits for is a warning."""
    both = vault.both
    assert checked(both, Later()) == (Level.OK, None, None)

    waited_for = replace(both, copies=(both.copies[0], replace(both.copies[1], is_sync_for_wal=True)))
    level, _, warning = checked(waited_for, Later())
    assert level is Level.WARN
    assert "pg_wal" in (warning or "")

    vault.push(7)
    assert checked(both, Later())[:2] == (Level.RED, ObjectiveMissed)
    vault.dr.objects.clear()
    assert checked(both, Later())[:2] == (Level.RED, RepositoryMissing)
    vault.dr.fail_after_calls = 0
    assert checked(both, Later())[:2] == (Level.RED, StoreUnreachable)

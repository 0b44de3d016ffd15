"""Fetching from several copies: any may deliver; that there is nothing, only the first may say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.cli.opening import RepositorySource
from pgvault.cli.reading import open_cluster_to_read, open_copies_of
from pgvault.errors import ObjectMissing, StoreUnreachable
from pgvault.postgres.lsn import MIB
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from pgvault.stores.retry import Patience
from pgvault.wal.fetch import Budget, FetchOutcome, fetch_live, fetch_wal
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.push import push_wal
from tests.archive import SYSTEM, Archive, StillClock, make_segment, small

SHORT = Budget(seconds=0.2, longest_wait_seconds=0.05)
PATIENCE = Patience()


@pytest.fixture
def dr(archive: Archive, pg_wal: Path) -> Path:
    """A second copy that the configuration names, with segments 5 and 6 as the first; 7 is in the first alone."""
    other = archive.root.with_name("dr")
    for number in (5, 6, 7):
        path = pg_wal / small(number).name
        path.write_bytes(make_segment(small(number), fill=bytes([number])))
        push_wal(archive.repository, "main", path, clock=StillClock())
        path.unlink()
        if number == 6:
            shutil.copytree(archive.root, other)
    first = f"    primary: {{url: '{archive.root.as_uri()}'}}\n"
    text = archive.config.read_text()
    assert first in text
    archive.config.write_text(text.replace(first, f"{first}    dr: {{url: '{other.as_uri()}'}}\n"))
    return other


def live(archive: Archive, pg_wal: Path, number: int) -> FetchOutcome:
    """What a standby does."""
    return fetch_live(opener(archive), small(number).name, pg_wal / small(number).name, budget=SHORT)


def opener(archive: Archive) -> Callable[[], tuple[Repository, str]]:
    def open_it() -> tuple[Repository, str]:
        opened = open_cluster_to_read(RepositorySource(archive.config), "main", looks_at_all=False)
        return opened.repository, opened.name

    return open_it


def test_standby_gets_what_the_next_copy_has(archive: Archive, dr: Path, pg_wal: Path) -> None:
    """The first region is down; the second delivers what it has."""
    shutil.rmtree(archive.root)

    assert live(archive, pg_wal, 6) is FetchOutcome.DELIVERED
    assert (pg_wal / small(6).name).read_bytes() == make_segment(small(6), fill=bytes([6]))


def test_standby_is_not_told_that_there_is_nothing_while_the_first_copy_is_silent(
    archive: Archive, dr: Path, pg_wal: Path
) -> None:
    """The second lags: that it lacks a segment proves nothing, and a standby that believed it would be promoted."""
    shutil.rmtree(archive.root)

    with pytest.raises(StoreUnreachable, match="is not known: copy 'primary' is not read"):
        live(archive, pg_wal, 7)


def test_first_copy_says_absent_whatever_the_second_does(archive: Archive, dr: Path, pg_wal: Path) -> None:
    """A standby at the end of WAL must not hang on a dead second region."""
    shutil.rmtree(dr)

    assert live(archive, pg_wal, 8) is FetchOutcome.ABSENT


def plan_of(archive: Archive, *copies: str) -> FetchPlan:
    return replace(archive.plan(SYSTEM, segment_size=MIB), copies=copies)


def planned(archive: Archive, plan: FetchPlan) -> Callable[[], Repository]:
    config = RepositorySource(archive.config).load()
    return lambda: open_copies_of(plan, config, patience=PATIENCE)


def test_plan_names_the_copies_that_are_asked(archive: Archive, dr: Path) -> None:
    """In its order; one that the configuration does not know any more is passed over; none named: all."""

    def asked(*copies: str) -> list[str]:
        return [copy.name for copy in planned(archive, plan_of(archive, *copies))().copies]

    assert asked("dr") == ["dr"]
    assert asked("dr", "primary") == ["dr", "primary"]
    assert asked("gone", "primary") == ["primary"]
    assert asked() == ["primary", "dr"]


def test_plan_heals_a_damaged_segment(archive: Archive, dr: Path, pg_wal: Path) -> None:
    """Cut in one copy, whole in the other."""
    path = archive.root / layout.wal_file("main", SYSTEM, small(5).name)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-40])
    plan = plan_of(archive, "primary", "dr")

    outcome = fetch_wal(planned(archive, plan), plan, small(5).name, pg_wal / small(5).name, budget=SHORT)

    assert outcome is FetchOutcome.DELIVERED
    assert (pg_wal / small(5).name).read_bytes() == make_segment(small(5), fill=bytes([5]))


def test_planned_segment_is_not_lost_while_a_copy_is_silent(archive: Archive, dr: Path, pg_wal: Path) -> None:
    """The plan promises it, so the copy that does not answer may hold it: that is waited for, not a verdict."""
    plan = plan_of(archive, "primary", "dr")
    (archive.root / layout.wal_file("main", SYSTEM, small(5).name)).unlink()
    aside = dr.rename(dr.with_name("unmounted"))

    with pytest.raises(StoreUnreachable, match="it may be elsewhere: copy 'dr'"):
        fetch_wal(planned(archive, plan), plan, small(5).name, pg_wal / small(5).name, budget=SHORT)

    aside.rename(dr)
    (dr / layout.wal_file("main", SYSTEM, small(5).name)).unlink()
    with pytest.raises(ObjectMissing):
        fetch_wal(planned(archive, plan), plan, small(5).name, pg_wal / small(5).name, budget=SHORT)


def test_plan_keeps_its_copies(archive: Archive, dr: Path, tmp_path: Path) -> None:
    """They are in the file beside the restore; a plan of before has none."""
    plan = plan_of(archive, "dr", "primary")
    plan.save(tmp_path / "plan.json")

    assert FetchPlan.load(tmp_path / "plan.json") == plan
    document = plan.to_json()
    del document["copies"]
    assert FetchPlan.from_json(document).copies == ()

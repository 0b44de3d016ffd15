from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.errors import (
    DiskFull,
    ObjectCorrupt,
    ObjectMissing,
    OtherCluster,
    PgvaultError,
    SourceUnreadable,
    StoreDenied,
    StoreUnreachable,
    UsageError,
    WrongKey,
)
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, record_system
from pgvault.wal.fetch import Budget, FetchOutcome, fetch_live, fetch_wal
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.push import push_wal
from tests.archive import AT, SYSTEM, Archive, StillClock, history_text, make_control, make_segment, small

SHORT = Budget(seconds=1.0, longest_wait_seconds=0.05)
HISTORY = history_text(TimelineHistory(2, (HistoryEntry(1, Lsn(8 * MIB), "x"),)))


@pytest.fixture
def full(archive: Archive, pg_wal: Path) -> Archive:
    """An archive with segments 5, 6 and 7 and the history of timeline 2."""
    files = {small(n).name: make_segment(small(n), fill=bytes([n])) for n in (5, 6, 7)} | {"00000002.history": HISTORY}
    for name, content in files.items():
        (pg_wal / name).write_bytes(content)
        push_wal(archive.repository, "main", pg_wal / name, clock=StillClock())
        (pg_wal / name).unlink()
    return archive


@pytest.fixture
def plan(full: Archive) -> FetchPlan:
    return full.plan(SYSTEM, segment_size=MIB)


class Opener:
    """Opens a repository, after failing as told."""

    def __init__(self, repository: Repository, *failures: PgvaultError) -> None:
        self.repository = repository
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> Repository:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.repository


def nobody() -> Repository:
    raise AssertionError("the repository was asked")


@pytest.mark.parametrize("name", [small(5).name, small(7).name, "00000002.history"])
def test_what_the_plan_lists_is_delivered(full: Archive, plan: FetchPlan, pg_wal: Path, name: str) -> None:
    """Byte for byte under the wanted name, replacing what was there, with nothing left beside it."""
    destination = pg_wal / "RECOVERYXLOG"
    destination.write_bytes(b"left by an earlier call")

    assert fetch_wal(lambda: full.repository, plan, name, destination) is FetchOutcome.DELIVERED

    expected = (
        HISTORY
        if name.endswith("history")
        else make_segment(small(int(name, 16) & 15), fill=bytes([int(name, 16) & 15]))
    )
    assert destination.read_bytes() == expected
    assert list(pg_wal.iterdir()) == [destination]
    assert destination.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "name", [small(4).name, small(8).name, small(5, 2).name, "00000003.history", f"{small(5).name}.partial"]
)
def test_what_lies_beyond_the_plan_is_absent_and_nobody_is_asked(plan: FetchPlan, pg_wal: Path, name: str) -> None:
    """A dead region must not keep a restore from finding its end."""
    assert fetch_wal(nobody, plan, name, pg_wal / "RECOVERYXLOG") is FetchOutcome.ABSENT
    assert list(pg_wal.iterdir()) == []


def test_a_history_that_is_taken_is_stood_in_for(plan: FetchPlan, pg_wal: Path) -> None:
    """It is there, so that a promotion passes its number; what it holds is no history, for whoever reads it."""
    taken = replace(plan, taken=("00000003.history",))

    assert fetch_wal(nobody, taken, "00000003.history", pg_wal / "RECOVERYHISTORY") is FetchOutcome.DELIVERED

    with pytest.raises(ObjectCorrupt):
        TimelineHistory.parse((pg_wal / "RECOVERYHISTORY").read_bytes(), 3)


def test_a_wal_file_that_appeared_later_is_absent_all_the_same(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """The plan fixes the end, whatever is archived meanwhile."""
    segment = small(8)
    (pg_wal / segment.name).write_bytes(make_segment(segment))
    push_wal(full.repository, "main", pg_wal / segment.name, clock=StillClock())

    assert fetch_wal(nobody, plan, segment.name, pg_wal / "x") is FetchOutcome.ABSENT


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def swap(path: Path) -> None:
    path.write_bytes(path.with_name(small(5).name).read_bytes())


@pytest.mark.parametrize(
    ("damage", "error"),
    [(flip, ObjectCorrupt), (cut, ObjectCorrupt), (swap, ObjectCorrupt), (Path.unlink, ObjectMissing)],
)
def test_a_damaged_object_is_never_delivered(
    full: Archive, plan: FetchPlan, pg_wal: Path, damage: Callable[[Path], None], error: type[PgvaultError]
) -> None:
    """It is looked at twice and no more; no byte of it appears."""
    damage(full.object_path(small(6).name, SYSTEM))
    opener = Opener(full.repository)

    with pytest.raises(error):
        fetch_wal(opener, plan, small(6).name, pg_wal / "RECOVERYXLOG", budget=SHORT)

    assert opener.calls == 2
    assert list(pg_wal.iterdir()) == []


def test_wrong_bytes_under_the_right_seal_are_refused(archive: Archive, pg_wal: Path) -> None:
    """A plan for larger segments, or another system's, does not take what an archive holds."""
    name = small(5).name
    (pg_wal / name).write_bytes(make_segment(small(5)))
    push_wal(archive.repository, "main", pg_wal / name, clock=StillClock())
    (pg_wal / name).unlink()
    plan = archive.plan(SYSTEM, segment_size=MIB)

    larger = archive.plan(SYSTEM, segment_size=2 * MIB)
    for wrong, error in ((larger, ObjectCorrupt), (replace(plan, system_identifier=SYSTEM + 1), ObjectMissing)):
        with pytest.raises(error):
            fetch_wal(lambda: archive.repository, wrong, name, pg_wal / "x", budget=SHORT)

    assert list(pg_wal.iterdir()) == []


def test_an_outage_is_waited_out(
    full: Archive, plan: FetchPlan, pg_wal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Three failures, each said in a line, and then the file."""
    opener = Opener(full.repository, *[StoreUnreachable("store 'x' does not answer")] * 3)

    assert fetch_wal(opener, plan, small(5).name, pg_wal / "x", budget=Budget(30, 0.05)) is FetchOutcome.DELIVERED

    assert len(caplog.messages) == 3
    assert "store 'x' does not answer; again in" in caplog.messages[0]


def test_an_outage_beyond_the_budget_is_an_error(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """Never "absent": the last error is what the operator hears."""
    opener = Opener(full.repository, *[StoreUnreachable("gone")] * 1000)

    with pytest.raises(StoreUnreachable):
        fetch_wal(opener, plan, small(5).name, pg_wal / "x", budget=SHORT)

    assert opener.calls > 3


@pytest.mark.parametrize(("error", "calls"), [(WrongKey("no slot"), 1), (StoreDenied("403"), 2)])
def test_what_waiting_does_not_heal_is_not_waited_for(
    full: Archive, plan: FetchPlan, pg_wal: Path, error: PgvaultError, calls: int
) -> None:
    """A wrong key stays wrong; credentials may have been renewed a moment ago."""
    opener = Opener(full.repository, *[error] * 10)

    with pytest.raises(type(error)):
        fetch_wal(opener, plan, small(5).name, pg_wal / "x", budget=SHORT)

    assert opener.calls == calls


def test_a_name_that_is_none_is_an_error(plan: FetchPlan, pg_wal: Path) -> None:
    """Neither absent nor delivered."""
    with pytest.raises(UsageError):
        fetch_wal(nobody, plan, "RECOVERYXLOG", pg_wal / "x")


def test_a_destination_that_can_not_be_written_is_an_error(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """And says so in one sentence."""
    with pytest.raises(PgvaultError, match="can not be written: No such file"):
        fetch_wal(lambda: full.repository, plan, small(5).name, pg_wal / "missing" / "x")


def test_a_full_disk_leaves_nothing(full: Archive, plan: FetchPlan, tmp_path: Path) -> None:
    """No part of a segment stays behind, neither under its final name nor under another."""
    import resource

    target = tmp_path / "target"
    target.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, hard))
    try:
        with pytest.raises((DiskFull, PgvaultError), match="can not be written"):
            fetch_wal(lambda: full.repository, plan, small(5).name, target / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert list(target.iterdir()) == []


def test_a_follower_asks_live(full: Archive, pg_wal: Path) -> None:
    """Delivered when it is there, absent only because the store says so."""
    opener = lambda: (full.repository, "main")  # noqa: E731

    assert fetch_live(opener, small(7).name, pg_wal / "x") is FetchOutcome.DELIVERED
    assert fetch_live(opener, small(8).name, pg_wal / "y") is FetchOutcome.ABSENT
    assert fetch_live(opener, "00000003.history", pg_wal / "y") is FetchOutcome.ABSENT
    assert [path.name for path in pg_wal.iterdir()] == ["x"]


def test_a_followers_outage_is_no_absence(pg_wal: Path) -> None:
    """An unreachable store is an error for it as well."""

    def opener() -> tuple[Repository, str]:
        raise StoreUnreachable("gone")

    with pytest.raises(StoreUnreachable):
        fetch_live(opener, small(8).name, pg_wal / "y", budget=SHORT)


def test_a_follower_takes_only_its_own_systems_wal(full: Archive, pg_wal: Path, tmp_path: Path) -> None:
    """pg_control around the destination decides; without one, a cluster with two systems is ambiguous."""
    record_system(full.repository, "main", System(SYSTEM + 1, 18), follows=SYSTEM, now=AT)
    opener = lambda: (full.repository, "main")  # noqa: E731

    assert fetch_live(opener, small(5).name, pg_wal / "x") is FetchOutcome.DELIVERED
    with pytest.raises(SourceUnreadable, match="has had 2 systems"):
        fetch_live(opener, small(5).name, tmp_path / "x")
    (pg_wal.parent / "global/pg_control").write_bytes(make_control(SYSTEM + 1))
    assert fetch_live(opener, small(5).name, pg_wal / "y") is FetchOutcome.ABSENT


def test_nothing_is_absent_from_the_wrong_repository(full: Archive, pg_wal: Path) -> None:
    """Of a cluster that never had the system; to a server that is recovering, an absent file would be the end."""
    opener = lambda: (full.repository, "other")  # noqa: E731

    with pytest.raises(OtherCluster, match="under the cluster name 'other'"):
        fetch_live(opener, small(5).name, pg_wal / "x")
    (pg_wal.parent / "global/pg_control").write_bytes(make_control(SYSTEM + 1))
    with pytest.raises(OtherCluster, match=str(SYSTEM + 1)):
        fetch_live(lambda: (full.repository, "main"), "00000003.history", pg_wal / "x")

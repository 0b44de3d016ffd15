from __future__ import annotations

from dataclasses import replace

import pytest

from pgvault.errors import ObjectCorrupt, TargetTooLate
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.plan import GIB, RestoreRequest, plan_restore
from pgvault.recovery.target import ImmediateTarget, LatestTarget, LsnTarget, Target
from tests.recovery.fakes import SIZE, Archive, FakeBackup, lsn_in, minute
from tests.recovery.planning import make_archive, plan, promoted, time


@pytest.fixture
def archive() -> Archive:
    """Segments 2 to 9, a commit in each at the minute of its number, backups in 2 and 6."""
    return make_archive()


@pytest.mark.parametrize("is_inclusive", [True, False])
def test_wal_is_fetched_up_to_the_record_that_an_lsn_stops_at(archive: Archive, is_inclusive: bool) -> None:
    """PostgreSQL reads the first record at or behind it whole; on either side it may be longer than segments."""
    archive.starts = [lsn_in(6, 400), lsn_in(7, 90), lsn_in(9, 64)]

    inside, at = (plan(archive, LsnTarget(lsn), is_inclusive=is_inclusive) for lsn in (lsn_in(6, 900), lsn_in(7, 90)))

    for made in (inside, at):
        assert made.backup_label == "late"
        assert made.segments[0].last.number == 9
        assert made.end_lsn == lsn_in(7, 90)
    with pytest.raises(TargetTooLate):
        plan(archive, LsnTarget(lsn_in(9, 65)), is_inclusive=is_inclusive)
    archive.starts.append(lsn_in(9, 200))
    assert plan(archive, LsnTarget(lsn_in(9, 65)), is_inclusive=is_inclusive).end_lsn == lsn_in(9, 200)


def test_a_damaged_segment_behind_the_target_does_not_matter(archive: Archive) -> None:
    """It only hides how far one could go; a target in it or behind it fails with what is wrong."""
    for number in (9, 8):
        archive.damaged.add(WalSegment(1, number, SIZE))
        for target in (ImmediateTarget(), time(6.5), LsnTarget(lsn_in(6, 500))):
            made = plan(archive, target)
            assert made.furthest_lsn is None
            assert made.notes == (
                "how far the WAL reaches is not known: WAL segment '000000010000000000000009' is damaged",
            )
    for beyond in (time(8.5), LatestTarget()):
        with pytest.raises(ObjectCorrupt):
            plan(archive, beyond)


def test_a_damaged_history_that_is_not_needed_does_not_matter(archive: Archive) -> None:
    """Its number stays taken; only where the story may have gone on with it, the operator must say."""
    promoted(archive, at=lsn_in(8, 7000))
    archive.unreadable[2] = ObjectCorrupt("'00000002.history' is damaged")
    del archive.histories[2]

    for made in (
        plan(archive, time(6.5)),
        plan(archive, ImmediateTarget()),
        plan(archive, time(8.2), timeline=1),
        plan(archive, LatestTarget(), timeline=1),
    ):
        assert (made.timeline, made.histories, made.taken) == (1, (), (2,))
    for target in (time(8.2), LatestTarget()):
        with pytest.raises(ObjectCorrupt, match="timeline 2, and nobody knows where that begins") as caught:
            plan(archive, target)
        assert "--timeline 1" in str(caught.value.hint)
    with pytest.raises(ObjectCorrupt, match=r"timeline 2 can not be followed: '00000002\.history' is damaged"):
        plan(archive, time(9), timeline=2)


def test_a_damaged_history_of_an_ancestor_or_a_dead_branch_does_not_matter(archive: Archive) -> None:
    """The followed timeline's own history names its ancestors; a lower number than the newest backup's is past."""
    promoted(archive, at=lsn_in(9, 7000))
    archive.add_segment(3, 11, 12)
    archive.add_history(3, (1, lsn_in(9, 7000)), (2, lsn_in(11, 7000)))
    archive.unreadable[2] = ObjectCorrupt("'00000002.history' is damaged")
    del archive.histories[2]
    assert (plan(archive, LatestTarget()).timeline, plan(archive, LatestTarget()).taken) == (3, ())

    archive.add_history(3, (1, lsn_in(9, 7000)))
    archive.add_segment(3, 9, 10)
    archive.backups.append(FakeBackup("newest", lsn_in(11, 40), lsn_in(11, 400), minute(11), timeline=3))
    assert plan(archive, LatestTarget()).timeline == 3


def test_room_is_counted_for_what_recovery_writes(archive: Archive) -> None:
    """Fetched WAL stays until a restartpoint, and relations grow by replay; neither without bound."""
    archive.add_segment(1, *range(10, 300))
    archive.backups = [replace(archive.backups[0], total_bytes=20 * GIB)]

    def wanted(target: Target, max_wal_bytes: int) -> int:
        return plan_restore(archive.facts, RestoreRequest(target, max_wal_bytes=max_wal_bytes)).disk_bytes

    own = 20 * GIB + SIZE
    assert wanted(ImmediateTarget(), GIB) == own
    assert wanted(time(3.5), GIB) == own + 2 * 2 * SIZE
    assert wanted(LatestTarget(), GIB) == own + 2 * GIB + 4 * GIB
    assert wanted(LatestTarget(), 10 * SIZE) == own + 20 * SIZE + 4 * GIB
    archive.backups = [replace(archive.backups[0], total_bytes=0)]
    assert wanted(LatestTarget(), 10 * SIZE) == SIZE + 20 * SIZE + GIB

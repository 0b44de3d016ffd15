from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvault.errors import OtherCluster, TargetInvalid, TargetTooEarly, TargetTooLate, WalGap
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.facts import RestorePoint
from pgvault.recovery.plan import Reading
from pgvault.recovery.target import (
    Action,
    ImmediateTarget,
    LatestTarget,
    LsnTarget,
    NameTarget,
    Target,
    TimeTarget,
    XidTarget,
)
from tests.recovery.fakes import SIZE, Archive, FakeWatermark, lsn_in, minute
from tests.recovery.planning import commit_in, make_archive, plan, promoted, time


@pytest.fixture
def archive() -> Archive:
    """Segments 2 to 9, a commit in each at the minute of its number, backups in 2 and 6."""
    return make_archive()


def test_a_time_with_a_later_commit_is_left_to_postgresql(archive: Archive) -> None:
    """Everything explicit: instant with offset, side, timeline as a number, action."""
    made = plan(archive, time(7.5))

    assert made.backup_label == "late"
    assert made.settings == {
        "recovery_target_time": "2025-10-25 08:07:30.000000+00:00",
        "recovery_target_inclusive": "on",
        "recovery_target_timeline": "1",
        "recovery_target_action": "promote",
    }
    assert (made.last_commit, made.next_commit) == (commit_in(7), commit_in(8))
    assert made.end_lsn == lsn_in(8, 5000)
    assert [str(segments) for segments in made.segments] == ["000000010000000000000006..000000010000000000000008"]
    assert made.fetch_bytes == 1000 + 3 * SIZE
    assert made.disk_bytes == 3000 + 3 * SIZE + 2 * SIZE
    assert made.furthest_lsn == lsn_in(10, -32)
    assert made.notes == ()


def test_a_plan_stops_where_the_record_that_ends_it_does(archive: Archive) -> None:
    """What recovery does not need it may not fetch: it reads ahead, and what it stumbles over may be damaged."""
    made = plan(archive, time(3.5))

    assert [(len(segments), segments.last.number) for segments in made.segments] == [(3, 4)]
    assert WalSegment(1, 4, SIZE) in made.segments[0]
    assert WalSegment(1, 5, SIZE) not in made.segments[0]
    assert WalSegment(2, 4, SIZE) not in made.segments[0]
    archive.starts = [lsn_in(4, 5000), lsn_in(5, 200)]
    assert plan(archive, time(3.5)).segments[0].last.number == 5


@pytest.mark.parametrize(
    ("minutes", "label"), [(1.91, "early"), (5.0, "early"), (5.9, "early"), (5.91, "late"), (8.9, "late")]
)
def test_a_backup_must_have_stopped_before_the_target(archive: Archive, minutes: float, label: str) -> None:
    """A target inside or at the end of a backup's own time is reached from the one before."""
    assert plan(archive, time(minutes)).backup_label == label


def test_exclusive_stops_before_records_of_the_very_instant(archive: Archive) -> None:
    """Inclusive goes behind it."""
    assert plan(archive, time(8), is_inclusive=False).next_commit == commit_in(8)
    assert plan(archive, time(8)).next_commit == commit_in(9)


def test_action_and_side_are_what_was_asked_for(archive: Archive) -> None:
    """PostgreSQL's default action, pause, would hang every script."""
    made = plan(archive, time(8), is_inclusive=False, action=Action.PAUSE)

    assert made.settings["recovery_target_inclusive"] == "off"
    assert made.settings["recovery_target_action"] == "pause"


def test_a_target_before_every_backup_is_too_early(archive: Archive) -> None:
    """The oldest reachable instant is named."""
    with pytest.raises(TargetTooEarly, match=r"'early'.*just after 2025-10-25T08:01:54\+00:00, LSN 0/2000190"):
        plan(archive, time(1.5))


def test_without_a_backup_nothing_can_be_restored() -> None:
    """That is said first."""
    with pytest.raises(TargetTooEarly, match="no backup"):
        plan(Archive(), LatestTarget())


def test_beyond_the_last_commit_without_proof_is_too_late(archive: Archive) -> None:
    """Both causes are named, and an instant that can be asked for instead."""
    with pytest.raises(TargetTooLate) as caught:
        plan(archive, time(9.5))

    assert str(caught.value) == (
        "time 2025-10-25T08:09:30+00:00 lies beyond what the archived WAL proves, which is"
        " 2025-10-25T08:08:59.999999+00:00 (LSN 0/9FFFFE0); since then the server was idle, or its archiver stopped"
    )
    assert plan(archive, time(9 - 1e-6 / 60)).next_commit == commit_in(9)


def test_an_idle_watermark_makes_a_quiet_time_reachable(archive: Archive) -> None:
    """Recovery stops at the last record by LSN: by time PostgreSQL would die for want of a later commit."""
    archive.watermarks.append(FakeWatermark(minute(42), lsn_in(9, 6000)))

    made = plan(archive, time(41))

    assert made.settings["recovery_target_lsn"] == "0/9001388"
    assert made.settings["recovery_target_inclusive"] == "on"
    assert "recovery_target_time" not in made.settings
    assert made.notes == ("idle from 2025-10-25T08:09:00+00:00 to 2025-10-25T08:42:00+00:00",)
    assert made.last_commit == commit_in(9)
    assert made.stop.at_least == lsn_in(9, 5000)


@pytest.mark.parametrize(
    "mark",
    [
        FakeWatermark(minute(42), lsn_in(9, 6000), is_idle=False),
        FakeWatermark(minute(40), lsn_in(9, 6000)),
        FakeWatermark(minute(42), lsn_in(10, 100)),
        FakeWatermark(minute(42), lsn_in(9, 6000), timeline=2),
        FakeWatermark(minute(42), lsn_in(10, 100), next_xid=742),
    ],
)
def test_what_proves_nothing_makes_nothing_reachable(archive: Archive, mark: FakeWatermark) -> None:
    """A busy server, a mark too early, behind the archived WAL, or of another timeline."""
    archive.watermarks.append(mark)

    with pytest.raises(TargetTooLate):
        plan(archive, time(41))


def test_a_mark_at_the_start_of_the_next_segment_proves(archive: Archive) -> None:
    """Right after a switch the insert position is behind a page header that no record follows yet."""
    archive.watermarks.append(FakeWatermark(minute(42), lsn_in(10, 40)))

    assert plan(archive, time(41)).settings["recovery_target_lsn"] == "0/9001388"


def test_no_transaction_number_used_up_extends_the_proof(archive: Archive) -> None:
    """An idle server writes a little WAL that nobody archives; its transaction counter stands still."""
    archive.watermarks.append(FakeWatermark(minute(10), lsn_in(9, 6000), next_xid=742))
    archive.watermarks.append(FakeWatermark(minute(42), lsn_in(10, 500), next_xid=742))
    archive.watermarks.append(FakeWatermark(minute(50), lsn_in(10, 900), next_xid=743))

    assert plan(archive, time(41)).notes == ("idle from 2025-10-25T08:09:00+00:00 to 2025-10-25T08:42:00+00:00",)
    with pytest.raises(TargetTooLate, match=r"2025-10-25T08:42:00\+00:00"):
        plan(archive, time(45))


def test_idle_since_the_backup_stops_at_its_end(archive: Archive) -> None:
    """The last commit lies before the backup's stop: immediate, an LSN there would come before consistency."""
    archive.all = [commit_in(2), commit_in(6, at=5.5, offset=200)]
    archive.watermarks.append(FakeWatermark(minute(42), lsn_in(6, 500)))

    made = plan(archive, time(41))

    assert made.settings["recovery_target"] == "immediate"
    assert made.end_lsn == lsn_in(6, 400)
    assert made.last_commit == commit_in(6, at=5.5, offset=200)
    assert made.notes == ("idle from 2025-10-25T08:05:54+00:00 to 2025-10-25T08:42:00+00:00",)


def test_a_clock_that_was_set_back_during_a_backup_takes_the_older_one(archive: Archive) -> None:
    """A commit inside the backup is later than the target: PostgreSQL would stop before it is consistent."""
    archive.add(commit_in(6, at=7, offset=100))

    made = plan(archive, time(6.5))

    assert made.backup_label == "early"
    assert made.end_lsn == lsn_in(6, 100)


def test_latest_is_the_last_archived_record(archive: Archive) -> None:
    """Without a target PostgreSQL would take a failing fetch for the end and promote."""
    made = plan(archive, LatestTarget())

    assert made.settings["recovery_target_lsn"] == str(made.furthest_lsn)
    assert made.settings["recovery_target_inclusive"] == "on"
    assert made.last_commit == commit_in(9)
    assert made.segments[-1].last == WalSegment(1, 9, SIZE)


def test_latest_right_after_a_backup(archive: Archive) -> None:
    """An idle server is backed up and restored at once."""
    archive.segments = {WalSegment(1, 6, SIZE)}

    assert plan(archive, LatestTarget(), label="late").settings["recovery_target_lsn"] == "0/6FFFFE0"


@pytest.mark.parametrize("target", [LatestTarget(), time(8.5), LsnTarget(lsn_in(8, 50))])
def test_a_hole_before_the_target_is_a_gap(archive: Archive, target: Target) -> None:
    """The first missing segment and the furthest reachable point are named."""
    archive.segments.remove(WalSegment(1, 7, SIZE))

    with pytest.raises(WalGap, match=r"'000000010000000000000007' is missing.*LSN 0/6FFFFE0"):
        plan(archive, target)


def test_a_hole_behind_the_target_does_not_matter(archive: Archive) -> None:
    """Recovery never gets there."""
    archive.segments.remove(WalSegment(1, 8, SIZE))

    assert plan(archive, time(6.5)).next_commit == commit_in(7)


def test_a_gap_inside_a_backup_is_named(archive: Archive) -> None:
    """Such a backup cannot be restored at all; nor can an older one get past it."""
    archive.segments.remove(WalSegment(1, 6, SIZE))

    with pytest.raises(WalGap, match="'000000010000000000000006' is missing, without which backup 'late'"):
        plan(archive, time(7.5))


def test_an_lsn_needs_a_record_at_or_behind_it(archive: Archive) -> None:
    """PostgreSQL stops at the first record that starts there or later."""
    made = plan(archive, LsnTarget(lsn_in(8, 50)), is_inclusive=False)

    assert made.settings["recovery_target_lsn"] == "0/8000032"
    assert made.settings["recovery_target_inclusive"] == "off"
    assert made.backup_label == "late"
    with pytest.raises(TargetTooLate, match="LSN 0/9FFFFF0"):
        plan(archive, LsnTarget(lsn_in(10, -16)))
    with pytest.raises(TargetTooLate):
        plan(archive, LsnTarget(lsn_in(300)))
    with pytest.raises(TargetTooEarly, match="LSN 0/2000190"):
        plan(archive, LsnTarget(lsn_in(2, 399)))


@pytest.mark.parametrize(("lsn", "label"), [(lsn_in(6, 399), "early"), (lsn_in(6, 400), "late")])
def test_an_lsn_before_a_backups_end_takes_the_older_one(archive: Archive, lsn: Lsn, label: str) -> None:
    """A stop inside a backup is no consistent state."""
    assert plan(archive, LsnTarget(lsn)).backup_label == label


@pytest.mark.parametrize(("number", "label"), [(4, "early"), (8, "late")])
def test_a_transaction_is_looked_for_and_reached_from_the_newest_backup_before_it(
    archive: Archive, number: int, label: str
) -> None:
    """Its number says nothing about where it committed, so records are read."""
    made = plan(archive, XidTarget(2**32 + 700 + number))

    assert made.settings["recovery_target_xid"] == str(2**32 + 700 + number)
    assert (made.backup_label, made.last_commit) == (label, commit_in(number))
    assert len(archive.reads) == len(set(archive.reads))
    exclusive = plan(archive, XidTarget(700 + number), is_inclusive=False)
    assert (exclusive.end_lsn, exclusive.next_commit) == (lsn_in(number, 5000), commit_in(number))


@pytest.mark.parametrize("target", [XidTarget(999), NameTarget("nowhere")])
def test_what_is_not_in_the_wal_is_refused(archive: Archive, target: Target) -> None:
    """Before PostgreSQL would replay everything only to fail."""
    with pytest.raises(TargetInvalid, match="does not occur in the archived WAL behind backup 'early'"):
        plan(archive, target)


def test_a_restore_point_made_twice_is_reached_at_its_first(archive: Archive) -> None:
    """As PostgreSQL does, and the plan says so."""
    archive.points += [RestorePoint(lsn_in(7, 9000), "release"), RestorePoint(lsn_in(8, 9000), "release")]
    archive.points += [RestorePoint(lsn_in(4, 9000), "before")]

    made = plan(archive, NameTarget("release"), is_inclusive=False)

    assert (made.settings["recovery_target_name"], made.settings["recovery_target_inclusive"]) == ("release", "on")
    assert made.notes == (
        "restore point 'release' was made 2 times; recovery stops at the first, 0/7002328, not at 0/8002328",
    )
    assert plan(archive, NameTarget("before")).backup_label == "early"


def test_immediate_is_the_end_of_the_newest_or_the_named_backup(archive: Archive) -> None:
    """On the backup's own timeline, with the WAL it needs and no more."""
    made = plan(archive, ImmediateTarget())

    assert (made.backup_label, made.settings["recovery_target"], made.timeline) == ("late", "immediate", 1)
    assert made.end_lsn == lsn_in(6, 400)
    assert plan(archive, ImmediateTarget(), label="early").backup_label == "early"
    with pytest.raises(TargetInvalid, match="ends on timeline 1, not 2"):
        plan(archive, ImmediateTarget(), timeline=2)


def test_a_named_backup_is_taken_or_refused(archive: Archive) -> None:
    """It may be older than needed, never too new."""
    assert plan(archive, time(7.5), label="early").backup_label == "early"
    with pytest.raises(TargetTooEarly, match="'late'"):
        plan(archive, time(4.5), label="late")
    with pytest.raises(TargetInvalid, match="there is no backup 'never'"):
        plan(archive, time(7.5), label="never")


def test_a_time_behind_a_failover_is_reached_across_it(archive: Archive) -> None:
    """From a backup on the old timeline, the segment of the switch taken from the new one."""
    made = plan(promoted(archive, at=lsn_in(9, 7000)), time(10))

    assert made.timeline == 2
    assert [str(segments) for segments in made.segments] == [
        "000000010000000000000006..000000010000000000000008",
        "000000020000000000000009..00000002000000000000000A",
    ]
    assert made.histories == (2,)
    assert made.settings["recovery_target_timeline"] == "2"
    assert made.next_commit == commit_in(10, at=10.5, offset=9000, timeline=2)


def test_promotion_of_the_restored_server_takes_a_fresh_timeline(archive: Archive) -> None:
    """Restored on timeline 1 while 2 exists: its history is served, so that the new server becomes 3."""
    made = plan(promoted(archive, at=lsn_in(9, 7000)), time(7.5), timeline=1)

    assert (made.timeline, made.histories) == (1, (2,))
    assert made.notes == ("timeline 2 has WAL too, and is not followed; --timeline 2 would",)


def test_two_stories_answer_only_where_they_agree(archive: Archive) -> None:
    """Before they part it does not matter which is true; behind, the operator must say."""
    promoted(archive, at=lsn_in(7, 7000))

    assert plan(archive, time(6.5)).next_commit == commit_in(7)
    with pytest.raises(TargetInvalid, match=r"timeline 1 and timeline 2 both went on"):
        plan(archive, time(8.2))
    with pytest.raises(TargetInvalid):
        plan(archive, LatestTarget())
    assert plan(archive, time(8.2), timeline=1).next_commit == commit_in(9)
    assert plan(archive, time(8.2), timeline=2).next_commit == commit_in(8, at=8.5, offset=9000, timeline=2)


def test_a_timeline_that_was_left_before_the_backup_is_refused_early(archive: Archive) -> None:
    """As pgBackRest tests it: PostgreSQL would say "not a child of this server's history" after the download."""
    promoted(archive, at=lsn_in(4, 7000))

    with pytest.raises(TargetInvalid, match="timeline 2 left timeline 1 at 0/4001B58, before its stop"):
        plan(archive, LatestTarget(), timeline=2, label="late")
    assert plan(archive, LatestTarget(), timeline=2).backup_label == "early"
    assert plan(archive, LatestTarget()).timeline == 1


def test_a_naive_time_is_shown_as_the_cluster_would_read_it(archive: Archive) -> None:
    """Where the cluster's own zones say another instant, both are in the plan."""
    archive.backups = [
        replace(backup, time_zone="Europe/Berlin", log_time_zone="Nowhere/Land") for backup in archive.backups
    ]

    made = plan(archive, TimeTarget(minute(7.5), "2025-10-25T08:07:30", "UTC"))

    assert made.other_readings == (Reading("Europe/Berlin", minute(7.5) - timedelta(hours=2)),)
    assert made.notes == (
        "2025-10-25T08:07:30 read in UTC is 2025-10-25T08:07:30+00:00",
        "in the cluster's own time zone Europe/Berlin it would be 2025-10-25T06:07:30+00:00",
    )
    assert plan(archive, TimeTarget(minute(7.5), "2025-10-25T08:07:30Z", None)).other_readings == ()


def test_backups_and_wal_of_different_systems_do_not_mix(archive: Archive) -> None:
    """A cluster that was initialised anew has WAL of the same names."""
    archive.backups.append(replace(archive.backups[0], system_identifier=7))

    with pytest.raises(OtherCluster, match="is of system 7"):
        plan(archive, LatestTarget())

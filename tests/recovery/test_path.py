from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import TargetInvalid, WalGap
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.path import RecoveryPath, cover, find_path, leading_timelines, require_holding
from tests.recovery.fakes import SIZE, Archive, FakeBackup, lsn_in, minute

BACKUP = FakeBackup("b1", lsn_in(2, 40), lsn_in(2, 400), minute(2))


def names(path: RecoveryPath, *numbers: int) -> list[tuple[int, int]]:
    return [(path.segment(number).timeline, number) for number in numbers]


def forked(*, at: Lsn, parent: int = 1, child: int = 2) -> Archive:
    """An archive with segments 2 to 5 of the parent and from the switch to 8 of the child."""
    archive = Archive()
    archive.backups.append(BACKUP)
    archive.add_segment(parent, 2, 3, 4, 5)
    archive.add_segment(child, *range(at.value // SIZE, 9))
    archive.add_history(child, (parent, at))
    return archive


def test_the_segment_of_a_switch_is_taken_from_the_new_timeline() -> None:
    """It begins with a copy of what the old timeline wrote; the old one's goes on with what never happened."""
    path = find_path(2, forked(at=lsn_in(5, 1000)).facts.inventory)

    assert names(path, 3, 4, 5, 6) == [(1, 3), (1, 4), (2, 5), (2, 6)]


def test_a_switch_on_a_boundary_leaves_the_segment_before_to_the_old_timeline() -> None:
    """The new timeline has no byte in it."""
    path = find_path(2, forked(at=lsn_in(5)).facts.inventory)

    assert names(path, 4, 5) == [(1, 4), (2, 5)]


def test_two_switches_in_one_segment_take_the_newest() -> None:
    """Timeline 2 lived for less than a segment."""
    history = TimelineHistory(3, (HistoryEntry(1, lsn_in(5, 10), ""), HistoryEntry(2, lsn_in(5, 90), "")))

    assert names(RecoveryPath(history, SIZE), 4, 5, 6) == [(1, 4), (3, 5), (3, 6)]


@pytest.mark.parametrize(
    ("timeline", "stop", "holds"),
    [
        (1, lsn_in(5, 999), True),
        (1, lsn_in(5, 1000), True),
        (1, lsn_in(5, 1001), False),
        (2, lsn_in(7), False),
        (3, lsn_in(7), False),
    ],
)
def test_a_backup_must_have_stopped_before_its_timeline_was_left(timeline: int, stop: Lsn, holds: bool) -> None:
    """And it must have begun on the timeline it names."""
    path = find_path(2, forked(at=lsn_in(5, 1000)).facts.inventory)
    backup = replace(BACKUP, timeline=timeline, stop_lsn=stop)

    assert path.holds(backup) is holds
    if not holds:
        with pytest.raises(TargetInvalid, match="timeline 2"):
            require_holding(path, backup)


def test_a_lost_history_file_is_a_gap() -> None:
    """Without it nobody knows where timeline 10 comes from; its name is hexadecimal."""
    with pytest.raises(WalGap, match=r"timeline 10 .*'0000000A.history'"):
        find_path(10, Archive().facts.inventory)


def test_coverage_ends_at_the_first_missing_segment() -> None:
    """And says whether more of the same path lies behind it."""
    archive = forked(at=lsn_in(5, 1000))
    path = find_path(2, archive.facts.inventory)

    whole = cover(path, BACKUP.start_lsn, archived=frozenset(archive.segments))
    holed = cover(path, BACKUP.start_lsn, archived=frozenset(archive.segments - {WalSegment(2, 5, SIZE)}))

    assert [segment.number for segment in whole.segments] == [2, 3, 4, 5, 6, 7, 8]
    assert (whole.missing, whole.has_more, whole.end_lsn) == (WalSegment(2, 9, SIZE), False, lsn_in(9))
    # The old timeline's segment 5 is archived, and is no substitute.
    assert [segment.number for segment in holed.segments] == [2, 3, 4]
    assert (holed.missing, holed.has_more) == (WalSegment(2, 5, SIZE), True)


def test_nothing_covered_is_no_error() -> None:
    """The start itself may be what is missing."""
    coverage = cover(RecoveryPath(TimelineHistory(1), SIZE), BACKUP.start_lsn, archived=frozenset())

    assert (coverage.segments, coverage.missing.number, coverage.has_more) == ((), 2, False)


@st.composite
def histories(draw: st.DrawFn) -> TimelineHistory:
    """A lineage of up to four timelines over twelve segments, with switches on and off boundaries."""
    timelines = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=4)))
    offsets = st.sampled_from([0, 1, SIZE // 2, SIZE - 1])
    switches = sorted(lsn_in(draw(st.integers(1, 12)), draw(offsets)) for _ in timelines[1:])
    entries = tuple(HistoryEntry(*pair, "") for pair in zip(timelines[:-1], switches, strict=True))
    return TimelineHistory(timelines[-1], entries)


def postgresql_reads(history: TimelineHistory, number: int, served: frozenset[WalSegment]) -> WalSegment | None:
    """PostgreSQL's XLogFileReadAnyTLI(): newest timeline first, those that begin behind the segment skipped."""
    begins = [Lsn(0), *(entry.switch_lsn for entry in history.entries)]
    for timeline, begin in reversed(list(zip([*history.ancestors, history.timeline], begins, strict=True))):
        if number < begin.value // SIZE:
            continue
        if (segment := WalSegment(timeline, number, SIZE)) in served:
            return segment
    return None


@given(history=histories(), data=st.data())
def test_served_only_what_is_covered_postgresql_reads_just_that(history: TimelineHistory, data: st.DataObject) -> None:
    """Over random timelines and holes, recovery takes the covered segments in order and then finds nothing."""
    some = st.builds(
        lambda timeline, number: WalSegment(timeline, number, SIZE), st.integers(1, 40), st.integers(0, 14)
    )
    path = RecoveryPath(history, SIZE)
    ideal = {path.segment(number) for number in range(15)}
    holes = data.draw(st.sets(st.sampled_from(sorted(ideal)), max_size=2))
    archived = frozenset((ideal - holes) | data.draw(st.sets(some, max_size=10)))
    first = data.draw(st.integers(0, 12))

    coverage = cover(path, lsn_in(first, 40), archived=archived)

    served = frozenset(coverage.segments)
    numbers = range(first, first + len(coverage.segments))
    assert [postgresql_reads(history, number, served) for number in numbers] == list(coverage.segments)
    assert postgresql_reads(history, coverage.missing.number, served) is None
    # With all that is archived PostgreSQL would take the same: we withhold nothing that it needs.
    assert [postgresql_reads(history, number, archived) for number in numbers] == list(coverage.segments)
    assert coverage.missing not in archived
    assert coverage.has_more == any(path.segment(number) in archived for number in range(numbers.stop + 1, 15))


def test_one_timeline_leads_to_itself() -> None:
    """Nothing is contested."""
    archive = Archive(backups=[BACKUP])
    archive.add_segment(1, 2, 3)

    assert leading_timelines(archive.facts.inventory, archive.backups) == (1,)


def test_after_a_failover_the_new_timeline_leads() -> None:
    """The old primary's last segment holds the switch and perhaps a bit more; it is not a story of its own."""
    archive = forked(at=lsn_in(5, 1000))

    assert leading_timelines(archive.facts.inventory, archive.backups) == (2,)


def test_a_stray_copy_that_archived_does_not_take_over() -> None:
    """Production goes on with timeline 1 and takes a backup there; a test restore has pushed timeline 2."""
    archive = forked(at=lsn_in(3, 1000))
    archive.backups.append(
        replace(BACKUP, label="b2", start_lsn=lsn_in(4, 40), stop_lsn=lsn_in(4, 400), stopped_at=minute(9))
    )

    assert leading_timelines(archive.facts.inventory, archive.backups) == (1,)


def test_a_backup_behind_the_switch_in_its_very_segment_is_a_story_of_its_own() -> None:
    """Timeline 1 has no segment behind that of the switch, but a backup there."""
    archive = forked(at=lsn_in(5, 1000))
    archive.backups.append(
        replace(BACKUP, label="b2", start_lsn=lsn_in(5, 4000), stop_lsn=lsn_in(5, 5000), stopped_at=minute(9))
    )

    assert leading_timelines(archive.facts.inventory, archive.backups) == (1,)


def test_two_stories_without_a_judge_are_both_returned() -> None:
    """Two primaries since the newest backup: the highest first, as PostgreSQL's own `latest` would take it."""
    archive = forked(at=lsn_in(3, 1000))

    assert leading_timelines(archive.facts.inventory, archive.backups) == (2, 1)


def test_the_history_of_the_newest_backup_must_not_be_lost() -> None:
    """Without it an old timeline would look like the only one."""
    archive = forked(at=lsn_in(5, 1000))
    archive.backups.append(
        replace(BACKUP, label="b2", timeline=2, start_lsn=lsn_in(6, 40), stop_lsn=lsn_in(6, 400), stopped_at=minute(9))
    )
    archive.histories.clear()

    with pytest.raises(WalGap, match=r"00000002\.history"):
        leading_timelines(archive.facts.inventory, archive.backups)


def test_a_history_without_wal_leads_nowhere() -> None:
    """A promotion that has not archived a segment yet hides nothing."""
    archive = Archive(backups=[BACKUP])
    archive.add_segment(1, 2, 3)
    archive.add_history(2, (1, lsn_in(4)))

    assert leading_timelines(archive.facts.inventory, archive.backups) == (1,)

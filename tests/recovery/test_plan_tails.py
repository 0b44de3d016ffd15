"""Plans that end in a segment of which only the beginning was streamed."""

from __future__ import annotations

import pytest

from pgvault.errors import TargetTooLate, WalGap
from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walrange import make_ranges
from pgvault.recovery.idleness import LONG_PAGE_HEADER_BYTES
from pgvault.recovery.path import cover, find_path, leading_timelines, other_ends
from pgvault.recovery.plan import RestorePlan
from pgvault.recovery.target import LatestTarget, LsnTarget
from pgvault.repository.tails import Span
from tests.recovery.fakes import SIZE, Archive, FakeWatermark, lsn_in, minute
from tests.recovery.planning import commit_in, make_archive, plan, promoted, time

TAIL = WalSegment(1, 10, SIZE)
END = 20_000  # of it


@pytest.fixture
def archive() -> Archive:
    """Segments 2 to 9, and the first bytes of segment 10 with a commit at minute 10 and one at 10.5."""
    made = make_archive()
    made.tails[TAIL] = lsn_in(10, END)
    made.add(commit_in(10), commit_in(10, at=10.5, offset=15_000), commit_in(10, at=10.7, offset=END))
    return made


def segments(made: RestorePlan) -> list[int]:
    return [number for each in made.segments for number in range(each.first.number, each.last.number + 1)]


def test_coverage_goes_on_into_the_tails(archive: Archive) -> None:
    """The segment counts as one that may be fetched, and as the first that is not archived whole."""
    inventory = archive.facts.inventory
    path = find_path(1, inventory)
    covered = cover(path, lsn_in(8, 40), archived=inventory.segments, tails=inventory.tails)

    assert [segment.number for segment in covered.segments] == [8, 9, 10]
    assert (covered.missing, covered.tail, covered.end_lsn, covered.has_more) == (TAIL, TAIL, lsn_in(10, END), False)
    whole = cover(path, lsn_in(8, 40), archived=inventory.segments)
    assert (whole.missing, whole.tail, whole.end_lsn) == (TAIL, None, lsn_in(10))


def test_tails_that_do_not_reach_the_start_hold_nothing(archive: Archive) -> None:
    """A start behind them is not covered by them."""
    inventory = archive.facts.inventory
    covered = cover(find_path(1, inventory), lsn_in(10, END), archived=inventory.segments, tails=inventory.tails)

    assert (covered.segments, covered.tail) == ((), None)


def test_latest_is_the_last_record_of_the_tails(archive: Archive) -> None:
    """And the plan names the segment with what it is put together from."""
    made = plan(archive, LatestTarget())

    assert made.end_lsn == lsn_in(10, END - 32)
    assert made.wal_end_lsn == lsn_in(10, END)
    assert made.last_commit is not None
    assert made.last_commit.lsn == lsn_in(10, 15_000)
    assert make_ranges([TAIL])[0].first in made.segments[-1]
    assert made.tails == {TAIL: (Span(0, END),)}
    note = f"WAL segment {TAIL.name} is not archived whole: it was streamed up to LSN {lsn_in(10, END)}"
    assert note in made.notes


def test_a_time_between_two_commits_of_the_tails_is_reached(archive: Archive) -> None:
    """By PostgreSQL's own rule: the later commit is there to be stopped at."""
    made = plan(archive, time(10.2))

    assert made.settings["recovery_target_time"].startswith("2025-10-25 08:10:12")
    assert made.next_commit is not None
    assert made.next_commit.lsn == lsn_in(10, 15_000)
    assert segments(made)[-1] == 10


def test_a_target_before_the_tails_does_not_need_them(archive: Archive) -> None:
    """What is not read is not promised: the plan stays good when they are damaged."""
    made = plan(archive, time(7.5))

    assert (segments(made)[-1], made.tails) == (8, {})
    assert not [note for note in made.notes if "streamed" in note]


def test_what_lies_behind_the_tails_is_beyond(archive: Archive) -> None:
    """Their last byte is known; nothing behind it is promised."""
    assert plan(archive, LsnTarget(lsn_in(10, 15_000))).tails
    with pytest.raises(TargetTooLate):
        plan(archive, LsnTarget(lsn_in(10, END)))
    with pytest.raises(TargetTooLate):
        plan(archive, time(10.6))


def test_nothing_behind_a_segment_that_is_not_whole_counts(archive: Archive) -> None:
    """Not even where its tails reach its last byte: a gap is told, and what lies before it is reached."""
    archive.tails[TAIL] = TAIL.end_lsn
    archive.add_segment(1, 11, 12)
    archive.add(commit_in(11), commit_in(12))

    assert plan(archive, time(10.2)).tails == {TAIL: (Span(0, SIZE),)}
    with pytest.raises(WalGap, match=TAIL.name):
        plan(archive, LatestTarget())
    with pytest.raises(WalGap, match=TAIL.name):
        plan(archive, time(11.5))


def test_tails_behind_a_gap_are_of_no_use(archive: Archive) -> None:
    """Only those of the first segment that is missing count."""
    archive.segments.remove(WalSegment(1, 9, SIZE))

    assert plan(archive, LatestTarget()).wal_end_lsn == lsn_in(9)


@pytest.mark.parametrize(("behind", "is_proven"), [(-8, True), (0, True), (8, False), (LONG_PAGE_HEADER_BYTES, False)])
def test_an_idle_proof_needs_its_last_byte(archive: Archive, behind: int, is_proven: bool) -> None:
    """At a segment's end a page header may stand behind it; inside one the same bytes may be a commit."""
    archive.watermarks.append(FakeWatermark(minute(42), lsn_in(10, END + behind)))

    if is_proven:
        assert plan(archive, time(41)).end_lsn == lsn_in(10, 15_000)
    else:
        with pytest.raises(TargetTooLate):
            plan(archive, time(41))


def test_a_timeline_may_begin_with_nothing_but_tails() -> None:
    """Right after a failover its first segment is only streamed: what that says is not lost."""
    archive = promoted(make_archive(), at=lsn_in(9, 6000))
    archive.segments -= {WalSegment(2, number, SIZE) for number in range(9, 13)}
    assert leading_timelines(archive.facts.inventory, archive.backups) == (1,)
    assert other_ends(archive.facts.inventory, find_path(1, archive.facts.inventory)) == ()

    archive.tails[WalSegment(2, 9, SIZE)] = lsn_in(9, 10_000)
    inventory = archive.facts.inventory
    assert leading_timelines(inventory, archive.backups) == (2,)
    assert other_ends(inventory, find_path(1, inventory)) == (2,)
    made = plan(archive, LatestTarget())
    assert (made.timeline, made.end_lsn) == (2, lsn_in(9, 10_000 - 32))
    assert made.tails == {WalSegment(2, 9, SIZE): (Span(0, 10_000),)}

from __future__ import annotations

import time as clock
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.idleness import LONG_PAGE_HEADER_BYTES, Proofs
from pgvault.recovery.path import RecoveryPath
from pgvault.recovery.window import RecoveryWindow, recovery_window
from pgvault.recovery.windowparts import Branch, Standing
from tests.recovery.fakes import SIZE, Archive, FakeBackup, FakeInventory, FakeWatermark, lsn_in, minute
from tests.recovery.planning import make_archive, promoted

NOTICED = minute(30)


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of a gap record."""

    timeline: int
    start_lsn: Lsn
    end_lsn: Lsn
    cause: str = "the slot was lost"
    noticed_at: datetime = NOTICED


def window(archive: Archive, *records: Record, tails: dict[WalSegment, Lsn] | None = None) -> RecoveryWindow:
    facts = archive.facts
    inventory = FakeInventory(
        facts.inventory.segments, facts.inventory.histories, unreadable=archive.unreadable, tails=tails or {}
    )
    return recovery_window(facts.backups, inventory, facts.watermarks, records)


def test_a_whole_archive_is_one_range() -> None:
    """From the first backup's stop to the first byte that is not archived; the second backup lies in it."""
    archive = make_archive()
    archive.watermarks.append(FakeWatermark(minute(42), lsn_in(9, 6000)))

    found = window(archive)

    (only,) = found.ranges
    assert (only.timeline, only.start_lsn, only.end_lsn) == (1, lsn_in(2, 400), lsn_in(10))
    assert (only.starts_at, only.proven_until, only.labels) == (minute(1.9), minute(42), ("early", "late"))
    assert (only.standing, only.branch, only.last_segment) == (Standing.FOLLOWED, None, WalSegment(1, 9, SIZE))
    assert (found.gaps, found.lost, found.leading) == ((), (), (1,))


def test_when_a_standbys_backup_stopped_proves_nothing_of_the_range() -> None:
    """Its primary may have committed before that what is behind its stop, and is archived later or never."""
    archive = make_archive()
    early, late = sorted(archive.backups, key=lambda backup: backup.stop_lsn)
    archive.backups[:] = [early, replace(late, is_from_standby=True)]

    (only,) = window(archive).ranges

    assert (only.starts_at, only.proven_until) == (early.stopped_at, early.stopped_at)


def test_a_lagging_standbys_backup_takes_nothing_from_those_behind_it() -> None:
    """In WAL it is the first, by the clock the last: the other one reaches every moment since its own stop."""
    archive = make_archive()
    early, late = sorted(archive.backups, key=lambda backup: backup.stop_lsn)
    lagging = replace(early, is_from_standby=True, stopped_at=late.stopped_at + timedelta(minutes=5))
    archive.backups[:] = [late, lagging]

    found = window(archive)

    (only,) = found.ranges
    assert (only.start_lsn, only.starts_at, only.proven_until) == (early.stop_lsn, late.stopped_at, late.stopped_at)
    assert found.begins_at == late.stopped_at
    at_once = found.nearest(late.stopped_at).after
    assert at_once is not None
    assert (at_once.label, at_once.lsn) == ("late", late.stop_lsn)
    lowest = found.nearest_lsn(Lsn(1)).after
    assert lowest is not None
    assert (lowest.label, lowest.at) == ("early", lagging.stopped_at)


def test_wal_before_the_first_backup_is_no_range_and_no_gap() -> None:
    """Nothing leads to it; a hole there takes nothing away."""
    archive = make_archive()
    archive.add_segment(1, 10, 11)
    archive.segments.discard(WalSegment(1, 3, SIZE))
    del archive.backups[0]

    found = window(archive)

    assert [(each.start_lsn, each.end_lsn) for each in found.ranges] == [(lsn_in(6, 400), lsn_in(12))]
    assert found.gaps == ()


def test_wal_behind_a_gap_counts_from_the_next_backup_on() -> None:
    """Before that backup's stop nothing is consistent; without one the WAL behind the gap is of no use."""
    archive = make_archive()
    archive.segments.remove(WalSegment(1, 4, SIZE))
    archive.segments.remove(WalSegment(1, 8, SIZE))

    found = window(archive)

    assert [(each.start_lsn, each.end_lsn, each.has_gap_behind) for each in found.ranges] == [
        (lsn_in(2, 400), lsn_in(4), True),
        (lsn_in(6, 400), lsn_in(8), True),
    ]
    assert [(gap.start_lsn, gap.end_lsn, gap.reachable_again_lsn) for gap in found.gaps] == [
        (lsn_in(4), lsn_in(5), lsn_in(6, 400)),
        (lsn_in(8), lsn_in(9), None),
    ]


def test_a_promotion_branches_and_shares_its_parents_range() -> None:
    """The parent ends where its archived WAL does; what lies before the branch is shared, and said to be."""
    archive = promoted(make_archive(), at=lsn_in(9, 300))

    found = window(archive)

    first, second = found.ranges
    assert (second.timeline, second.start_lsn, second.end_lsn) == (2, lsn_in(2, 400), lsn_in(12))
    assert (second.branch, second.own_start_lsn) == (Branch(1, lsn_in(9, 300)), lsn_in(9, 300))
    assert (found.parent_of(second), found.parent_of(first)) == (first, None)
    assert (found.leading, second.standing) == ((2,), Standing.FOLLOWED)
    assert first.standing is Standing.LEFT  # segment 9 of timeline 1 holds bytes that timeline 2 never had


def test_a_backup_behind_the_branch_shares_nothing() -> None:
    """The range begins on its own timeline."""
    archive = promoted(make_archive(), at=lsn_in(9, 300))
    archive.segments.remove(WalSegment(2, 10, SIZE))
    archive.backups.append(FakeBackup("new", lsn_in(11, 40), lsn_in(11, 400), minute(12), timeline=2))

    last = window(archive).ranges[-1]

    assert (last.timeline, last.labels, last.branch, last.own_start_lsn) == (2, ("new",), None, lsn_in(11, 400))


def test_what_lies_before_a_branch_is_told_once() -> None:
    """The range and the gap on the parent's part of the way are the parent's; `ways` has them for both."""
    archive = promoted(make_archive(), at=lsn_in(9, 300))
    archive.segments.remove(WalSegment(1, 4, SIZE))

    found = window(archive)

    assert [(each.timeline, each.start_lsn) for each in found.ranges] == [
        (1, lsn_in(2, 400)),
        (1, lsn_in(6, 400)),
        (2, lsn_in(6, 400)),
    ]
    assert [(gap.timeline, gap.start_lsn) for gap in found.gaps] == [(1, lsn_in(4))]
    assert [each.start_lsn for each in found.ways[2]] == [lsn_in(2, 400), lsn_in(6, 400)]
    assert found.ranges[0].standing is Standing.FOLLOWED


def test_two_futures_are_contested_until_a_backup_tells() -> None:
    """Both went on: neither is followed unasked. A backup on one of them makes that the way, and the other left."""
    archive = promoted(make_archive(), at=lsn_in(7, 300))

    assert [(each.timeline, each.standing) for each in window(archive).ranges] == [
        (1, Standing.CONTESTED),
        (2, Standing.CONTESTED),
    ]
    assert window(archive).ranges[0].is_contested

    archive.backups.append(FakeBackup("new", lsn_in(11, 40), lsn_in(11, 400), minute(12), timeline=2))

    assert [(each.timeline, each.standing) for each in window(archive).ranges] == [
        (1, Standing.LEFT),
        (2, Standing.FOLLOWED),
    ]


def test_a_tail_counts_and_nothing_behind_it() -> None:
    """It reaches into the first missing segment; what is archived behind that is no use, even if it reaches its end."""
    archive = make_archive()
    archive.segments.remove(WalSegment(1, 4, SIZE))
    for end in (lsn_in(4, 8192), lsn_in(5)):
        found = window(archive, tails={WalSegment(1, 4, SIZE): end, WalSegment(1, 10, SIZE): lsn_in(10, 16)})

        first, second = found.ranges
        assert (first.end_lsn, first.is_tail, first.last_segment) == (end, True, WalSegment(1, 4, SIZE))
        assert (second.end_lsn, second.is_tail) == (lsn_in(10, 16), True)
        (gap,) = found.gaps
        assert (gap.start_lsn, gap.end_lsn, gap.segment_count) == (end, lsn_in(5), 1)
        assert (gap.before, gap.behind) == (WalSegment(1, 4, SIZE), WalSegment(1, 5, SIZE))


def test_records_explain_gaps_and_make_none() -> None:
    """Of WAL that is there all the same a record says nothing; several causes are all told."""
    archive = make_archive()
    archive.segments.remove(WalSegment(1, 4, SIZE))
    records = [
        Record(1, lsn_in(2), lsn_in(3), "healed"),
        Record(2, lsn_in(4), lsn_in(5), "another timeline"),
        Record(1, lsn_in(4, 100), lsn_in(5), "the slot was lost"),
        Record(1, lsn_in(3), lsn_in(4, 50), "the server died", minute(20)),
    ]

    (gap,) = window(archive, *records).gaps

    assert (gap.cause, gap.noticed_at) == ("the server died; the slot was lost", minute(20))


def test_what_a_record_says_is_lost_at_the_end_is_a_gap() -> None:
    """Nothing has arrived behind it yet; but never behind where the next timeline left this one."""
    archive = make_archive()
    records = [Record(1, lsn_in(9, 100), lsn_in(11, 100)), Record(1, lsn_in(10), lsn_in(11), "told already")]

    (gap,) = window(archive, *records).gaps

    assert (gap.start_lsn, gap.end_lsn, gap.segment_count) == (lsn_in(10), lsn_in(11, 100), 2)
    assert (gap.before, gap.behind, gap.reachable_again_lsn) == (WalSegment(1, 9, SIZE), None, None)

    archive.add_history(2, (1, lsn_in(10, 300)))
    archive.add_segment(2, 11)
    on_two = [gap for gap in window(archive, Record(1, lsn_in(10), lsn_in(14))).gaps if gap.timeline == 2]
    assert [(gap.start_lsn, gap.end_lsn) for gap in on_two] == [(lsn_in(10), lsn_in(11))]


def test_backups_that_cannot_be_restored_are_named() -> None:
    """Their own WAL is missing, or their timeline's history; a gap before the first segment of all is one too."""
    archive = make_archive()
    archive.segments.remove(WalSegment(1, 2, SIZE))
    archive.backups.append(FakeBackup("orphan", lsn_in(11, 40), lsn_in(11, 400), minute(12), timeline=2))
    archive.unreadable[2] = ObjectCorrupt("00000002.history is damaged")

    found = window(archive)

    assert [(each.label, each.reason) for each in found.lost] == [
        ("early", "WAL segment 000000010000000000000002 is missing, which it needs to be whole"),
        ("orphan", "timeline 2 has no history file that can be read"),
    ]
    assert [(gap.start_lsn, gap.end_lsn, gap.before) for gap in found.gaps] == [(lsn_in(2), lsn_in(3), None)]
    assert found.leading == ()  # the newest backup's own history is lost: nobody knows how the story went on


def test_an_empty_range_is_a_backup_and_no_moment_after_it() -> None:
    """A backup that stops at the very end of the archive."""
    archive = Archive(backups=[FakeBackup("only", lsn_in(2, 40), lsn_in(3), minute(2))])
    archive.add_segment(1, 2)

    (only,) = window(archive).ranges

    assert only.start_lsn == only.end_lsn == lsn_in(3)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 400), st.sampled_from([None, 1, 2, 3]), st.booleans()), max_size=8
    ),
    st.integers(0, 420),
)
def test_proofs_are_what_their_definition_says(marks: list[tuple[int, int, int | None, bool]], end: int) -> None:
    """Of the covered marks, and of those with a covered one's transaction number, the latest."""
    found = [
        FakeWatermark(minute(at), Lsn(2 * SIZE + where), is_idle=idle, next_xid=xid) for at, where, xid, idle in marks
    ]
    at_end = Lsn(2 * SIZE + end)
    slack = 0 if end else LONG_PAGE_HEADER_BYTES
    covered = [mark for mark in found if mark.is_idle and mark.lsn.value <= at_end.value + slack]
    numbers = {mark.next_xid for mark in covered} - {None}
    expected = covered + [mark for mark in found if mark.is_idle and mark.next_xid in numbers]

    proofs = Proofs(RecoveryPath(TimelineHistory(1), SIZE), found)

    assert proofs.until(at_end) == max((mark.server_at for mark in expected), default=None)


def test_a_hundred_thousand_segments_take_no_time() -> None:
    """Every way is walked once, not once a backup: 0.5 s of a core when written, with 365 backups on ten timelines."""
    count = 10_000  # a timeline
    segments = {
        WalSegment(way, number, SIZE) for way in range(1, 11) for number in range((way - 1) * count, way * count)
    }
    segments -= {segment for segment in segments if segment.number % 100 == 50}
    switches = [HistoryEntry(way, lsn_in(way * count), "promoted") for way in range(1, 10)]
    histories = {way: TimelineHistory(way, tuple(switches[: way - 1])) for way in range(2, 11)}
    backups = [
        FakeBackup(f"b{day}", lsn_in(day * 270, 40), lsn_in(day * 270, 400), minute(day), day * 270 // count + 1)
        for day in range(365)
    ]
    marks = [FakeWatermark(minute(day), lsn_in(day * 10), day // 1000 + 1) for day in range(10_000)]

    began = clock.process_time()
    found = recovery_window(backups, FakeInventory(frozenset(segments), histories), marks)

    assert clock.process_time() - began < 2
    assert len(found.gaps) == 1000

"""Where streaming begins: every judgement, without a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.wal.streaming.start import (
    Hole,
    Kept,
    SpoolFile,
    StartFacts,
    StartPlan,
    plan_start,
    receiver_start,
)
from tests.archive import small


def lsn(segments: float) -> Lsn:
    """A position in the middle, or at the beginning, of a segment of 1 MiB."""
    return Lsn(int(segments * MIB))


def whole(number: int, timeline: int = 1) -> SpoolFile:
    return SpoolFile(small(number, timeline), is_partial=False)


def partial(number: int, timeline: int = 1) -> SpoolFile:
    return SpoolFile(small(number, timeline), is_partial=True)


def archived(*numbers: int, timeline: int = 1) -> frozenset[WalSegment]:
    return frozenset(small(number, timeline) for number in numbers)


def branch(timeline: int, switch: float, parent: TimelineHistory | None = None) -> TimelineHistory:
    parent = parent or TimelineHistory(timeline - 1)
    return TimelineHistory(timeline, (*parent.entries, HistoryEntry(parent.timeline, lsn(switch), "promoted")))


FACTS = StartFacts(
    history=TimelineHistory(1),
    current_lsn=lsn(9.5),
    reserved_lsn=lsn(7.5),
    segment_size=MIB,
    archived=frozenset(),
    spool=(),
)


def since(number: int) -> Callable[[WalSegment], bool]:
    """A server that has the segments from `number` on."""
    return lambda segment: segment.number >= number


def plan(oldest: int = 0, **changes: object) -> StartPlan:
    return plan_start(replace(FACTS, **changes), can_send=since(oldest))  # type: ignore[arg-type]


def test_nothing_stored() -> None:
    """The first stream begins at the segment that the slot has reserved, whatever pg_receivewal would choose."""
    assert plan() == StartPlan(small(7), (), (), needs_seed=True)


def test_behind_what_is_archived() -> None:
    """It begins behind the last archived segment, also before the slot's position."""
    assert plan(archived=archived(3, 4, 5)) == StartPlan(small(6), (), (), needs_seed=True)


def test_nothing_to_do_after_an_ordinary_end() -> None:
    """With its own newest files pg_receivewal goes on by itself."""
    assert plan(archived=archived(5, 6, 7, 8), spool=(whole(8), partial(9))) == StartPlan(small(9), (), (), False)
    assert plan(archived=archived(5, 6, 7, 8), spool=(whole(8),)) == StartPlan(small(9), (), (), False)


def test_spool_counts_as_held() -> None:
    """Whole segments that wait for their upload are not streamed again."""
    assert plan(archived=archived(5), spool=(whole(6), whole(7), partial(8))) == StartPlan(small(8), (), (), False)


def test_spool_lost_segment() -> None:
    """A segment that the slot has let go and nobody has is streamed again while the server has it."""
    found = plan(archived=archived(5, 6), spool=(whole(8), partial(9)))

    assert found == StartPlan(small(7), (), (whole(8), partial(9)), needs_seed=True)


def test_hole_between_archived_segments() -> None:
    """Parallel uploads may leave a hole behind: it is filled, whatever was archived after it."""
    assert plan(archived=archived(3, 4, 6, 7)).begin == small(5)


def test_gone_from_the_server() -> None:
    """WAL that nobody has any more is a gap, and streaming begins at the first segment that is there."""
    found = plan(oldest=8, archived=archived(3, 4))

    assert found == StartPlan(small(8), (Hole(1, lsn(5), lsn(8)),), (), needs_seed=True)


def test_gap_ends_at_archived_wal() -> None:
    """A gap ends where WAL is archived again, though the server has nothing so old."""
    found = plan(oldest=9, archived=archived(3, 6, 7, 8))

    assert found == StartPlan(small(9), (Hole(1, lsn(4), lsn(6)),), (), needs_seed=True)


def test_two_gaps() -> None:
    """Holes on both sides of archived WAL are two gaps."""
    found = plan(oldest=9, archived=archived(3, 6))

    assert found.holes == (Hole(1, lsn(4), lsn(6)), Hole(1, lsn(7), lsn(9)))
    assert found.begin == small(9)


def test_recorded_gap() -> None:
    """A gap is recorded once; one that begins within a segment explains that segment."""
    holes = (Hole(1, lsn(5.25), lsn(8)),)

    assert plan(oldest=8, archived=archived(3, 4), holes=holes) == StartPlan(small(8), (), (), needs_seed=True)


def test_recorded_gap_of_another_branch() -> None:
    """A gap on a timeline that the server does not come from explains nothing."""
    found = plan(
        history=branch(2, 3.5), archived=archived(2) | archived(3, 4, timeline=2), holes=[Hole(1, lsn(5), lsn(8))]
    )

    assert found.begin == small(5, 2)


def test_holes_before_the_newest_backup() -> None:
    """What lies before the newest backup is not needed from the server any more."""
    found = plan(oldest=8, archived=archived(1, 5, 6, 7, 8), backups=[Kept(1, lsn(6.5), lsn(7.5))])

    assert found == StartPlan(small(9), (), (), needs_seed=True)


def test_backup_on_another_branch() -> None:
    """A backup that the server's path does not hold does not say where its WAL is needed from."""
    found = plan(history=branch(2, 3.5), archived=archived(2), backups=[Kept(1, lsn(6.5), lsn(7.5))])

    assert found.begin == small(3, 2)


def test_promotion_within_a_segment() -> None:
    """After a failover it begins at the new timeline's first segment; the old one's leftovers are taken aside."""
    found = plan(history=branch(2, 8.5), archived=archived(6, 7), spool=(whole(7), partial(8)))

    assert found == StartPlan(small(8, 2), (), (partial(8),), needs_seed=True)


def test_failover_that_lost_wal() -> None:
    """The new server never had the last segments of the old one: they are stored, and mislead nobody."""
    found = plan(history=branch(2, 6.5), archived=archived(5, 6, 7), spool=(whole(7), whole(8), partial(9)))

    assert found == StartPlan(small(6, 2), (), (whole(7), whole(8), partial(9)), needs_seed=True)


def test_parent_segments_are_missing() -> None:
    """After a failover it begins on the parent timeline where segments of that are missing; pg_receivewal follows."""
    assert plan(history=branch(2, 8.5), archived=archived(5, 6)).begin == small(7, 1)


def test_gap_across_a_promotion() -> None:
    """A gap is told per timeline."""
    found = plan(oldest=9, history=branch(2, 7.5), archived=archived(5))

    assert found.holes == (Hole(1, lsn(6), lsn(7)), Hole(2, lsn(7), lsn(9)))


def test_switch_at_a_boundary() -> None:
    """A timeline that was left exactly between segments has no part in the next one."""
    assert plan(history=branch(2, 8), archived=archived(6, 7), spool=(whole(7),)).begin == small(8, 2)


def test_server_behind_the_archive() -> None:
    """A standby that lags is not asked for what it does not have; nobody calls that a gap."""
    found = plan(oldest=99, archived=archived(8, 9, 10))

    assert found.begin == small(11)
    assert found.holes == ()
    assert found.is_ahead_of(FACTS.current_lsn)


def test_finished_exactly_at_a_boundary() -> None:
    """A server that stands where the next segment begins is not behind."""
    assert not plan(archived=archived(8), current_lsn=lsn(9)).is_ahead_of(lsn(9))


numbers = st.sets(st.integers(1, 12), max_size=12)


@st.composite
def situations(draw: st.DrawFn) -> tuple[StartFacts, int]:
    """Any archive and spool on two timelines, and what the server still has."""
    history = draw(st.sampled_from([TimelineHistory(1), branch(2, 5.5), branch(2, 6)]))
    files: Sequence[SpoolFile] = draw(
        st.lists(st.builds(SpoolFile, st.builds(small, st.integers(1, 12), st.integers(1, 2)), st.booleans()))
    )
    facts = replace(
        FACTS,
        history=history,
        current_lsn=lsn(draw(st.floats(6, 13))),
        reserved_lsn=lsn(draw(st.floats(1, 6))),
        archived=archived(*draw(numbers)) | archived(*draw(numbers), timeline=2),
        spool=files,
    )
    return facts, draw(st.integers(1, 13))


@given(situations())
def test_every_number_is_accounted_for(situation: tuple[StartFacts, int]) -> None:
    """From the first needed segment to the beginning each is held or told as a gap; the server can send the rest."""
    facts, oldest = situation
    found = plan_start(facts, can_send=since(oldest))

    held = facts.archived | {file.segment for file in facts.spool if not file.is_partial}
    told = {number for hole in found.holes for number in range(hole.start_lsn.value // MIB, hole.end_lsn.value // MIB)}
    on_path = [segment.number for segment in facts.archived if facts.is_on_path(segment)]
    first = min(on_path, default=facts.reserved_lsn.value // MIB)
    for number in range(first, found.begin.number):
        assert (facts.segment(number) in held) != (number in told)
    assert found.begin.number >= min(oldest, facts.current_number)
    assert found.begin not in held
    again = replace(facts, holes=found.holes)
    assert plan_start(again, can_send=since(oldest)).holes == ()
    assert plan_start(again, can_send=since(oldest)).begin == found.begin


@given(situations())
def test_pg_receivewal_begins_where_it_must(situation: tuple[StartFacts, int]) -> None:
    """With the plan carried out, pg_receivewal's own rule leads to the planned beginning."""
    facts, oldest = situation
    found = plan_start(facts, can_send=since(oldest))

    files = [file for file in facts.spool if file not in found.aside]
    if found.needs_seed:
        files.append(SpoolFile(found.begin, is_partial=True))
    assert receiver_start(files) == found.begin

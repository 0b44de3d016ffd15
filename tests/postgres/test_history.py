from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt, UsageError
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import Lsn

# As PostgreSQL 15 writes it: one empty line where it appended to the parent's history.
THIRD = b"1\t0/9000000\tno recovery target specified\n\n2\t0/A0000A0\tbefore transaction 742\n"


def test_history_is_read_as_postgresql_writes_it() -> None:
    """Tabs, reasons and the empty line between inherited and own entries."""
    history = TimelineHistory.parse(THIRD, 3)

    assert history.timeline == 3
    assert history.ancestors == (1, 2)
    assert history.entries == (
        HistoryEntry(1, Lsn.parse("0/9000000"), "no recovery target specified"),
        HistoryEntry(2, Lsn.parse("0/A0000A0"), "before transaction 742"),
    )
    assert history.start_lsn == Lsn.parse("0/A0000A0")
    assert history.end_of(1) == Lsn.parse("0/9000000")
    assert history.end_of(3) is None
    assert history.holds_timeline(2)
    assert not history.holds_timeline(4)


@pytest.mark.parametrize(
    ("lsn", "timeline"),
    [("0/0", 1), ("0/8FFFFFF", 1), ("0/9000000", 2), ("0/A00009F", 2), ("0/A0000A0", 3), ("16/0", 3)],
)
def test_switch_point_belongs_to_the_timeline_that_begins_there(lsn: str, timeline: int) -> None:
    """The byte before a switch point is the parent's, the switch point itself the child's."""
    assert TimelineHistory.parse(THIRD, 3).timeline_of(Lsn.parse(lsn)) == timeline


def test_timelines_are_decimal_inside_the_file() -> None:
    """Line `10` of 0000001F.history is timeline A."""
    history = TimelineHistory.parse(b"1\t0/3000000\tx\n10\t0/4000000\ty\n", 0x1F)

    assert history.ancestors == (1, 0xA)
    with pytest.raises(ObjectCorrupt, match=r"0000001F\.history"):
        TimelineHistory.parse(b"31\t0/3000000\tx\n", 0x1F)


def test_comments_and_loose_white_space_are_tolerated() -> None:
    """What PostgreSQL's own reader skips is skipped here."""
    content = b"# promoted by hand\n\n  1   0/3000000   reason with  spaces\t\r\n\t\n2\t0/0300000A"

    history = TimelineHistory.parse(content, 3)

    assert [entry.reason for entry in history.entries] == ["reason with  spaces", ""]


def test_reason_that_is_not_utf8_is_readable() -> None:
    """A restore point's name comes in the server's encoding; it must not stop a restore."""
    assert TimelineHistory.parse(b'1\t0/3000000\tat restore point "\xe9t\xe9"\n', 2).entries[0].reason


def test_a_timeline_that_was_left_before_it_began_had_no_byte() -> None:
    """PostgreSQL writes such a file when it follows timeline 2 and stops on timeline 1: that goes on until there."""
    history = TimelineHistory.parse(b"1\t0/4000000\treason\n2\t0/3000000\treason\n", 3)

    assert [history.timeline_of(Lsn(position)) for position in (0x2FFFFFF, 0x3000000, 0x4000000)] == [1, 3, 3]
    assert history.end_of(1) == history.end_of(2) == Lsn(0x3000000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n# nothing\n",
        b"1\n",
        b"1\t\n",
        b"1\t0\treason\n",
        b"1\t0/\treason\n",
        b"one\t0/3000000\treason\n",
        b"-1\t0/3000000\treason\n",
        b"0\t0/3000000\treason\n",
        b"4294967296\t0/3000000\treason\n",
        b"1\t0/300000000\treason\n",
        b"1\t0/3000000\treason\n1\t0/4000000\treason\n",
        b"2\t0/3000000\treason\n1\t0/4000000\treason\n",
        b"3\t0/3000000\treason\n",
        b"4\t0/3000000\treason\n",
        b"1\t0/3000000reason\n",
        b"\x00\x00\x00\x00",
    ],
)
def test_what_is_no_history_is_corrupt(content: bytes) -> None:
    """Missing fields, other numbers, timelines that go back, none at all, zeros."""
    with pytest.raises(ObjectCorrupt):
        TimelineHistory.parse(content, 3)


def test_the_first_timeline_has_no_ancestors() -> None:
    """Timeline 1 has no file: its history is the value without entries."""
    first = TimelineHistory(1)

    assert first.timeline_of(Lsn(0)) == first.timeline_of(Lsn(2**64 - 1)) == 1
    assert first.start_lsn == Lsn(0)
    with pytest.raises(UsageError):
        first.end_of(2)


@st.composite
def histories(draw: st.DrawFn) -> TimelineHistory:
    count = draw(st.integers(1, 6))
    timelines = sorted(draw(st.sets(st.integers(1, 2**32 - 1), min_size=count + 1, max_size=count + 1)))
    switches = sorted(draw(st.lists(st.integers(0, 2**64 - 1), min_size=count, max_size=count)))
    entries = tuple(
        HistoryEntry(timeline, Lsn(switch), f"reason {timeline}")
        for timeline, switch in zip(timelines, switches, strict=False)
    )
    return TimelineHistory(timelines[-1], entries)


@given(histories(), st.integers(0, 2**64 - 1))
def test_every_history_reads_back_and_every_position_has_one_timeline(history: TimelineHistory, position: int) -> None:
    """Printed as PostgreSQL prints it, it parses to itself; a timeline lies between its switches."""
    content = "".join(f"{e.timeline}\t{e.switch_lsn}\t{e.reason}\n" for e in history.entries).encode()

    assert TimelineHistory.parse(content, history.timeline) == history

    found = history.timeline_of(Lsn(position))
    end = history.end_of(found)
    assert end is None or position < end.value
    if found != history.entries[0].timeline:
        before = [*history.ancestors, history.timeline].index(found) - 1
        assert history.entries[before].switch_lsn.value <= position

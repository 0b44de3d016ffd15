from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import UsageError
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import (
    BackupHistoryFile,
    PartialFile,
    SegmentFile,
    TimelineHistoryFile,
    WalFile,
    WalSegment,
    format_timeline,
    parse_timeline,
    parse_wal_name,
    segment_at,
    segments_between,
)

sizes = st.sampled_from([MIB << shift for shift in range(11)])
timelines = st.integers(1, 2**32 - 1)
positions = st.integers(0, 2**64 - 1)
segment_files = st.builds(SegmentFile, timelines, st.integers(0, 2**32 - 1), st.integers(0, 4095))
wal_files: st.SearchStrategy[WalFile] = st.one_of(
    segment_files,
    st.builds(PartialFile, segment_files),
    st.builds(BackupHistoryFile, segment_files, st.integers(0, 2**32 - 1)),
    st.builds(TimelineHistoryFile, timelines),
)


@pytest.mark.parametrize(
    ("size", "lsn", "name"),
    [
        (16 * MIB, "16/B374D848", "0000000100000016000000B3"),
        (MIB, "16/B374D848", "000000010000001600000B37"),
        (64 * MIB, "16/B374D848", "00000001000000160000002C"),
        (1024 * MIB, "16/B374D848", "000000010000001600000002"),
        (MIB, "0/FFFFFFFF", "000000010000000000000FFF"),
        (16 * MIB, "0/FFFFFFFF", "0000000100000000000000FF"),
        (64 * MIB, "0/FFFFFFFF", "00000001000000000000003F"),
        (1024 * MIB, "0/FFFFFFFF", "000000010000000000000003"),
    ],
)
def test_lsn_lies_in_the_segment_that_postgresql_names(size: int, lsn: str, name: str) -> None:
    """Names as PostgreSQL computes them for real segment sizes; numbers of 16/B374D848 checked by hand."""
    segment = segment_at(1, Lsn.parse(lsn), size)

    assert segment.name == name
    assert segment.directory == name[:16]
    assert segment.holds(Lsn.parse(lsn))


@given(sizes, timelines)
def test_the_log_rolls_over_at_four_gigabytes(size: int, timeline: int) -> None:
    """Behind the last segment of log 0 comes segment 0 of log 1, whatever the segment size."""
    last = segment_at(timeline, Lsn.parse("0/FFFFFFFF"), size)

    assert last.next().name == f"{timeline:08X}0000000100000000"
    assert last.next().start_lsn == last.end_lsn == Lsn.parse("1/0")


@given(timelines, positions, sizes)
def test_segment_name_reads_back(timeline: int, position: int, size: int) -> None:
    """A segment found by LSN is found again by its name and holds that LSN."""
    segment = segment_at(timeline, Lsn(position), size)

    assert WalSegment.parse(segment.name, size) == segment
    assert segment.start_lsn.value <= position < segment.start_lsn.value + size
    assert segment.start_lsn.value % size == 0


@given(timelines, sizes, st.integers(0, 2**62), st.integers(0, 40), st.integers(0, 2**30), st.integers(0, 2**30))
def test_segments_between_cover_the_range_without_gap_or_excess(
    timeline: int, size: int, first: int, count: int, skip: int, rest: int
) -> None:
    """Neighbours touch, the first holds the start, the last holds the byte before the stop."""
    start = Lsn(first // size * size + skip % size)
    stop = start + (count * size + rest % size)

    segments = list(segments_between(timeline, start, stop, size))

    if stop == start:
        assert segments == []
        return
    assert segments[0].holds(start)
    assert segments[-1].holds(Lsn(stop.value - 1))
    for left, right in itertools.pairwise(segments):
        assert left.next() == right


def test_stop_on_a_boundary_does_not_ask_for_the_segment_behind() -> None:
    """[0/2000028, 0/3000000) is one segment: the next one may never be written on an idle server."""
    names = [segment.name for segment in segments_between(1, Lsn.parse("0/2000028"), Lsn.parse("0/3000000"), 16 * MIB)]

    assert names == ["000000010000000000000002"]
    assert list(segments_between(1, Lsn.parse("0/3"), Lsn.parse("0/2"), 16 * MIB)) == []


@given(wal_files)
def test_every_wal_name_reads_back(file: WalFile) -> None:
    """All four kinds survive printing and parsing, and none is longer than PostgreSQL's 64 characters."""
    assert parse_wal_name(file.name) == file
    assert len(file.name) <= 64


@given(st.text(max_size=45))
def test_only_names_that_print_the_same_are_accepted(text: str) -> None:
    """Whatever the parser accepts, it prints back unchanged."""
    try:
        file = parse_wal_name(text)
    except UsageError:
        return
    assert file.name == text


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("00000001000000160000002C", SegmentFile(1, 0x16, 0x2C)),
        ("00000001000000160000002C.partial", PartialFile(SegmentFile(1, 0x16, 0x2C))),
        ("00000001000000160000002C.00000028.backup", BackupHistoryFile(SegmentFile(1, 0x16, 0x2C), 0x28)),
        ("0000000A.history", TimelineHistoryFile(10)),
    ],
)
def test_each_kind_of_wal_file_is_told_apart(name: str, file: WalFile) -> None:
    """A .partial is not its segment, and timeline A is ten."""
    assert parse_wal_name(name) == file


@pytest.mark.parametrize(
    "name",
    [
        "",
        "00000001000000160000002",
        "00000001000000160000002CC",
        "00000001000000160000002c",
        "00000001000000160000002C.tmp",
        "00000001000000160000002C.gz",
        "00000001000000160000002C.partial.zst",
        "00000001000000160000002C.PARTIAL",
        "00000001000000160000002C.28.backup",
        "00000001000000160000002C.00000028.partial",
        "00000001000000160000002C.",
        "00000001000000160000002C\n",
        "0000000100000016000FFFFF",
        "000000010000001600001000",
        "00000000000000160000002C",
        "00000000.history",
        "0000000a.history",
        "1.history",
        "00000002.history.tmp",
        "xlogtemp.4711",
        "RECOVERYXLOG",
        "RECOVERYHISTORY",
        "archive_status",
        "pg_wal/00000001000000160000002C",
        "../00000001000000160000002C",
        "0000000100000016000000²C",
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    """Unknown names fail rather than being stored under a guess."""
    with pytest.raises(UsageError):
        parse_wal_name(name)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("000000010000000000000100", 16 * MIB),
        ("000000010000000000000004", 1024 * MIB),
        ("000000010000000000000FFF", 2 * MIB),
    ],
)
def test_segment_name_of_another_segment_size_is_refused(name: str, size: int) -> None:
    """A name that no segment of this size can have is an error, never another segment."""
    with pytest.raises(UsageError):
        WalSegment.parse(name, size)


@pytest.mark.parametrize("name", ["00000002.history", "000000010000000000000001.partial"])
def test_only_a_plain_segment_name_is_a_segment(name: str) -> None:
    """A history file or a partial is never taken for a segment."""
    with pytest.raises(UsageError):
        WalSegment.parse(name, 16 * MIB)


@pytest.mark.parametrize("size", [0, 1, MIB // 2, 3 * MIB, 16 * MIB + 1, 2048 * MIB, -MIB])
def test_impossible_segment_size_is_refused(size: int) -> None:
    """PostgreSQL knows powers of two from 1 MiB to 1 GiB only."""
    with pytest.raises(UsageError):
        segment_at(1, Lsn(0), size)
    with pytest.raises(UsageError):
        WalSegment(1, 0, size)


@pytest.mark.parametrize(("timeline", "number"), [(0, 0), (-1, 0), (2**32, 0), (1, -1), (1, 2**40)])
def test_segment_outside_the_wal_is_refused(timeline: int, number: int) -> None:
    """Timelines count from 1, positions end at 64 bits."""
    with pytest.raises(UsageError):
        WalSegment(timeline, number, 16 * MIB)


@given(timelines)
def test_timelines_are_hexadecimal(timeline: int) -> None:
    """Timeline 10 is 0000000A, 16 is 00000010; both directions."""
    assert parse_timeline(format_timeline(timeline)) == timeline
    assert int(format_timeline(timeline), 16) == timeline


@pytest.mark.parametrize("text", ["A", "10", "0000000a", "00000000", "0x00000A", "00000001 ", "000000010"])
def test_timeline_text_is_eight_capitals(text: str) -> None:
    """No shorter, lower-case or zero timeline."""
    with pytest.raises(UsageError):
        parse_timeline(text)

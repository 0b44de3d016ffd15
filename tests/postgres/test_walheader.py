from __future__ import annotations

import struct

import pytest

from pgvault.errors import ObjectCorrupt, OtherCluster, PgvaultError
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walheader import HEADER_BYTES, check_segment, read_long_header
from pgvault.postgres.walname import WalSegment

SYSTEM = 7710526472881966613


def make_header(
    *,
    magic: int = 0xD118,
    info: int = 2,
    timeline: int = 1,
    page: int = 0x3000000,
    sysid: int = SYSTEM,
    size: int = 16 * MIB,
) -> bytes:
    return struct.pack("<HHIQIIQII", magic, info, timeline, page, 0, 0, sysid, size, 8192)


def check(content: bytes, name: str = "000000010000000000000003", *, size: int = 16 * MIB) -> None:
    check_segment(read_long_header(content), WalSegment.parse(name, size), system_identifier=SYSTEM, major=18)


def test_header_is_read_field_by_field() -> None:
    """All eight fields of the 40 bytes; more bytes behind do not matter."""
    header = read_long_header(make_header(info=3, timeline=0x1F, page=0x16_B3000000) + b"\xff" * 100)

    assert (header.magic, header.major, header.info, header.timeline) == (0xD118, 18, 3, 0x1F)
    assert header.page_lsn == Lsn.parse("16/B3000000")
    assert (header.system_identifier, header.segment_size, header.block_size) == (SYSTEM, 16 * MIB, 8192)


def test_matching_segment_passes() -> None:
    """Name, place, size, cluster and version agree; also where the segment size is another."""
    check(make_header())
    check(make_header(size=MIB), "000000010000000000000030", size=MIB)
    check(make_header(size=1024 * MIB, page=0x1_00000000), "000000010000000100000000", size=1024 * MIB)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (make_header(sysid=SYSTEM + 1), OtherCluster),
        (make_header(magic=0xD116), OtherCluster),
        (make_header(magic=0xD1FF), OtherCluster),
        (make_header(page=0x2000000), ObjectCorrupt),
        (make_header(page=0x3002000), ObjectCorrupt),
        (make_header(page=0x1_03000000), ObjectCorrupt),
        (make_header(size=32 * MIB), ObjectCorrupt),
        (make_header(timeline=2), ObjectCorrupt),
        (make_header(timeline=0), ObjectCorrupt),
        (make_header(info=0), ObjectCorrupt),
        (make_header(info=0x12), ObjectCorrupt),
        (make_header(magic=0), ObjectCorrupt),
        (make_header()[: HEADER_BYTES - 1], ObjectCorrupt),
        (bytes(HEADER_BYTES), ObjectCorrupt),
        (b"", ObjectCorrupt),
        (make_header()[::-1], ObjectCorrupt),
    ],
)
def test_segment_that_is_not_what_its_name_says_is_refused(content: bytes, error: type[PgvaultError]) -> None:
    """Another cluster's, another version's, a recycled, renamed, empty, short or zeroed file."""
    with pytest.raises(error):
        check(content)


def test_unknown_major_is_not_judged_by_its_magic() -> None:
    """With a major that pgvault does not know the magic proves nothing; everything else still counts."""
    segment = WalSegment(1, 3)
    check_segment(read_long_header(make_header(magic=0xD11A)), segment, system_identifier=SYSTEM, major=19)
    with pytest.raises(ObjectCorrupt):
        check_segment(read_long_header(make_header(magic=0xD11A)), segment.next(), system_identifier=SYSTEM, major=19)


@pytest.mark.parametrize(
    ("switch", "timeline", "is_right"),
    [
        ("0/3000100", 1, True),
        ("0/3000100", 2, False),
        ("0/3000000", 2, True),
        ("0/3000000", 1, False),
        ("0/2FFFF00", 2, True),
    ],
)
def test_segment_of_a_promotion_begins_on_the_older_timeline(switch: str, timeline: int, is_right: bool) -> None:
    """Where the timelines part inside the segment its first page is the parent's; on a boundary the child's."""
    header = read_long_header(make_header(timeline=timeline))
    history = TimelineHistory(2, (HistoryEntry(1, Lsn.parse(switch), "x"),))
    segment = WalSegment(2, 3)

    check_segment(header, segment, system_identifier=SYSTEM, major=18)  # without the history both may be
    if is_right:
        check_segment(header, segment, system_identifier=SYSTEM, major=18, history=history)
    else:
        with pytest.raises(ObjectCorrupt):
            check_segment(header, segment, system_identifier=SYSTEM, major=18, history=history)

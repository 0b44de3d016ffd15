from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import TargetInvalid
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.target import (
    ImmediateTarget,
    LatestTarget,
    LsnTarget,
    NameTarget,
    Target,
    TargetWords,
    TimeTarget,
    XidTarget,
    parse_target,
    parse_timeline_option,
)

NOW = datetime(2025, 10, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (
            TargetWords(to="2025-10-25T10:00"),
            TimeTarget(datetime(2025, 10, 25, 8, tzinfo=UTC), "2025-10-25T10:00", "Europe/Berlin"),
        ),
        (
            TargetWords(to="2025-10-25T10:00Z"),
            TimeTarget(datetime(2025, 10, 25, 10, tzinfo=UTC), "2025-10-25T10:00Z", None),
        ),
        (
            TargetWords(to="10 minutes ago"),
            TimeTarget(datetime(2025, 10, 25, 11, 50, tzinfo=UTC), "10 minutes ago", None),
        ),
        (TargetWords(to="latest"), LatestTarget()),
        (TargetWords(to=" Latest "), LatestTarget()),
        (TargetWords(lsn="16/B374D848"), LsnTarget(Lsn(0x16B374D848))),
        (TargetWords(xid="742"), XidTarget(742)),
        (TargetWords(name="before migration"), NameTarget("before migration")),
        (TargetWords(is_immediate=True), ImmediateTarget()),
    ],
)
def test_one_option_is_one_target(words: TargetWords, target: Target) -> None:
    """A time without an offset remembers the zone in which it was read."""
    assert parse_target(words, zone="Europe/Berlin", now=NOW) == target


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (TargetWords(), "no recovery target given"),
        (TargetWords(to="latest", xid="742"), "--to and --to-xid given"),
        (TargetWords(name="x", is_immediate=True), "--to-name and --immediate given"),
    ],
)
def test_none_or_two_targets_are_refused(words: TargetWords, said: str) -> None:
    """The options that were given are named."""
    with pytest.raises(TargetInvalid, match=said):
        parse_target(words, zone="UTC", now=NOW)


@pytest.mark.parametrize(
    "words",
    [
        TargetWords(to=""),
        TargetWords(to="tomorrow"),
        TargetWords(lsn="16B374D848"),
        TargetWords(lsn=""),
        TargetWords(xid="0"),
        TargetWords(xid="2"),
        TargetWords(xid="-5"),
        TargetWords(xid="0x10"),
        TargetWords(xid=str(2**32 + 1)),
        TargetWords(name=""),
        TargetWords(name="ü" * 32),
        TargetWords(name="a\0b"),
    ],
)
def test_nonsense_is_refused(words: TargetWords) -> None:
    """Also what PostgreSQL would only refuse when it starts: special xids, names over 63 bytes."""
    with pytest.raises(TargetInvalid):
        parse_target(words, zone="UTC", now=NOW)


def test_an_xid_with_its_epoch_is_found_in_wal_by_its_lower_half() -> None:
    """pg_current_xact_id() shows 64 bits, records hold 32."""
    assert XidTarget(2**32 + 742).wal_xid == 742


@pytest.mark.parametrize(
    ("text", "timeline"), [("1", 1), ("10", 10), ("0xA", 10), ("0000000A", 10), ("0000001f", 31), ("00000010", 16)]
)
def test_a_timeline_is_decimal_unless_it_looks_like_a_file_name(text: str, timeline: int) -> None:
    """Eight digits come from a WAL file's name, where timelines are hexadecimal."""
    assert parse_timeline_option(text) == timeline


@pytest.mark.parametrize("text", ["", "0", "A", "-1", "latest", "00000000", "0x0", "0x100000000", "1.5"])
def test_what_is_no_timeline_is_refused(text: str) -> None:
    """`latest` is no answer: the timeline is always a number."""
    with pytest.raises(TargetInvalid, match="is not a timeline"):
        parse_timeline_option(text)


@given(st.integers(1, 2**32 - 1))
def test_a_timeline_of_a_file_name_is_read_back(timeline: int) -> None:
    """All eight-digit names, and 0x forms."""
    assert parse_timeline_option(f"{timeline:08X}") == timeline
    assert parse_timeline_option(f"{timeline:#x}") == timeline

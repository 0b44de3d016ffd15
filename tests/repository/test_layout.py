from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pgvault.repository import layout
from pgvault.stores.keys import is_key

LABEL = "20260115T103000Z-f7c2"
SYSTEM = 7501234567890123456

NAMES = [
    (layout.IDENTITY, "pgvault.json"),
    (layout.key_document(1), "keys/00000001"),
    (layout.system("main", SYSTEM), "clusters/main/systems/7501234567890123456"),
    (layout.first_system("main"), "clusters/main/systems/first"),
    (layout.watermarks("main"), "clusters/main/watermarks"),
    (layout.manifest("main", LABEL), f"clusters/main/backups/{LABEL}/manifest"),
    (layout.refs("main", LABEL), f"clusters/main/backups/{LABEL}/refs"),
    (layout.part("main", LABEL, 0), f"clusters/main/backups/{LABEL}/parts/00000000"),
    (layout.block_map("main", LABEL, 1), f"clusters/main/backups/{LABEL}/maps/00000001"),
    (layout.pack("main", LABEL, 12345678), f"clusters/main/backups/{LABEL}/packs/12345678"),
    (layout.drills("main"), "clusters/main/drills"),
]

WAL_NAMES = [
    ("000000010000000A000000FE", "000000010000000A/000000010000000A000000FE"),
    ("000000010000000A000000FE.partial", "000000010000000A/000000010000000A000000FE.partial"),
    ("000000010000000A000000FE.00000028.backup", "000000010000000A/000000010000000A000000FE.00000028.backup"),
    ("0000000A.history", "0000000A.history"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names_are_those_of_format_1(name: str, expected: str) -> None:
    """Pinned: an object under another name is not found, and does not open."""
    assert name == expected
    assert is_key(name)


@pytest.mark.parametrize(("name", "expected"), WAL_NAMES)
def test_wal_is_found_by_timeline_and_log(name: str, expected: str) -> None:
    """WAL files lie under their first 16 digits, history files beside those."""
    assert layout.wal_file("main", SYSTEM, name) == f"clusters/main/wal/{SYSTEM}/{expected}"


def test_label_says_the_instant_in_utc() -> None:
    """A label is made of the instant, whatever zone it comes in, and of two random bytes."""
    summer = datetime(2026, 7, 1, 2, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    label = layout.make_label(summer, b"\xf7\xc2")

    assert label == "20260701T000030Z-f7c2"
    assert label == layout.make_label(summer.astimezone(UTC), b"\xf7\xc2")
    assert layout.LABEL.fullmatch(label)


@pytest.mark.parametrize("name", ["", "1", "0000001", "000000001", "0000000a", "00000001.tmp", "٠٠٠٠٠٠٠١"])
def test_what_is_no_number_of_a_series_is_told(name: str) -> None:
    """Numbers of a series have exactly eight decimal digits."""
    assert layout.is_number("00000001")
    assert not layout.is_number(name)

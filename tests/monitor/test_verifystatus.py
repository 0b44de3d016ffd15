"""What `verify` proved of each copy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.monitor.finding import Level
from pgvault.monitor.verifystatus import judge_verified, look_at_verified
from pgvault.repository.verified import Verified, put_verified
from tests.archive import make_archive

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LABELS = ("20260114T010000Z-0001", "20260115T010000Z-0002")


def mark(number: int, *, days: float = 1, is_whole: bool = True, copy: str = "primary") -> Verified:
    return Verified(LABELS[number], copy, NOW - timedelta(days=days), 9, 999, "pgvault", is_whole)


@pytest.mark.parametrize(
    ("marks", "level", "detail"),
    [
        ([], Level.WARN, "unknown: primary: no backup was ever read back there"),
        ([mark(0)], Level.OK, "primary: 1 of 2 backups were whole when read back, last 24.0 h ago"),
        ([mark(0, days=9)], Level.WARN, "last 9 days ago"),
        ([mark(0, is_whole=False), mark(1)], Level.RED, f"backup {LABELS[0]} was damaged"),
    ],
)
def test_what_the_newest_marks_say(marks: list[Verified], level: Level, detail: str) -> None:
    """A copy that was never read back is believed in, not known."""
    found = judge_verified("primary", marks, LABELS, now=NOW)

    assert (found.level, detail in found.detail) == (level, True), found.detail
    assert found.figures["damaged_backups"] == sum(not each.is_whole for each in marks)


def test_a_failed_verify_is_not_the_last_success() -> None:
    """When it ran, and when it last found something whole, are two things."""
    found = judge_verified("primary", [mark(0, days=3), mark(1, days=1, is_whole=False)], LABELS, now=NOW)

    assert found.figures["at"] == (NOW - timedelta(days=1)).isoformat()
    assert found.figures["passed_at"] == (NOW - timedelta(days=3)).isoformat()


def test_marks_are_read_by_copy_and_of_present_backups_alone(tmp_path: Path) -> None:
    """The newest of each; one of a copy that is no longer configured says nothing."""
    repository = make_archive(tmp_path).repository
    for each in (mark(0, is_whole=False), mark(0), mark(1, is_whole=False), mark(0, copy="gone", is_whole=False)):
        put_verified(repository, "main", each)

    (found,) = look_at_verified(repository, "main", LABELS[:1], now=NOW)

    assert (found.level, found.figures["copy"], found.figures["count"]) == (Level.OK, "primary", 1)

"""When the escrow sheet was proven: by whom, and for which key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pgvault.monitor.finding import Level
from pgvault.monitor.keystatus import judge_escrow, read_key_made_at
from tests.archive import AT, make_archive

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def drill(*, days: float = 1, passed: bool = True, sheet: bool = True) -> dict[str, Any]:
    started_at = (NOW - timedelta(days=days)).isoformat()
    key = {"slot": "escrow", "kind": "raw", "is_escrow_sheet": sheet}
    return {"id": "drill", "started_at": started_at, "passed": passed, "key": key}


def test_a_drill_that_the_sheet_opened_proves_it() -> None:
    """Not one that failed, nor one that the usual key opened, nor one without a word on it."""
    nothing = [drill(passed=False), drill(sheet=False), {"id": "old", "passed": True, "started_at": NOW.isoformat()}]

    never = judge_escrow(nothing, key_made_at=None, now=NOW)
    once = judge_escrow([*nothing, drill(days=30)], key_made_at=None, now=NOW)

    assert (never.level, never.figures["count"]) == (Level.WARN, 0)
    assert (once.level, once.figures["proven_at"]) == (Level.OK, (NOW - timedelta(days=30)).isoformat())


def test_a_newer_key_is_not_proven_by_an_older_sheet() -> None:
    """After a rotation the sheet in the safe may open nothing that is written since."""
    found = judge_escrow([drill(days=30)], key_made_at=NOW - timedelta(days=29), now=NOW)

    assert (found.level, found.figures["count"], found.figures["proven_at"]) == (Level.WARN, 0, None)


def test_when_the_key_was_made_is_read_from_its_document(tmp_path: Path) -> None:
    """That of the key that seals."""
    assert read_key_made_at(make_archive(tmp_path).repository) == AT

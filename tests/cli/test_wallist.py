"""`wal list`, and what `list` says of ranges and gaps: a repository made by hand, no server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import VerifyFailed, WalGap
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.gaps import GapRecord, put_gap
from pgvault.repository.repository import Repository
from pgvault.repository.tails import TailInfo, put_tail
from pgvault.repository.walobjects import WalInfo, put_wal
from tests.archive import Archive, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.repository.samples import make_manifest

SYSTEM = 7501234567890123456
SIZE = 16 << 20
AT = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
CONTENT = b"WAL"


def put_segments(repository: Repository, timeline: int, numbers: Sequence[int], *, system: int = SYSTEM) -> None:
    """Segments that were written at the minute of their number, and pushed a second later."""
    for number in numbers:
        put_file(repository, WalSegment(timeline, number).name, minute=number, system=system)


def put_file(
    repository: Repository, name: str, content: bytes = CONTENT, *, minute: int = 0, system: int = SYSTEM
) -> None:
    at = AT + timedelta(minutes=minute)
    digest = hashlib.sha256(content).digest()
    info = WalInfo(name, len(content), digest, system, int(name[:8], 16), None, at, at + timedelta(seconds=1))
    put_wal(repository, "main", info, content=content)


def put_backup(repository: Repository, label: str, number: int, *, timeline: int = 1) -> None:
    """A backup within segment `number`, in its minute."""
    start, stop = Lsn(number * SIZE + 40), Lsn(number * SIZE + 400)
    at = AT + timedelta(minutes=number)
    where = {"timeline": timeline, "start_lsn": start, "stop_lsn": stop, "checkpoint_lsn": start}
    commit_manifest(repository, make_manifest(label=label, started_at=at, stopped_at=at, **where))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Timeline 1: segments 2 to 4, then 7 and 8; timeline 2 left it in 8 and goes on to 9, and a tail of 10."""
    made = make_archive(tmp_path)
    repository = made.repository
    put_backup(repository, "20260115T100200Z-aaaa", 2)
    put_backup(repository, "20260115T100700Z-bbbb", 7)
    put_segments(repository, 1, [1, 2, 3, 4, 7])
    put_segments(repository, 2, [8, 9])
    put_file(repository, WalSegment(1, 8).name + ".partial")
    put_file(repository, "00000002.history", b"1\t0/8000190\tno recovery target specified\n")
    tail = TailInfo(WalSegment(2, 10), 0, 8192, SYSTEM, hashlib.sha256(b"\1" * 8192).digest(), AT)
    put_tail(repository, "main", tail, content=b"\1" * 8192)
    return made


def run(archive: Archive, *words: str, status: int = 0) -> dict[str, Any]:
    return pgvault_json("--config", archive.config, *words, status=status)


def test_runs_are_told_with_their_ends(archive: Archive) -> None:
    """First and last name, how many, from where to where, stored bytes, and when the last one was pushed."""
    (system,) = run(archive, "wal", "list")["systems"]

    assert [(each["first"][-2:], each["last"][-2:], each["segment_count"]) for each in system["runs"]] == [
        ("01", "04", 4),
        ("07", "07", 1),
        ("08", "09", 2),
    ]
    first = system["runs"][0]
    assert (first["timeline"], first["start_lsn"], first["end_lsn"]) == (1, "0/1000000", "0/5000000")
    assert first["last_pushed_at"] == "2026-01-15T10:04:01+00:00"
    assert first["stored_bytes"] == sum(
        archive.object_path(WalSegment(1, number).name, SYSTEM).stat().st_size for number in (1, 2, 3, 4)
    )
    assert [(each["segment"], each["end_lsn"]) for each in system["tails"]] == [
        ("00000002000000000000000A", "0/A002000"),
    ]
    assert system["other_files"] == ["000000010000000000000008.partial", "00000002.history"]


def test_a_gap_is_said_with_its_neighbours(archive: Archive) -> None:
    """In both lists alike: which segments lie around it, when they were written, from where on one can restore."""
    (gap,) = run(archive, "wal", "list")["systems"][0]["gaps"]

    assert gap == {
        "system_identifier": str(SYSTEM),
        "timeline": 1,
        "start_lsn": "0/5000000",
        "end_lsn": "0/7000000",
        "segment_count": 2,
        "before": "000000010000000000000004",
        "before_at": "2026-01-15T10:04:00+00:00",
        "behind": "000000010000000000000007",
        "behind_at": "2026-01-15T10:07:00+00:00",
        "reachable_again_lsn": "0/7000190",
        "cause": "segment missing (never arrived, or removed)",
        "noticed_at": None,
    }
    assert run(archive, "list")["gaps"] == [gap]
    line = (
        "gap: timeline 1, WAL 0/5000000 to 0/7000000 (2 segments, written after 2026-01-15 10:04:00+00:00 and before"
        " 2026-01-15 10:07:00+00:00): segment missing (never arrived, or removed); restorable again from 0/7000190"
    )
    for words in (("list",), ("wal", "list")):
        assert line in pgvault("--config", archive.config, *words).output.splitlines()


def test_a_recorded_cause_is_told(archive: Archive) -> None:
    """Whoever lost the WAL wrote down why."""
    record = GapRecord(SYSTEM, 1, Lsn(5 * SIZE + 100), Lsn(7 * SIZE), "the slot was lost", AT)
    put_gap(archive.repository, "main", record)

    (gap,) = run(archive, "list")["gaps"]

    assert (gap["cause"], gap["noticed_at"]) == ("the slot was lost", "2026-01-15T10:00:00+00:00")


def test_ranges_branch_where_a_timeline_was_promoted(archive: Archive) -> None:
    """What is shared with the parent is told there; the tail counts, and when it was read is its time."""
    ranges = run(archive, "list")["recovery_window"]

    assert [(each["timeline"], each["start_lsn"], each["end_lsn"], each["standing"]) for each in ranges] == [
        (1, "0/2000190", "0/5000000", "followed"),
        (1, "0/7000190", "0/8000000", "followed"),
        (2, "0/7000190", "0/A002000", "followed"),
    ]
    last = ranges[-1]
    assert last["branch"] == {"timeline": 1, "lsn": "0/8000190"}
    assert (last["own_start_lsn"], last["is_tail"]) == ("0/8000190", True)
    assert (last["last_write_at"], ranges[0]["last_write_at"]) == (
        "2026-01-15T10:00:00+00:00",
        "2026-01-15T10:04:00+00:00",
    )
    assert (
        "restorable: timeline 2 (from timeline 1 at 0/8000190), 2026-01-15 10:07:00+00:00 to at least"
        " 2026-01-15 10:07:00+00:00 (WAL to 0/A002000 with a streamed tail, last written 2026-01-15 10:00:00+00:00)"
    ) in pgvault("--config", archive.config, "list").output


def test_missing_is_for_scripts(archive: Archive) -> None:
    """26 while a gap lies in the window, after the same output; 0 where the timeline asked for has none."""
    assert run(archive, "wal", "list") == run(archive, "wal", "list", "--missing", status=WalGap.exit_code)
    finished = pgvault("--config", archive.config, "wal", "list", "--missing")
    assert "on timeline 1 from 0/5000000 to 0/7000000" in finished.errors

    system = run(archive, "wal", "list", "--missing", "--timeline", "2")["systems"][0]

    assert [each["timeline"] for each in system["runs"]] == [2]
    assert system["other_files"] == ["00000002.history"]


def test_nothing_to_miss_is_not_green(archive: Archive, tmp_path: Path) -> None:
    """No timeline of that number; no backup; a backup whose WAL is gone: each ends with 26."""
    run(archive, "wal", "list", "--missing", "--timeline", "3", status=WalGap.exit_code)
    (tmp_path / "other").mkdir()
    other = make_archive(tmp_path / "other")
    assert pgvault("--config", other.config, "wal", "list").output == "cluster main has no WAL\n"
    put_file(other.repository, WalSegment(1, 1, MIB).name, bytes(MIB))
    (system,) = run(other, "wal", "list")["systems"]
    assert (system["has_backup"], system["segment_size_bytes"]) == (False, MIB)
    run(other, "wal", "list", "--missing", status=WalGap.exit_code)


def test_a_backup_that_nothing_makes_whole_is_named(archive: Archive) -> None:
    """It is listed, and said not to be restorable."""
    archive.object_path(WalSegment(1, 7).name, SYSTEM).unlink()

    (lost,) = run(archive, "list")["not_restorable"]

    assert lost == {
        "label": "20260115T100700Z-bbbb",
        "reason": "WAL segment 000000010000000000000007 is missing, which it needs to be whole",
    }
    for words in (("list",), ("wal", "list")):
        output = pgvault("--config", archive.config, *words).output
        assert "not restorable: backup 20260115T100700Z-bbbb: WAL segment" in output


def test_a_history_that_does_not_open_is_said_by_wal_list(archive: Archive) -> None:
    """What lies on its timeline is listed, and whether it can be restored nobody knows."""
    archive.object_path("00000002.history", SYSTEM).write_bytes(b"junk")

    document = run(archive, "wal", "list", status=VerifyFailed.exit_code)

    assert [entry["name"] for entry in document["unreadable_wal"]] == ["00000002.history"]
    assert document["systems"][0]["runs"][-1]["timeline"] == 2


def test_a_time_that_can_not_be_read_is_left_out(archive: Archive) -> None:
    """A damaged segment at an edge costs the listing its time only."""
    archive.object_path(WalSegment(1, 4).name, SYSTEM).write_bytes(b"junk")

    (gap,) = run(archive, "list")["gaps"]

    assert (gap["before_at"], gap["behind_at"]) == (None, "2026-01-15T10:07:00+00:00")

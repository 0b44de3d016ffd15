"""How far a recovering server is, by its log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walrange import make_ranges
from pgvault.progress import NoProgress
from pgvault.restore.replayed import Replayed, wal_bytes

MIB = 1 << 20
SIZE = 16 * MIB
LINE = '2026-01-15 10:00:00.000 UTC [7] LOG:  restored log file "{}" from archive\n'


@dataclass
class Told(NoProgress):
    """Keeps what it was told."""

    steps: list[int] = field(default_factory=list)

    def advance(self, done_bytes: int) -> None:
        self.steps.append(done_bytes)


def test_each_segment_is_told_once(tmp_path: Path) -> None:
    """Not those of an earlier life, no history file, and half a line only when it is whole."""
    log, told = tmp_path / "log", Told()
    log.write_text(LINE.format("000000010000000000000001"))
    replayed = Replayed(log, SIZE, told)

    replayed()
    assert told.steps == []

    said = LINE.format("00000002.history") + LINE.format("000000020000000000000002") * 2
    half = LINE.format("000000020000000000000004")
    with log.open("a") as file:
        file.write(said + half[:60])
    replayed()
    replayed()
    assert told.steps == [2 * SIZE]

    with log.open("a") as file:
        file.write(half[60:])
    replayed()
    assert told.steps == [2 * SIZE, SIZE]


def test_a_log_that_is_not_there_yet_has_told_nothing(tmp_path: Path) -> None:
    log, told = tmp_path / "log", Told()
    replayed = Replayed(log, SIZE, told)
    log.write_text(LINE.format("000000010000000000000001"))

    replayed()

    assert told.steps == [SIZE]


def test_all_wal_of_a_plan_is_counted() -> None:
    """Ranges hold their last segment, too."""
    segments = [WalSegment(1, number) for number in (1, 2, 3, 9)]

    assert wal_bytes(make_ranges(segments)) == 4 * SIZE

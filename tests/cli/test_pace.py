"""How far a phase is and how long it takes, by a clock that is passed in."""

from __future__ import annotations

from threading import Thread

import pytest

from pgvault.amounts import say_bytes
from pgvault.cli.pace import WINDOW_SECONDS, Look, Pace

MIB = 1 << 20
SECONDS = range(1, 101)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * MIB // 2, "1.5 MiB"), (1 << 60, "1024.0 PiB")],
)
def test_bytes_are_said_in_one_way(count: int, said: str) -> None:
    assert say_bytes(count) == said


def test_nothing_is_claimed_of_what_has_not_begun() -> None:
    """No rate, nothing left, and of an unknown total no share."""
    begun = Pace("copying", 100 * MIB, 10.0).look(10.0)

    assert (begun.rate, begun.left, begun.percentage) == (None, None, "0 %")
    assert Pace("copying", None, 10.0).look(10.0) == Look("copying", 0, None, 0.0, None)
    assert Pace("copying", None, 10.0).look(10.0).line == "copying"


def test_a_steady_phase_is_told_with_rate_and_time_left() -> None:
    pace = Pace("copying", 100 * MIB, 0.0)
    for second in range(1, 46):
        pace.add(MIB)
        pace.look(float(second))

    assert pace.look(45.0).line == "copying: 45 %, 45.0 MiB of 100.0 MiB, 1.0 MiB/s, 55 s left"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    """A store that got ten times slower is seen; one that stopped has no time left to tell."""
    pace = Pace("copying", 1000 * MIB, 0.0)
    for second in range(1, 101):
        pace.add((10 if second <= 60 else 1) * MIB)
        pace.look(float(second))

    assert pace.look(100.0).rate == "1.0 MiB/s"
    assert pace.look(100.0).left == "6 min left"
    stopped = [pace.look(100.0 + second) for second in SECONDS][-1]
    assert stopped.rate == "0 B/s"
    assert stopped.left is None
    assert len(pace._samples) <= WINDOW_SECONDS + 2


def test_more_than_was_estimated_is_all() -> None:
    """The server grew while it was copied: 100 %, and no time left below zero."""
    pace = Pace("copying", 10 * MIB, 0.0)
    pace.add(11 * MIB)

    assert pace.look(2.0).line == "copying: 100 %, 10.0 MiB of 10.0 MiB, 5.5 MiB/s, 0 s left"


def test_of_an_unknown_total_the_amount_and_the_rate_are_told() -> None:
    pace = Pace("dumping shop", None, 0.0)
    pace.add(3 * MIB)

    assert pace.look(2.0).line == "dumping shop: 3.0 MiB, 1.5 MiB/s"


def test_a_long_way_is_told_in_hours() -> None:
    pace = Pace("copying", 10_000 * MIB, 0.0)
    pace.add(MIB)

    assert pace.look(1.0).left == "2 h 46 min left"


def test_nothing_is_lost_between_threads() -> None:
    pace = Pace("copying", None, 0.0)

    def add() -> None:
        for _ in range(5000):
            pace.add(1)

    threads = [Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert pace.look(1.0).done_bytes == 40_000

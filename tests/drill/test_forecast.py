from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.drill.forecast import PastDrill, forecast, line
from pgvault.drill.past import look_back, past_drill, read_past
from pgvault.drill.report import store_report
from tests.archive import make_archive
from tests.drill.reports import GB, past_report

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def drill(number: int, *, gigabytes: float = 10, wal: float = 1) -> PastDrill:
    """A drill of a week: 8 s a GB and 5 s to fetch, 30 s a GB of WAL and 2 s to replay, 20 s for all else."""
    return PastDrill(
        at=AT + timedelta(days=7 * number),
        fetch_bytes=int(gigabytes * GB),
        replay_bytes=int(wal * GB),
        fetch_seconds=8 * gigabytes + 5,
        replay_seconds=30 * wal + 2,
        rto_seconds=8 * gigabytes + 5 + 30 * wal + 2 + 20,
    )


GROWING = [drill(number, gigabytes=10 + number, wal=1 + number % 3) for number in range(12)]


def test_nine_drills_foretell_nothing() -> None:
    """Ten do."""
    assert forecast(GROWING[:9], fetch_bytes=GB, replay_bytes=GB) is None
    assert forecast(GROWING[:10], fetch_bytes=GB, replay_bytes=GB) is not None


def test_it_follows_the_size() -> None:
    """Twice as much takes as long as its bytes do, with what each restore takes whatever its size."""
    found = forecast(GROWING, fetch_bytes=40 * GB, replay_bytes=5 * GB)

    assert found is not None
    assert found.fetch_seconds == pytest.approx(8 * 40 + 5)
    assert found.replay_seconds == pytest.approx(30 * 5 + 2)
    assert found.rest_seconds == pytest.approx(20)
    assert (found.usual_error, found.large_error) == pytest.approx((0, 0))


def test_a_few_that_went_wrong_turn_nothing() -> None:
    """Three of twelve took five times as long: the others count, and the error says that there were such."""
    slow = [
        replace(each, fetch_seconds=5 * each.fetch_seconds, rto_seconds=each.rto_seconds + 4 * each.fetch_seconds)
        for each in (GROWING[2], GROWING[5], GROWING[10])
    ]
    past = [*(each for number, each in enumerate(GROWING) if number not in {2, 5, 10}), *slow]

    found = forecast(past, fetch_bytes=40 * GB, replay_bytes=5 * GB)

    assert found is not None
    assert found.fetch_seconds == pytest.approx(8 * 40 + 5, rel=0.1)
    assert found.usual_error < 0.05
    assert found.large_error > 0.3


def test_one_size_tells_no_slope() -> None:
    """Drills of one size: of another size it takes in proportion; one odd drill is no second size."""
    same = [drill(number) for number in range(11)]

    doubled = forecast([*same, drill(11, gigabytes=1)], fetch_bytes=20 * GB, replay_bytes=GB)

    assert doubled is not None
    assert doubled.fetch_seconds == pytest.approx(2 * 85)


def test_a_line_never_falls_and_never_goes_below_nothing() -> None:
    """More bytes that took less are chance."""
    falling = line([(float(size), 100.0 - size) for size in range(1, 12)])

    assert falling(1000) == pytest.approx(falling(1))
    assert line([(float(size), 10.0 * size - 60) for size in range(6, 20)])(0) == 0
    assert line([(0.0, 3.0)] * 10)(GB) == 3


def test_growth_that_breaks_the_objective() -> None:
    """A GB a week at 8 s a GB, with 54 s besides 8 s a GB and two GB of WAL: 10 min are full in the week of GB 64."""
    found = forecast(GROWING, fetch_bytes=21 * GB, replay_bytes=2 * GB, rto=timedelta(minutes=10))

    assert found is not None
    assert found.breaks_at is not None
    size = (600 - 5 - 62 - 20) / 8
    assert found.breaks_at - AT == pytest.approx(timedelta(days=7 * (size - 10)), abs=timedelta(days=1))


@pytest.mark.parametrize(
    ("past", "rto"),
    [
        ([drill(number) for number in range(12)], timedelta(hours=1)),  # it does not grow
        (GROWING, timedelta(minutes=2)),  # broken already: the drill says so
        (GROWING, timedelta(days=2)),  # not in ten years
        ([replace(each, at=AT) for each in GROWING], timedelta(minutes=10)),  # all in one day
    ],
)
def test_growth_that_breaks_nothing(past: list[PastDrill], rto: timedelta) -> None:
    """Nothing is foretold where nothing is in sight."""
    found = forecast(past, fetch_bytes=21 * GB, replay_bytes=GB, rto=rto)

    assert found is not None
    assert found.breaks_at is None


def test_it_is_told_from_stored_reports(tmp_path: Path) -> None:
    """Of those that came as far as their last check; a report of another kind, or an older one, counts for nothing."""
    repository = make_archive(tmp_path).repository
    for number in range(9):
        store_report(repository, past_report(number))
    store_report(repository, past_report(20, error="recovery ended early"))
    store_report(repository, past_report(21, sizes={}))
    told = past_report(40)
    look_back(repository, told)
    assert (told.past_drills, told.forecast) == (9, None)

    store_report(repository, past_report(30))
    look_back(repository, told)

    assert told.forecast is not None
    assert (told.past_drills, told.forecast.drills, told.forecast.rto_seconds) == (10, 10, 36)
    assert told.to_json()["forecast"]["phases"] == {"fetch": 20, "replay": 10, "rest": 6}
    assert read_past(repository, "main")[0] == past_drill(past_report(0).to_json())

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pgvault.report.pictures import HEIGHT, TICKS_MAX, Axis, axis_of, describe, draw_lane, draw_trend, ticks, trend_axis
from pgvault.report.seen import Seen
from tests.report.sample import NOW, ZONE, days, drill, make_cluster, make_report

BERLIN = ZoneInfo(ZONE)
TEN_DAYS = Axis(days(10), NOW)


def cluster(*drills: dict[str, Any]) -> Seen:
    """The sample's cluster as the page sees it."""
    return Seen(make_report(make_cluster(drills) if drills else make_cluster()).to_json())["clusters"][0]


def test_x_follows_time_and_is_cut_at_the_ends() -> None:
    """Per cent of the width."""
    assert [TEN_DAYS.x(days(each)) for each in (20, 10, 5, 0, -1)] == [0, 0, 50, 100, 100]


def test_a_lane_is_drawn_where_its_instants_lie() -> None:
    """What is proven, what is probable behind it, the hole up to where one can restore again, marks."""
    window = cluster()["window"]
    drawn = draw_lane(window["lanes"][0], axis_of(window))

    first, second = drawn.proven
    (hole,) = drawn.holes
    width = 30.0  # days: the picture begins with the first stretch
    assert first.x == 0
    assert first.width == pytest.approx((30 - 11.2) / width * 100, abs=0.01)
    assert second.x == pytest.approx((30 - 10.3) / width * 100, abs=0.01)
    assert hole.x == pytest.approx((30 - 11.1) / width * 100, abs=0.01)
    assert hole.x + hole.width == pytest.approx(second.x, abs=0.01)
    assert len(drawn.likely) == 2
    assert len(drawn.backups) == 30
    assert [spot.value["outcome"].raw for spot in drawn.drills].count("failed") == 1


def test_what_is_short_is_seen_all_the_same() -> None:
    """A gap of a minute in a month is a gap, and one at the very end stays inside."""
    document = cluster().raw
    document["window"]["lanes"][0]["holes"][0] |= {
        "from_at": (NOW - timedelta(seconds=1)).isoformat(),
        "restorable_again_at": None,
    }
    window = Seen(document)["window"]

    (hole,) = draw_lane(window["lanes"][0], axis_of(window)).holes

    assert hole.width >= 0.4
    assert hole.x + hole.width <= 100


@pytest.mark.parametrize(
    "length", [timedelta(minutes=10), timedelta(hours=5), timedelta(days=3), timedelta(days=92), timedelta(days=4000)]
)
def test_the_axis_has_a_few_round_moments(length: timedelta) -> None:
    """Whatever it spans."""
    found = ticks(Axis(NOW - length, NOW), BERLIN)

    assert 2 <= len(found) <= TICKS_MAX + 1
    assert [tick.x for tick in found] == sorted(tick.x for tick in found)


def test_days_begin_at_midnight_by_the_wall_clock() -> None:
    """Also when the clock is set back between."""
    begin, end = datetime(2026, 10, 23, 22, tzinfo=UTC), datetime(2026, 10, 28, 0, tzinfo=UTC)

    found = ticks(Axis(begin, end), BERLIN)

    midnights = [datetime(2026, 10, day, 0, tzinfo=BERLIN) for day in range(24, 29)]
    texts = {tick.text: tick.x for tick in found}
    for at in midnights:
        name = next(text for text in texts if text.startswith(f"{at:%d %b}"))
        assert texts[name] == Axis(begin, end).x(at)


def test_a_trend_shows_measures_beside_the_promise() -> None:
    """Oldest first; a drill that failed is a mark at the bottom, not a hole in the course."""
    drills = cluster()["drills"]
    trend = draw_trend(drills, "rto_seconds", 3600.0, trend_axis(drills, NOW), zone=BERLIN)

    assert [spot.value["id"].raw for spot in trend.spots] == ["drill-29", "drill-22", "drill-8", "drill-1"]
    assert [spot.x for spot in trend.spots] == sorted(spot.x for spot in trend.spots)
    assert [spot.value["id"].raw for spot in trend.failed] == ["drill-15"]
    assert trend.line_y is not None
    assert not trend.is_line_cut
    for spot in trend.spots:
        assert spot.y == pytest.approx(HEIGHT * (1 - spot.value["rto_seconds"].raw / trend.top_seconds), abs=0.01)


def test_a_promise_far_above_all_measures_does_not_flatten_them() -> None:
    """It is drawn at the top, and said to lie above; and no measure at all draws nothing."""
    drills = cluster(drill(1))["drills"]
    axis = trend_axis(drills, NOW)

    far = draw_trend(drills, "rto_seconds", 24 * 3600.0, axis, zone=BERLIN)
    missed = draw_trend(drills, "rto_seconds", 60.0, axis, zone=BERLIN)
    nothing = draw_trend(Seen([]), "rto_seconds", 60.0, trend_axis(Seen([]), NOW), zone=BERLIN)

    assert far.is_line_cut
    assert far.spots[0].y > (far.line_y or 0)
    assert missed.spots[0].y < (missed.line_y or 0)
    assert not nothing.spots


def test_every_mark_has_words() -> None:
    """For whoever points at it, or listens."""
    found = cluster()
    lane, check = found["window"]["lanes"][0], found["quality"]["checks"][0]

    assert describe(lane["backups"][0], BERLIN) == "full backup backup-30, ended 2026-10-23 02:48"
    assert describe(lane["holes"][0], BERLIN).startswith(
        "WAL is missing (archiving failed): not restorable until 2026-"
    )
    assert describe(lane["bars"][0], BERLIN).startswith("restorable from 2026-10-22 10:00 to at least")
    assert describe(check["live"][-1], BERLIN).endswith("passed, measured 0")
    assert describe(found["drills"][0], BERLIN).endswith("passed, RTO 41 min, RPO at most 31.5 s")
    assert "failed" in describe(lane["proofs"][2], BERLIN)

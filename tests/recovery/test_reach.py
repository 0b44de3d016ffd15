from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.errors import PgvaultError, TargetInvalid, TargetTooEarly
from pgvault.recovery.plan import RestoreRequest, plan_restore
from pgvault.recovery.reach import TimeSpan, draw_instant, instant_at, oldest_label, reachable_spans
from pgvault.recovery.stop import RESOLUTION
from pgvault.recovery.target import TimeTarget
from tests.recovery.fakes import Archive, FakeBackup, FakeWatermark, Record, lsn_in, minute
from tests.recovery.planning import make_archive, promoted

TICK = RESOLUTION


def span(start: float, end: float) -> TimeSpan:
    return TimeSpan(minute(start), minute(end))


def ticks(*pairs: tuple[int, int]) -> list[TimeSpan]:
    """Spans of so many microseconds after the beginning."""
    return [TimeSpan(minute(0) + first * TICK, minute(0) + last * TICK) for first, last in pairs]


@st.composite
def small_spans(draw: st.DrawFn) -> list[TimeSpan]:
    ends = sorted(draw(st.sets(st.integers(0, 60), min_size=2, max_size=8)))
    return ticks(*zip(ends[::2], ends[1::2], strict=False))


@given(small_spans())
def test_every_moment_of_the_spans_has_one_number(spans: list[TimeSpan]) -> None:
    """A number drawn evenly is therefore a moment drawn evenly, and none outside is ever drawn."""
    total = sum(each.count for each in spans)

    numbered = [instant_at(spans, index) for index in range(total)]

    inside = [minute(0) + n * TICK for n in range(62) if any(s.after < minute(0) + n * TICK <= s.until for s in spans)]
    assert numbered == inside
    with pytest.raises(IndexError):
        instant_at(spans, total)


def test_draws_fall_evenly_on_spans_of_whatever_length() -> None:
    """A gap of a year between them counts for nothing; 3000 seeds, the same ones every time."""
    spans = [span(0, 10), span(600_000, 600_020), span(600_030, 600_040)]

    found = Counter(
        next(number for number, each in enumerate(spans) if each.after < at <= each.until)
        for at in (draw_instant(spans, seed=seed) for seed in range(3000))
    )
    halves = Counter(draw_instant([span(0, 10)], seed=seed) <= minute(5) for seed in range(3000))

    assert [round(found[number] / 750) for number in range(3)] == [1, 2, 1]
    assert abs(found[1] - 1500) < 120  # more than four times what chance explains
    assert abs(halves[True] - 1500) < 120


def test_a_seed_draws_the_same_again_and_numbers_differ() -> None:
    """What a report says can be had again."""
    spans = [span(0, 1000)]

    drawn = [draw_instant(spans, seed=7, number=number) for number in range(5)]

    assert drawn == [draw_instant(spans, seed=7, number=number) for number in range(5)]
    assert len(set(drawn)) == 5
    with pytest.raises(TargetTooEarly, match="no moment to choose from"):
        draw_instant([], seed=7)


def test_a_range_ends_before_its_last_transaction() -> None:
    """Later than that nothing would stop recovery, and nothing proves that nothing came."""
    assert reachable_spans(make_archive().facts) == (TimeSpan(minute(1.9), minute(9) - TICK),)


def test_proven_idleness_counts() -> None:
    """A moment on an idle server can be restored."""
    archive = make_archive()
    archive.watermarks.append(FakeWatermark(minute(20), lsn_in(9, 9000)))

    assert reachable_spans(archive.facts) == (span(1.9, 20),)


def test_a_gap_is_left_out() -> None:
    """From the last transaction before it to the next backup's end."""
    archive = make_archive()
    archive.segments = {segment for segment in archive.segments if segment.number not in (4, 5)}

    assert reachable_spans(archive.facts) == (
        TimeSpan(minute(1.9), minute(3) - TICK),
        TimeSpan(minute(5.9), minute(9) - TICK),
    )
    assert oldest_label(archive.facts) == "early"


def test_a_later_backup_ends_the_span_of_a_range_before_a_gap() -> None:
    """From its stop on a restore begins with that one, which is on the other side of the gap."""
    archive = make_archive()
    archive.segments = {segment for segment in archive.segments if segment.number not in (4, 5)}
    archive.watermarks.append(FakeWatermark(minute(6.5), lsn_in(3, 9000)))  # a clock that was ahead

    assert reachable_spans(archive.facts) == (span(1.9, 5.9), TimeSpan(minute(5.9), minute(9) - TICK))


def test_only_what_is_followed_counts() -> None:
    """The rest of a timeline that was left is no moment of this story."""
    archive = promoted(make_archive(), at=lsn_in(7))
    with pytest.raises(TargetInvalid, match="timeline 1 and timeline 2 both went on"):
        reachable_spans(archive.facts)
    assert reachable_spans(archive.facts, timeline=1) == (TimeSpan(minute(1.9), minute(9) - TICK),)

    archive.backups.append(FakeBackup("new", lsn_in(9, 40), lsn_in(9, 400), minute(9.2), timeline=2))

    assert reachable_spans(archive.facts) == (TimeSpan(minute(1.9), minute(11.5) - TICK),)


def test_nothing_can_be_drawn_where_nothing_can_be_restored() -> None:
    """A backup whose own WAL is missing."""
    archive = make_archive()
    archive.segments.clear()

    assert reachable_spans(archive.facts) == ()
    with pytest.raises(TargetTooEarly):
        oldest_label(archive.facts)


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    """One timeline with holes, commits at rising times, backups, and watermarks of idle moments."""
    archive = Archive()
    numbers = set(range(2, 14)) - draw(st.sets(st.integers(2, 13), max_size=4))
    archive.add_segment(1, *numbers)
    for number in range(2, 14):
        archive.add(*(_commit(number, offset) for offset in draw(st.sets(st.integers(1, 9), max_size=3))))
    for number in draw(st.sets(st.integers(2, 12), min_size=1, max_size=4)):
        stop = lsn_in(number, 3500) if draw(st.booleans()) else lsn_in(number + 1, 2500)
        archive.backups.append(FakeBackup(f"b{number}", lsn_in(number, 40), stop, _time_of(stop.value)))
    for number in draw(st.sets(st.integers(2, 13), max_size=3)):
        at = lsn_in(number, draw(st.integers(0, 9)) * 1000 + 700)
        archive.watermarks.append(FakeWatermark(_time_of(at.value), at))
    return archive


def _commit(number: int, thousand: int) -> Record:
    lsn = lsn_in(number, thousand * 1000)
    return Record(lsn, 700 + number * 10 + thousand, _time_of(lsn.value))


def _time_of(position: int) -> datetime:
    number, offset = divmod(position, lsn_in(1).value)
    return minute(number + offset / 10_000)


@settings(max_examples=60, deadline=None)
@given(archives(), st.integers(0, 2**32))
def test_what_is_drawn_can_be_restored(archive: Archive, seed: int) -> None:
    """The planner, which looks into every record, has a plan for each moment that is drawn, and for the ends."""
    spans = reachable_spans(archive.facts)
    drawn = [draw_instant(spans, seed=seed, number=number) for number in range(3)] if spans else []

    for at in [*drawn, *(each.until for each in spans), *(each.after + TICK for each in spans)]:
        plan = plan_restore(archive.facts, RestoreRequest(TimeTarget(at, "drawn", None)))
        assert plan.next_commit is None or plan.next_commit.at > at
    assert all(a.until <= b.after for a, b in pairwise(spans))


@settings(max_examples=60, deadline=None)
@given(archives(), st.floats(2, 15))
def test_what_is_in_no_span_could_not_be_promised(archive: Archive, minutes: float) -> None:
    """No moment between two commits of one range is left out."""
    at = minute(minutes)
    spans = reachable_spans(archive.facts)
    if any(each.after < at <= each.until for each in spans):
        return
    try:
        plan = plan_restore(archive.facts, RestoreRequest(TimeTarget(at, "left out", None)))
    except PgvaultError:
        return
    assert plan.next_commit is None, "a transaction behind it makes it reachable"


def test_a_day_has_86400_million_moments() -> None:
    """Microseconds, as PostgreSQL takes its targets."""
    assert TimeSpan(minute(0), minute(0) + timedelta(days=1)).count == 86_400_000_000

"""How far behind the repository is: exact where it can be, else a bound that is never too low."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvault.monitor.walfacts import Lag, TimedPosition, measure_lag, measure_pace
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walstate import QuietPoint
from tests.monitor.healthy import END, HELD, SERVER, ago, lsn_in, segment

UNBOUNDED = replace(SERVER, archive_timeout=timedelta(0), redo_lsn=SERVER.end_lsn)


def lag_of(server: object, held: object) -> Lag:
    lag = measure_lag(server, held)  # type: ignore[arg-type]
    assert lag is not None
    return lag


def test_all_stored_is_no_lag() -> None:
    """Also when the repository has got further since the server was asked."""
    for end in (lsn_in(10), lsn_in(9, 100)):
        lag = lag_of(replace(SERVER, end_lsn=end), HELD)

        assert (lag.size, lag.seconds, lag.is_exact) == (0, 0.0, True)


def test_the_best_bound_counts() -> None:
    """The latest moment at which WAL stood at or before the stored end; later positions tell nothing."""
    positions = (
        TimedPosition(lsn_in(9), ago(minutes=9)),
        TimedPosition(lsn_in(10), ago(minutes=5)),
        TimedPosition(lsn_in(10, 4096), ago(minutes=1)),
    )

    lag = lag_of(UNBOUNDED, replace(HELD, positions=positions))

    assert (lag.size, lag.seconds, lag.is_exact) == (8 * MIB, 300.0, False)


def test_archive_timeout_bounds_only_what_no_finished_segment_holds() -> None:
    """Where a finished segment is not stored, its age has nothing to do with archive_timeout."""
    server = replace(UNBOUNDED, archive_timeout=timedelta(seconds=60))
    held = replace(HELD, positions=(TimedPosition(lsn_in(9), ago(minutes=9)),))

    assert lag_of(server, held).seconds == 60.0
    behind = replace(held, end=replace(END, end_lsn=lsn_in(9)))
    assert lag_of(server, behind).seconds == 540.0


def test_archive_timeout_bounds_nothing_where_nothing_archives() -> None:
    """It is a setting, not a promise."""
    server = replace(UNBOUNDED, archive_timeout=timedelta(seconds=60), archive_mode="off")
    held = replace(HELD, positions=(TimedPosition(lsn_in(9), ago(minutes=9)),))

    assert lag_of(server, held).seconds == 540.0


def test_the_last_checkpoint_is_a_bound() -> None:
    """The server says when it began, and where WAL stood."""
    server = replace(UNBOUNDED, redo_lsn=lsn_in(9, 500), redo_at=ago(minutes=2))

    assert lag_of(server, replace(HELD, positions=())).seconds == 120.0


def test_nothing_known_is_unknown() -> None:
    """And not nothing."""
    lag = lag_of(UNBOUNDED, replace(HELD, positions=()))

    assert lag.seconds is None
    assert not lag.is_exact


def test_a_clock_behind_makes_no_negative_age() -> None:
    """The archiving host's clock may be ahead of the server's."""
    held = replace(HELD, positions=(TimedPosition(lsn_in(10), ago(seconds=-3)),))

    assert lag_of(UNBOUNDED, held).seconds == 0.0


@pytest.mark.parametrize("offset", [0, 40])
def test_an_idle_server_lags_by_nothing(offset: int) -> None:
    """It writes snapshots and page headers: bytes are missing, and no commit is in them."""
    quiet = QuietPoint(lsn_in(10, offset), 900)
    held = replace(HELD, positions=(), quiet=(quiet,))

    lag = lag_of(UNBOUNDED, held)

    assert (lag.size, lag.seconds, lag.is_exact) == (8 * MIB, 0.0, True)
    assert lag_of(replace(UNBOUNDED, quiet=quiet), replace(held, quiet=())).seconds == 0.0


def test_a_server_that_committed_since_is_not_idle() -> None:
    """Another transaction number, or a quiet moment behind the stored end, proves nothing."""
    committed = replace(HELD, positions=(), quiet=(QuietPoint(lsn_in(10), 899),))
    later = replace(HELD, positions=(), quiet=(QuietPoint(lsn_in(10, 41), 900),))

    assert lag_of(UNBOUNDED, committed).seconds is None
    assert lag_of(UNBOUNDED, later).seconds is None


def test_less_than_a_record_behind_a_tail_is_nothing() -> None:
    """A tail ends with its last byte that is not zero; a record may end in zeros."""
    end = replace(END, segment=segment(10), end_lsn=lsn_in(10, 1000), is_tail=True)
    held = replace(HELD, end=end, positions=())

    assert lag_of(replace(UNBOUNDED, end_lsn=lsn_in(10, 1016)), held).size == 0
    assert lag_of(replace(UNBOUNDED, end_lsn=lsn_in(10, 1024)), held).size == 24
    whole = replace(held, end=replace(end, is_tail=False))
    assert lag_of(replace(UNBOUNDED, end_lsn=lsn_in(10, 1016)), whole).size == 16


def test_another_timeline_is_not_compared() -> None:
    """An LSN says nothing about the timeline it lies on."""
    assert measure_lag(replace(SERVER, timeline=2), HELD) is None
    assert measure_lag(SERVER, replace(HELD, end=None)) is None


def test_the_pace_is_that_of_the_last_hour() -> None:
    """From the last position before the hour, so never too low: what came since may all lie in that hour."""
    positions = [TimedPosition(lsn_in(2), ago(hours=9)), TimedPosition(lsn_in(5), ago(hours=3))]

    pace = measure_pace(SERVER, positions)

    assert pace is not None
    assert pace.over == timedelta(hours=1)
    assert pace.bytes_per_second == pytest.approx(88 * MIB / 3600)


def test_a_young_archive_has_a_pace_of_its_own_age() -> None:
    """Since its first position; less than a minute is no pace."""
    server = replace(SERVER, redo_at=ago(seconds=1))

    pace = measure_pace(server, [TimedPosition(lsn_in(9), ago(minutes=10))])

    assert pace is not None
    assert pace.bytes_per_second == pytest.approx(24 * MIB / 600)
    assert measure_pace(server, [TimedPosition(lsn_in(10), ago(seconds=59))]) is None
    assert measure_pace(server, []) is None


def test_positions_ahead_of_the_server_are_no_part_of_its_pace() -> None:
    """A server that was restored to an earlier moment is behind its own archive."""
    pace = measure_pace(SERVER, [TimedPosition(lsn_in(20), ago(hours=2)), TimedPosition(lsn_in(5), ago(hours=3))])

    assert pace is not None
    assert pace.bytes_per_second > 0

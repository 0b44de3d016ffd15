from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.postgres.lsn import Lsn
from pgvault.recovery.facts import Transaction
from pgvault.recovery.landing import Instant, Landing, find_landing
from tests.recovery.fakes import SIZE, START, Archive, Record, wal_of

DISORDER = timedelta(seconds=10)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def laid_out(seconds_by_segment: Sequence[Sequence[float]], *, aborts: bool = False) -> Archive:
    """An archive whose segments hold transactions of these times."""
    archive = Archive()
    for number, seconds in enumerate(seconds_by_segment, start=1):
        archive.add_segment(1, number)
        for position, second in enumerate(seconds):
            lsn = Lsn(number * SIZE + 100 + position * 64)
            archive.add(Record(lsn, 1000 * number + position, at(second), is_commit=not (aborts and position % 3)))
    return archive


def postgresql(records: Sequence[Transaction], instant: Instant) -> tuple[Transaction | None, Transaction | None]:
    """PostgreSQL's recoveryStopsBefore(), record by record: what it replays last, and what it stops before."""
    previous: Transaction | None = None
    for record in records:
        if instant.is_exceeded_by(record):
            return previous, record
        previous = record
    return previous, None


# Lumps of WAL: how far time goes on before each record, and how much later it was written than it was timed.
RECORDS = st.tuples(st.sampled_from([0.0, 0.1, 1, 5, 60, 3600]), st.sampled_from([0.0, 0.0, 0.5, 5, 9.9]))
SEGMENTS = st.lists(st.lists(RECORDS, max_size=4), min_size=1, max_size=24)


@given(
    segments=SEGMENTS,
    pick=st.integers(0, 200),
    nudge=st.sampled_from([-1e-6, 0, 1e-6, 3, -3, -4000, 4000]),
    inclusive=st.booleans(),
    aborts=st.booleans(),
)
def test_a_landing_is_where_postgresql_stops(
    segments: list[list[tuple[float, float]]], pick: int, nudge: float, inclusive: bool, aborts: bool
) -> None:
    """Over commit times that rise nearly, we stop before exactly the record that replaying one by one stops at."""
    clock = 0.0
    times: list[list[float]] = []
    for segment in segments:
        times.append([])
        for forward, late in segment:
            clock += forward
            times[-1].append(clock - late)
    archive = laid_out(times, aborts=aborts)
    every = [time for segment in times for time in segment] or [0.0]
    instant = Instant(at(every[pick % len(every)] + nudge), is_inclusive=inclusive)

    landing = find_landing(wal_of(archive), instant, disorder=DISORDER)

    previous, stop = postgresql(archive.transactions_in_order(), instant)
    replayed = [record for record in archive.transactions_in_order() if stop is None or record.lsn < stop.lsn]
    commits = [record for record in replayed if record.is_commit]
    assert landing == Landing(previous, commits[-1] if commits else None, stop)


def test_few_segments_are_read() -> None:
    """Of ten thousand segments a minute apart some fifteen are read: every read is a download."""
    archive = laid_out([[60.0 * number] for number in range(10_000)])

    landing = find_landing(wal_of(archive), Instant(at(60 * 7777 + 30), is_inclusive=True))

    assert landing.previous is not None
    assert landing.previous.at == at(60 * 7777)
    assert len(archive.reads) <= 16


def test_a_bulk_load_elsewhere_is_not_read_through() -> None:
    """A long stretch of segments without a single commit costs a few reads when the target is not in it."""
    archive = laid_out([[60.0 * number] for number in range(100)] + [[]] * 1000 + [[60.0 * 100]])

    landing = find_landing(wal_of(archive), Instant(at(60 * 42 + 30), is_inclusive=True))

    assert landing.next is not None
    assert landing.next.at == at(60 * 43)
    assert len(archive.reads) <= 30


def test_a_commit_that_was_held_up_does_not_move_the_landing() -> None:
    """The record that stops recovery is the first that exceeds, also when later ones do not."""
    archive = laid_out([[1, 2, 4, 3, 6, 5, 7]])

    landing = find_landing(wal_of(archive), Instant(at(4.5), is_inclusive=True))

    assert (landing.previous, landing.next) == (archive.all[3], archive.all[4])


@pytest.mark.parametrize(("inclusive", "stop"), [(True, 3), (False, 1)])
def test_records_of_the_very_instant(inclusive: bool, stop: int) -> None:
    """Inclusive replays all of that time that stand before a later one, exclusive none."""
    archive = laid_out([[1, 2], [2, 3]])

    assert find_landing(wal_of(archive), Instant(at(2), is_inclusive=inclusive)).next == archive.all[stop]


def test_an_abort_stops_recovery_too_but_is_no_commit() -> None:
    """PostgreSQL looks at aborts as at commits; what an operator wants to hear about is the commit."""
    archive = laid_out([[1, 2, 3, 4]], aborts=True)

    landing = find_landing(wal_of(archive), Instant(at(2.5), is_inclusive=True))

    assert (landing.previous, landing.last_commit, landing.next) == (archive.all[1], archive.all[0], archive.all[2])


def test_records_before_the_start_of_the_backup_do_not_count() -> None:
    """Recovery begins in the middle of the first segment."""
    archive = laid_out([[1, 2], [3]])

    landing = find_landing(wal_of(archive, start=archive.all[1].lsn), Instant(at(1.5), is_inclusive=True))

    assert (landing.previous, landing.next) == (None, archive.all[1])


def test_nothing_covered_lands_nowhere() -> None:
    """Without WAL there is neither a record before nor one behind."""
    instant = Instant(datetime(2026, 1, 1, tzinfo=UTC), is_inclusive=True)

    assert find_landing(wal_of(Archive(), start=Lsn(SIZE)), instant) == Landing(None, None, None)

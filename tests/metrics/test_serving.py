"""Scrapes get the last result at once, whatever the collection is doing."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import pytest
from prometheus_client.core import GaugeMetricFamily

from pgvault.errors import StoreUnreachable, UsageError
from pgvault.metrics.exposition import Collected, expose
from pgvault.metrics.serving import Board, Listen, collect_for_ever, serve, usual_keep
from tests.archive import AT

MINUTE = timedelta(minutes=1)
VALUE = "pgvault_cluster_level 0.0\n"
FAILED, FINE = "pgvault_metrics_collection_failed 1.0\n", "pgvault_metrics_collection_failed 0.0\n"
DEADLINE = 30


def green() -> Collected:
    return Collected((GaugeMetricFamily("pgvault_cluster_level", "…", value=0.0),), AT, 0.1)


class Hanging:
    """A store that answers once and then never, until it is let go."""

    def __init__(self) -> None:
        self.count = 0
        self.hangs, self.is_over = Event(), Event()

    def __call__(self) -> Collected:
        self.count += 1
        if self.count > 1:
            self.hangs.set()
            assert self.is_over.wait(DEADLINE)
        return green()


@contextmanager
def served(collect: Callable[[], Collected], *, interval: timedelta) -> Iterator[Callable[[], str]]:
    """Serve on a free port; yields what scrapes."""
    stop, said = Event(), Event()
    port: list[int] = []

    def listening(number: int) -> None:
        port.append(number)
        said.set()

    thread = Thread(
        target=serve,
        args=(Listen("127.0.0.1", 0), collect),
        kwargs={"interval": interval, "stop": stop, "listening": listening},
    )
    thread.start()
    try:
        assert said.wait(DEADLINE)

        def scrape() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port[0]}/metrics", timeout=DEADLINE) as answer:
                return str(answer.read().decode())

        yield scrape
    finally:
        stop.set()
        thread.join(DEADLINE)


def test_a_scrape_waits_for_nothing_and_begins_nothing() -> None:
    """While a collection hangs, the last result is shown, any number of times; nobody collects beside it."""
    hanging = Hanging()
    with served(hanging, interval=timedelta(milliseconds=1)) as scrape:
        assert hanging.hangs.wait(DEADLINE)

        seen = [scrape() for _ in range(5)]

        assert all(VALUE in each and FINE in each for each in seen)
        assert hanging.count == 2
        hanging.is_over.set()


def test_before_the_first_result_there_is_no_value() -> None:
    """0 says that nothing was collected yet: an alert on its age fires should that last."""
    is_over = Event()

    def never() -> Collected:
        is_over.wait(DEADLINE)
        return green()

    with served(never, interval=MINUTE) as scrape:
        seen = scrape()
        is_over.set()

    assert "pgvault_cluster_level" not in seen
    assert "pgvault_metrics_collected_timestamp_seconds 0.0\n" in seen
    assert "pgvault_build_info" in seen


@pytest.mark.parametrize("error", [StoreUnreachable("gone"), RuntimeError("a mistake of ours")])
def test_a_collection_that_fails_makes_old_values_vanish(error: Exception) -> None:
    """What was green must not stay so; when it was collected last stays to be seen."""
    stop = Event()
    board = Board(MINUTE)
    results: list[Collected | Exception] = [green(), error]

    def collect() -> Collected:
        found = results.pop(0)
        if not results:
            stop.set()
        if isinstance(found, Exception):
            raise found
        return found

    collect_for_ever(board, collect, interval=timedelta(0), stop=stop)

    assert board.read().has_failed
    assert board.read().at == AT
    shown = expose(board.read()).decode()
    assert "pgvault_cluster_level" not in shown
    assert FAILED in shown


def test_a_result_that_nothing_follows_is_shown_no_longer() -> None:
    """A collection that hangs for good is one that failed; by a clock that nobody sets."""
    now = [0.0]
    board = Board(MINUTE, monotonic=lambda: now[0])
    board.put(green())

    now[0] = 59.0
    assert (board.read().at, board.read().has_failed) == (AT, False)
    assert board.read().families
    now[0] = 61.0
    assert (board.read().families, board.read().at, board.read().has_failed) == ((), AT, True)


def test_how_long_a_result_is_shown() -> None:
    """Three collections may fail to come, and five minutes are always given."""
    assert usual_keep(timedelta(seconds=10)) == timedelta(minutes=5)
    assert usual_keep(timedelta(minutes=10)) == timedelta(minutes=30)


def test_where_to_listen() -> None:
    """A host and a port; a port that somebody has is said to be taken."""
    assert Listen.parse("127.0.0.1:9187") == Listen("127.0.0.1", 9187)
    assert Listen.parse("[::1]:0") == Listen("::1", 0)
    for wrong in ("9187", ":9187", "host:", "host:port", "host:99999"):
        with pytest.raises(UsageError, match="is not an address to listen on"):
            Listen.parse(wrong)


def test_a_port_that_is_taken() -> None:
    """It is said in one sentence."""
    stop = Event()
    ports: list[int] = []

    def again(port: int) -> None:
        ports.append(port)
        with pytest.raises(UsageError, match=r"nobody can listen on 127\.0\.0\.1:\d+: Address already in use"):
            serve(Listen("127.0.0.1", port), green, interval=MINUTE, stop=stop)
        stop.set()

    serve(Listen("127.0.0.1", 0), green, interval=MINUTE, stop=stop, listening=again)

    assert ports

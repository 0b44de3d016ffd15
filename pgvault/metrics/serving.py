"""Serve metrics: one thread collects every so often, and whoever scrapes is shown its last result at once.

    collect ──> last result ──────────────────────────────> collect …
                    └─> scrape, scrape, scrape: never wait, and never begin a collection

A dead region makes a collection slow, and never a scrape. What a collection found is shown until the next one ends, but
no longer than `keep`: a collection that fails or hangs makes its values vanish, since values that stay would be green
for ever. When the values are of is among them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from pgvault.errors import PgvaultError, UsageError
from pgvault.metrics.exposition import Collected, Shown

if TYPE_CHECKING:
    from prometheus_client.core import Metric

logger = logging.getLogger(__name__)

KEPT_INTERVALS = 3  # for which a result is shown, at most
LEAST_KEEP = timedelta(minutes=5)


def usual_keep(interval: timedelta) -> timedelta:
    """Return for how long a result is shown where nothing newer comes."""
    return max(LEAST_KEEP, KEPT_INTERVALS * interval)


@dataclass(slots=True)
class Board:
    """The last result, for any number of readers."""

    keep: timedelta
    monotonic: Callable[[], float] = time.monotonic
    _collected: Collected = field(default_factory=Collected)
    _since: float | None = None
    _lock: Lock = field(default_factory=Lock)

    def put(self, collected: Collected) -> None:
        """Show this from now on."""
        with self._lock:
            self._collected, self._since = collected, self.monotonic()

    def read(self) -> Collected:
        """Return what is to be shown: nothing but when it was, once it is too old."""
        with self._lock:
            collected, since = self._collected, self._since
        if since is not None and self.monotonic() - since > self.keep.total_seconds():
            return Collected(at=collected.at, has_failed=True)
        return collected


class Reading(Collector):
    """A collector, in the library's sense, that shows a board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        return Shown(self._board.read()).collect()


def collect_for_ever(board: Board, collect: Callable[[], Collected], *, interval: timedelta, stop: Event) -> None:
    """Collect every `interval`, or as soon as the last collection is over, until `stop`."""
    while not stop.is_set():
        began = time.monotonic()
        try:
            board.put(collect())
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence would leave its values for ever
            at = board.read().at
            board.put(Collected(at=at, has_failed=True))
            said = error if isinstance(error, PgvaultError) else repr(error)
            logger.warning("nothing was collected: %s", said)
        stop.wait(max(0.0, interval.total_seconds() - (time.monotonic() - began)))


@dataclass(frozen=True, slots=True)
class Listen:
    """Where scrapes are answered."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Read HOST:PORT, [IPV6]:PORT. Raises UsageError."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise UsageError(f"{text!r} is not an address to listen on", hint="Write 127.0.0.1:9187.")
        return cls(host, int(port))


def serve(
    listen: Listen,
    collect: Callable[[], Collected],
    *,
    interval: timedelta,
    stop: Event,
    listening: Callable[[int], None] = lambda _port: None,
) -> None:
    """Answer scrapes until `stop`; `listening` is told the port. Whoever calls ends the process: a collection may hang.

    Raises UsageError where nobody can listen there.
    """
    board = Board(usual_keep(interval))
    registry = CollectorRegistry()
    registry.register(Reading(board))
    try:
        server, answering = start_http_server(listen.port, listen.host, registry)
    except OSError as error:
        raise UsageError(f"nobody can listen on {listen.host}:{listen.port}: {error.strerror or error}") from error
    Thread(
        target=collect_for_ever, args=(board, collect), kwargs={"interval": interval, "stop": stop}, daemon=True
    ).start()
    logger.info("serving http://%s:%d/metrics, collected every %s", listen.host, server.server_port, interval)
    listening(server.server_port)
    stop.wait()
    server.shutdown()
    server.server_close()
    answering.join()

"""What Prometheus is shown: the values of one collection, and when it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgvault import __version__
from pgvault.metrics.names import BUILD_INFO, COLLECTED_AT, COLLECTION_FAILED, COLLECTION_SECONDS


@dataclass(frozen=True, slots=True)
class Collected:
    """The values of one collection; without any, one that failed or is still to come."""

    families: Sequence[GaugeMetricFamily] = ()
    at: datetime | None = None  # None: nothing was collected yet
    seconds: float | None = None  # that it took
    has_failed: bool = False


class Shown(Collector):
    """A collector, in the library's sense, of values that are there already: showing them asks nobody."""

    def __init__(self, collected: Collected) -> None:
        self._collected = collected

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        collected = self._collected
        yield from collected.families
        yield _single(COLLECTED_AT, 0.0 if collected.at is None else collected.at.timestamp())
        if collected.seconds is not None:
            yield _single(COLLECTION_SECONDS, collected.seconds)
        yield _single(COLLECTION_FAILED, float(collected.has_failed))
        yield _single(BUILD_INFO, 1.0, __version__)


def make_registry(collected: Collected) -> CollectorRegistry:
    """Return a registry that shows `collected`."""
    registry = CollectorRegistry()
    registry.register(Shown(collected))
    return registry


def expose(collected: Collected) -> bytes:
    """Return the text that Prometheus reads."""
    return generate_latest(make_registry(collected))


def _single(described: tuple[str, str, tuple[str, ...]], value: float, *labels: str) -> GaugeMetricFamily:
    name, text, names = described
    family = GaugeMetricFamily(name, text, labels=names)
    family.add_metric(labels, value)
    return family

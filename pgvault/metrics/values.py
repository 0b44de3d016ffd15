"""From the findings of `status` to the values of metrics: pure, so that nearly all of it is tested without a server.

A look that failed has no figures, so what it would have measured is absent; its level is there. A finding whose figure
`count` is 0 looked and found none: its instants are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from prometheus_client.core import GaugeMetricFamily

from pgvault.config import ClusterConfig
from pgvault.metrics.metric import CLUSTER, Combine, Metric, Source
from pgvault.metrics.names import (
    CLASS_OBJECTIVE_SECONDS,
    CLUSTER_LEVEL,
    FINDING_LEVEL,
    METRICS,
    OBJECTIVE_RATIO,
    OBJECTIVE_SECONDS,
    WATCHED,
)
from pgvault.monitor.finding import Finding, Level, worst
from pgvault.monitor.status import ClusterStatus
from pgvault.repository.fields import read_instant

LEVELS = {Level.OK: 0.0, Level.WARN: 1.0, Level.RED: 2.0}
DIGITS = 9  # of a share: 99.9 % is 0.999
NO_LABEL = ""  # of a finding that has no such figure: as good as absent to Prometheus

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric."""

    labels: Labels  # in the order of the metric's
    value: float


def make_families(
    statuses: Iterable[ClusterStatus], configs: Mapping[str, ClusterConfig]
) -> Iterator[GaugeMetricFamily]:
    """Yield every metric of clusters that has a value."""
    found = list(statuses)
    for metric in METRICS:
        samples = [sample for status in found for sample in measure(metric, status)]
        if samples:
            yield _family((metric.name, metric.help, (CLUSTER, *metric.labels)), samples)
    yield _family(FINDING_LEVEL, [sample for status in found for sample in _levels(status)])
    yield _family(CLUSTER_LEVEL, [Sample((each.cluster,), LEVELS[worst(each.findings)]) for each in found])
    for described, samples in _promises(configs).items():
        if samples:
            yield _family(described, samples)


def watched_family(watched: Iterable[tuple[str, str]]) -> GaugeMetricFamily:
    """Return what clusters are configured to have, as a metric."""
    return _family(WATCHED, [Sample(each, 1.0) for each in watched])


def measure(metric: Metric, status: ClusterStatus) -> list[Sample]:
    """Return the values of one metric of one cluster."""
    values: dict[Labels, float] = {}
    for source in metric.sources:
        for finding in status.findings:
            if not _is_meant(source, finding):
                continue
            value = _value(metric, source, finding)
            if value is None:
                continue
            labels = (status.cluster, *(_label(name, source, finding) for name in metric.labels))
            if metric.combine is Combine.SUM:
                values[labels] = values.get(labels, 0.0) + value
            else:
                values[labels] = max(values.get(labels, value), value)
    return [Sample(labels, value) for labels, value in values.items()]


def _is_meant(source: Source, finding: Finding) -> bool:
    if source.levels is not None and finding.level not in source.levels:
        return False
    return fnmatchcase(finding.name, source.finding)


def _value(metric: Metric, source: Source, finding: Finding) -> float | None:
    """Return what a finding says for a metric; None where it says nothing."""
    figures = finding.figures
    if source.figure is None:  # such a finding without the labels' figures is of a look that failed
        is_whole = all(name in source.fixed or name in figures for name in metric.labels)
        return source.constant if is_whole else None
    if metric.is_instant and figures.get(source.figure) is None and figures.get("count") == 0:
        return 0.0
    if source.figure not in figures:
        return None
    figure = figures[source.figure]
    if figure is None:
        return source.if_none
    if source.words is not None:
        return source.words.get(str(figure))
    if metric.is_instant:
        return read_instant(figure).timestamp()
    return None if isinstance(figure, str) else float(figure)


def _label(name: str, source: Source, finding: Finding) -> str:
    if name in source.fixed:
        return source.fixed[name]
    figure = finding.figures.get(name)
    return NO_LABEL if figure is None else str(figure)


def _levels(status: ClusterStatus) -> Iterator[Sample]:
    """Yield how each thing is; the worst, where there are several of a name in one place."""
    levels: dict[Labels, float] = {}
    for finding in status.findings:
        copy = finding.figures.get("copy")
        labels = (status.cluster, finding.name, NO_LABEL if copy is None else str(copy))
        levels[labels] = max(levels.get(labels, 0.0), LEVELS[finding.level])
    yield from (Sample(labels, value) for labels, value in levels.items())


def _promises(configs: Mapping[str, ClusterConfig]) -> dict[tuple[str, str, Labels], list[Sample]]:
    """Return what was promised: what rules and dashboards compare with, also while nothing else is known."""
    seconds, ratios, classes = [], [], []
    for cluster, config in configs.items():
        for name, promised in config.objectives:
            if promised is None:
                continue
            if isinstance(promised, float):
                ratios.append(Sample((cluster, name), round(promised, DIGITS)))
            else:
                seconds.append(Sample((cluster, name), promised.total_seconds()))
        for class_name, promise in config.classes.items():
            for name, span in (("rto", promise.rto), ("rpo", promise.rpo)):
                if span is not None:
                    classes.append(Sample((cluster, class_name, name), span.total_seconds()))
    return {OBJECTIVE_SECONDS: seconds, OBJECTIVE_RATIO: ratios, CLASS_OBJECTIVE_SECONDS: classes}


def _family(described: tuple[str, str, Labels], samples: Iterable[Sample]) -> GaugeMetricFamily:
    name, text, labels = described
    family = GaugeMetricFamily(name, text, labels=labels)
    for sample in samples:
        family.add_metric(sample.labels, sample.value)
    return family

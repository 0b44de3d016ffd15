"""What an alert rule is, and the expressions it is made of.

    age rule      time() - pgvault_x_timestamp_seconds > on (cluster, instance, job) group_left () objective
    its twin      (pgvault_watched{what="x"} unless on (cluster, instance, job) metric)     one cluster lacks it
                  or (absent(metric) unless on () pgvault_watched)                          nobody exports anything

A rule over a metric that is gone is silent, and silence reads as health. So every rule has a twin that fires when its
metric is. absent() alone would not do: it sees the metric of 499 clusters and misses the one that lacks it. That one
is found by `pgvault_watched`, which is exported from the configuration, whatever could be looked at; and where even
that is gone, absent() speaks.

Limits are compared with what each cluster exports as its own objective: one rule serves a fleet, and a promise that
changes in the configuration changes no rule. Both sides are matched by cluster, instance and job, so that clusters of
one name in two repositories are never mistaken for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SAME = "on (cluster, instance, job)"
WATCHED = "pgvault_watched"
OBJECTIVE = "pgvault_objective_seconds"

# In a text: how long ago, where a timestamp of 0 says that it never was.
AGO = "{{ if gt $value 1e9 }}never{{ else }}{{ $value | humanizeDuration }} ago{{ end }}"
CLUSTER = "cluster {{ $labels.cluster }}"


class Severity(StrEnum):
    """Who should hear of it."""

    CRITICAL = "critical"  # somebody, now, also at night
    WARNING = "warning"  # somebody, today


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert. Texts are Prometheus templates."""

    alert: str
    expr: str
    metric: str  # the series that must be there for it to judge anything
    watched: str  # what a cluster must be configured to have for that metric: the label `what`
    severity: Severity
    lasting: str  # as `for`
    summary: str  # one sentence: what is at risk
    description: str  # what was measured
    first: str  # what to do first, for the README

    @property
    def anchor(self) -> str:
        """Its place in the README."""
        return self.alert.lower()

    @property
    def twin(self) -> str:
        """The alert that fires when its metric is gone."""
        return f"{self.alert}Absent"

    @property
    def twin_expr(self) -> str:
        """A cluster that should have the metric and does not; or nobody who says who should."""
        lacking = f'{WATCHED}{{what="{self.watched}"}} unless {SAME} {self.metric}'
        return f"({lacking}) or (absent({self.metric}) unless on () {WATCHED})"


def objective(name: str) -> str:
    """Return what each cluster exports as its limit."""
    return f'{OBJECTIVE}{{objective="{name}"}}'


def above(measure: str, limit: str) -> str:
    """A measure, with all its labels, that is above what its own cluster has as a limit."""
    return f"{measure} > {SAME} group_left () {limit}"


def below(measure: str, limit: str) -> str:
    """A measure that is below what its own cluster has as a limit."""
    return f"{measure} < {SAME} group_left () {limit}"


def older(timestamp: str, limit: str) -> str:
    """A timestamp that lies farther back than what its own cluster has as a limit. 0 does, whatever the limit."""
    return above(f"time() - {timestamp}", limit)

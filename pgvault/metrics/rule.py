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

import re
from dataclasses import dataclass
from enum import StrEnum

SAME = "on (cluster, instance, job)"
WATCHED = "pgvault_watched"
OBJECTIVE = "pgvault_objective_seconds"
OBJECTIVE_RATIO = "pgvault_objective_ratio"

# What a word in braces stands for in a text; any other names a label. A timestamp of 0 is an age of decades.
WORDS = {
    "ago": "{{ if gt $value 1e9 }}never{{ else }}{{ $value | humanizeDuration }} ago{{ end }}",
    "duration": "{{ $value | humanizeDuration }}",
    "percentage": "{{ $value | humanizePercentage }}",
    "value": "{{ $value }}",
}


class Severity(StrEnum):
    """Who should hear of it."""

    CRITICAL = "critical"  # somebody, now, also at night
    WARNING = "warning"  # somebody, today


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alert. In its texts `{cluster}` stands for that label; see WORDS for what else does."""

    alert: str
    expr: str
    metric: str  # the series that must be there for it to judge anything
    watched: str  # what a cluster must be configured to have for that metric: the label `what`
    severity: Severity
    lasting: str  # as `for`
    summary: str  # one sentence: what is at risk
    description: str  # what was measured
    is_severity_its_own: bool = False  # each series says by a label of its own who should hear of it
    explained: str = ""  # what explains that the metric is not there, so that its twin stays silent

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
        if self.explained:
            lacking = f"{lacking} unless {SAME} ({self.explained})"
        return f"({lacking}) or (absent({self.metric}) unless on () {WATCHED})"


def above(measure: str, objective: str, usual: int) -> str:
    """A measure that is above its own cluster's objective, in seconds; without one above what is usual."""
    promised = f'{OBJECTIVE}{{objective="{objective}"}}'
    return f"({measure} > {SAME} group_left () {promised}) or ({measure} > {usual} unless {SAME} {promised})"


def older(timestamp: str, objective: str, usual: int) -> str:
    """A timestamp that lies farther back than its own cluster's objective. 0 does: it stands for never."""
    return above(f"time() - {timestamp}", objective, usual)


def template(text: str) -> str:
    """Return a text as Prometheus fills it in."""
    return re.sub(r"\{(\w+)\}", lambda found: WORDS.get(found[1], f"{{{{ $labels.{found[1]} }}}}"), text)


def labels_of(text: str) -> frozenset[str]:
    """Return the labels that a text names."""
    return frozenset(re.findall(r"\{(\w+)\}", text)).difference(WORDS)

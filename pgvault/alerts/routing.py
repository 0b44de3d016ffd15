"""Who is told of an alert: what names it most closely decides.

    the check's action  ▸  the finding's name  ▸  the check's severity  ▸  the level  ▸  default  ▸  everybody

An action that no route names is none: customers' files name actions for systems that we do not know of. The alert then
goes where it would go without an action, and `status` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgvault.alerts.alert import Alert
from pgvault.config import AlertsConfig, ClusterConfig


@dataclass(frozen=True, slots=True)
class Router:
    """Knows who is told of what."""

    config: AlertsConfig
    clusters: Mapping[str, ClusterConfig]

    def action(self, alert: Alert) -> str | None:
        """Return the action of the check that an alert is about."""
        cluster = self.clusters.get(alert.cluster)
        if alert.check is None or cluster is None:
            return None
        return next((check.action for check in cluster.checks if check.name == alert.check), None)

    def receivers(self, alert: Alert) -> tuple[str, ...]:
        """Return the names of those who are told, each once; nobody only where the configuration says so."""
        for route in self._names(alert):
            if route in self.config.routes:
                return tuple(dict.fromkeys(self.config.routes[route]))
        return self.config.default or tuple(self.config.receivers)

    def _names(self, alert: Alert) -> Iterator[str]:
        # A check of which it is not known how it is did not fail: nobody is paged for it.
        action, severity = (None, None) if alert.is_unknown else (self.action(alert), alert.severity)
        yield from (name for name in (action, alert.name, severity, alert.level.value) if name is not None)

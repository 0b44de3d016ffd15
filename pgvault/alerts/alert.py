"""An alert: one finding of `status`, known again by its key at the next look, whatever its figures are by then.

Its key is `main/copy lag/copy=dr`: the cluster, the finding, and what tells two findings of that name apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgvault.monitor.checkstatus import SUMMARY
from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.notifier import NAME as NOTIFIER
from pgvault.monitor.status import ClusterStatus

# Figures that say what a finding is about; all others say how it is.
IDENTITY = ("copy", "check", "where", "objective", "class", "database", "kind", "measure", "signer")
ABOUT = ("check", "severity", "where")  # figures of findings about a check
LEVELS = list(Level)
UNKNOWN = re.compile(r"(^|: )unknown\b")


@dataclass(frozen=True, slots=True)
class Alert:
    """What was found, as far as it is told."""

    key: str
    cluster: str
    name: str  # the finding's
    level: Level
    detail: str
    hint: str | None = None
    check: str | None = None  # the name of the check that it is about
    severity: str | None = None  # that check's
    where: str | None = None  # "live" or "drill"

    @property
    def is_unknown(self) -> bool:
        """Whether it says only that it is not known how things are."""
        return self.level is Level.WARN and UNKNOWN.search(self.detail) is not None

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "key": self.key,
            "cluster": self.cluster,
            "name": self.name,
            "level": self.level.value,
            "detail": self.detail,
            "hint": self.hint,
            "check": self.check,
            "severity": self.severity,
            "where": self.where,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Alert:
        """Read what was stored. Raises KeyError, ValueError."""
        fields = {name: document.get(name) for name in ("hint", *ABOUT)}
        return cls(
            str(document["key"]),
            str(document["cluster"]),
            str(document["name"]),
            Level(document["level"]),
            str(document["detail"]),
            **{name: None if value is None else str(value) for name, value in fields.items()},
        )


def is_worse(level: Level, than: Level) -> bool:
    """Tell whether one level is worse than another."""
    return LEVELS.index(level) > LEVELS.index(than)


def alerts_of(statuses: Iterable[ClusterStatus]) -> dict[str, Alert]:
    """Return every finding by its key; of several with one key, the worst, which tells how many there are.

    Whether a notifier lives is not a notifier's to say: whoever gets to tell it, lives. Nor is told what only sums up
    other findings.
    """
    found: dict[str, list[Alert]] = {}
    for status in statuses:
        for finding in status.findings:
            alert = _make(status.cluster, finding)
            if finding.name != NOTIFIER and (finding.name != SUMMARY or alert.is_unknown):
                found.setdefault(alert.key, []).append(alert)
    return {key: _merged(alerts) for key, alerts in found.items()}


def _make(cluster: str, finding: Finding) -> Alert:
    """Return a finding as an alert."""
    told = {name: finding.figures[name] for name in IDENTITY if finding.figures.get(name) not in (None, "")}
    key = "/".join([cluster, finding.name, *(f"{name}={value}" for name, value in told.items())])
    about = {name: finding.figures.get(name) for name in ABOUT}
    texts = {name: None if value is None else str(value) for name, value in about.items()}
    return Alert(key, cluster, finding.name, finding.level, finding.detail, finding.hint, **texts)


def _merged(alerts: list[Alert]) -> Alert:
    worst = max(alerts, key=lambda alert: LEVELS.index(alert.level))
    same = sum(alert.level is worst.level for alert in alerts)
    if same == 1 or worst.level is Level.OK:
        return worst
    return replace(worst, detail=f"{worst.detail} (and {same - 1} more)")

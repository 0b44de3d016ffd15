"""The rules as the planner takes them: `retention:` of a cluster, `keep:` of its data classes, and the time zone.

Days, ISO weeks, months and years of `gfs:` are those of the configuration's `timezone`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from pgvault.config import ClusterConfig, GfsConfig, RetentionConfig
from pgvault.config.anomaly import AnomalyConfig
from pgvault.config.retention import HUNDRED_YEARS
from pgvault.errors import ConfigInvalid

LEAST_GRACE = timedelta(hours=1)
LONGEST = timedelta(days=HUNDRED_YEARS)
NO_GFS = GfsConfig()


@dataclass(frozen=True, slots=True)
class Policy:
    """What stays. Raises ConfigInvalid for rules that make no sense."""

    retention: RetentionConfig | None  # None: nothing expires
    class_keeps: Mapping[str, timedelta] = field(default_factory=dict)  # data class → how long its backups stay
    time_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    anomaly: AnomalyConfig = field(default_factory=AnomalyConfig)  # by which the last normal backup stays

    def __post_init__(self) -> None:
        for name, keep in self.class_keeps.items():
            _require(keep > timedelta(), f"classes.{name}.keep is no time at all")
            _require(keep <= LONGEST, f"classes.{name}.keep is {keep.days} days, more than a hundred years")
        if self.retention is None:
            return
        schema, window = self.retention.schema_backups, self.retention.window
        _require(schema == "forever" or 0 < schema <= HUNDRED_YEARS, f"retention.schema is {schema} days")
        _require(window is None or window > timedelta(), "retention.window is no time at all")
        _require(window is None or window <= LONGEST, "retention.window is more than a hundred years")
        # It is also how far the clocks of two hosts may be apart.
        _require(self.grace >= LEAST_GRACE, f"retention.grace is {self.grace}, less than an hour")
        _require(self.grace <= LONGEST, "retention.grace is more than a hundred years")

    @property
    def grace(self) -> timedelta:
        """Between marking a backup and removing its bytes; nothing younger is swept."""
        return RetentionConfig().grace if self.retention is None else self.retention.grace

    @classmethod
    def of(cls, cluster: ClusterConfig, *, time_zone: str) -> Policy:
        """Return a cluster's policy. Raises ConfigInvalid."""
        keeps = {name: each.keep for name, each in cluster.classes.items() if each.keep is not None}
        return cls(cluster.retention, keeps, ZoneInfo(time_zone), cluster.anomaly)


def _require(is_right: bool, problem: str) -> None:
    if not is_right:
        raise ConfigInvalid(problem, hint="Nothing was done. See the retention section of the README.")

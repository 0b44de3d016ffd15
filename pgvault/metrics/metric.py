"""What a metric is made of: a name, and the figures of findings that give its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pgvault.monitor.finding import Level

CLUSTER = "cluster"


class Combine(StrEnum):
    """What becomes of several figures that are one metric with the same labels."""

    WORST = "worst"  # the greatest
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a metric comes from: one figure of the findings of a name."""

    finding: str  # its name, or a pattern of names
    figure: str | None = None  # None: such a finding stands for `constant`
    constant: float = 1.0
    if_none: float | None = None  # what the figure means where it is null; None: not known, so absent
    words: Mapping[str, float] | None = None  # what the words of the figure stand for; any other: absent
    fixed: Mapping[str, str] = field(default_factory=dict)  # labels that no figure gives
    levels: frozenset[Level] | None = None  # only of findings that are so; None: of all


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Its labels are `cluster`, and figures of the finding by that name, or as `fixed` says."""

    name: str
    help: str
    sources: tuple[Source, ...]
    labels: tuple[str, ...] = ()  # beside the cluster
    combine: Combine = Combine.WORST

    @property
    def is_instant(self) -> bool:
        """Whether its figures are instants as text."""
        return self.name.endswith("_timestamp_seconds")

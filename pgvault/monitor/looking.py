"""What `status` looks at in the repository, for every kind of cluster: one line here for each look.

A look reads what the copies hold and yields findings, with the figures that metrics, alerts and the report show; it
never asks the server and never writes. What a look can not know is a warning that begins with "unknown". A look that
finds nothing to judge because nothing ever happened says so, and is not green: see `finding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pgvault.config import ClusterConfig
from pgvault.errors import PgvaultError
from pgvault.monitor.copylag import judge_copies, look_at_copies
from pgvault.monitor.drillstatus import look_at_drills
from pgvault.monitor.finding import Finding, warn
from pgvault.monitor.reading import judge_reading
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.drillreports import read_reports, report_ids
from pgvault.repository.repository import Repository

REPORTS_READ = 16  # of drills, the newest


@dataclass(frozen=True)  # no slots: what several looks read is read once, and kept beside the fields
class Watched:
    """One cluster, and where to look for it."""

    repository: Repository
    cluster: str
    config: ClusterConfig
    now: datetime  # this host's clock

    @cached_property
    def catalog(self) -> Catalog:
        """Its backups. Raises what reading a store raises."""
        return read_catalog(self.repository, self.cluster)

    @cached_property
    def drill_reports(self) -> tuple[Mapping[str, Any], ...]:
        """The newest reports of drills that open, newest first. Raises what reading a store raises."""
        ids = report_ids(self.repository, self.cluster)[:REPORTS_READ]
        return tuple(read_reports(self.repository, self.cluster, ids))


def _copies(watched: Watched) -> Iterable[Finding]:
    return judge_copies(look_at_copies(watched.repository, watched.cluster, now=watched.now))


def _drills(watched: Watched) -> Iterable[Finding]:
    return look_at_drills(watched.repository, watched.cluster, now=watched.now)


LOOKS: dict[str, Callable[[Watched], Iterable[Finding]]] = {  # by the name of what is unknown where a look fails
    "copy_lag": _copies,
    "drill": _drills,
}


def look_all(watched: Watched) -> Iterator[Finding]:
    """Yield what all looks find, and last how the repository could be read by them."""
    for name, each in LOOKS.items():
        try:
            yield from each(watched)
        except PgvaultError as error:
            yield warn(name, f"unknown: {error}")
    yield from judge_reading(watched.repository)

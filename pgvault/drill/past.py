"""The drills there were, out of their reports: what forecasts are made from.

A report that does not open, or that an older pgvault wrote, tells nothing; nor does a drill that did not get as far as
its last check. Reports say nothing of the host they were made on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgvault.drill.forecast import PastDrill, forecast
from pgvault.drill.report import DrillReport
from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.fields import read_instant
from pgvault.repository.objects import read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

MOST_READS = 50  # the newest: older ones were of another size, or another host
READERS = 8  # a small read takes its round trip


def read_past(repository: Repository, cluster: str) -> tuple[PastDrill, ...]:
    """Return what the newest drills of a cluster took, oldest first. Raises StoreUnreachable, StoreDenied."""
    prefix = layout.drills(cluster)
    names = repository.reader.names(prefix)[-MOST_READS:]
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(lambda name: _read(repository, f"{prefix}/{name}"), names)
        return tuple(drill for drill in found if drill is not None)


def _read(repository: Repository, path: str) -> PastDrill | None:
    try:
        return past_drill(read_json(repository, path, Kind.DRILL))
    except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
        logger.warning("passed over a drill's report: %s", error)
        return None


def past_drill(report: Mapping[str, Any]) -> PastDrill | None:
    """Read a report; None when it does not say what a forecast needs."""
    try:
        sizes, phases = report["bytes"], report["phases"]
        return PastDrill(
            at=read_instant(report["started_at"]),
            fetch_bytes=int(sizes["fetch"]),
            replay_bytes=int(sizes["replay"]),
            fetch_seconds=float(phases["fetch"]),
            replay_seconds=float(phases["replay"]),
            rto_seconds=float(report["rto_seconds"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def look_back(repository: Repository, report: DrillReport) -> None:
    """Put into a report what was to be expected of its drill, from those before it."""
    if not report.sizes:
        return  # it did not come far enough to be compared
    try:
        past = read_past(repository, report.cluster)
    except PgvaultError as error:
        report.notes.append(f"earlier drills could not be read: {error}")
        return
    report.past_drills = len(past)
    report.forecast = forecast(
        past,
        fetch_bytes=report.sizes["fetch"],
        replay_bytes=report.sizes["replay"],
        rto=report.objectives.rto,
    )

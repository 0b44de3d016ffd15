"""Reports of drills, read back: `clusters/<c>/drills/<id>`, whose ids begin with the time when the drill began."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

READERS = 8  # a small read takes its round trip, so several go at a time


def report_ids(repository: Repository, cluster: str) -> list[str]:
    """Return the ids of all drills whose report is stored, newest first by the clocks of their hosts."""
    names = repository.reader.names(layout.drills(cluster))
    return sorted((name for name in names if layout.LABEL.fullmatch(name)), reverse=True)


def read_report(repository: Repository, cluster: str, drill_id: str) -> dict[str, Any]:
    """Return one report. Raises ObjectMissing, or why it does not open."""
    if drill_id not in repository.reader.names(layout.drills(cluster)):
        raise ObjectMissing(f"there is no drill {drill_id!r} of cluster {cluster!r}", hint="See: pgvault drills")
    return _read(repository, cluster, drill_id)


def read_reports(repository: Repository, cluster: str, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the reports of `ids`, in that order; one that does not open is passed over with a warning."""

    def attempt(drill_id: str) -> Mapping[str, Any] | None:
        try:
            return _read(repository, cluster, drill_id)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            logger.warning("passed over the report of a drill: %s", error)
            return None

    with ThreadPoolExecutor(READERS) as readers:
        yield from (report for report in readers.map(attempt, ids) if report is not None)


def _read(repository: Repository, cluster: str, drill_id: str) -> dict[str, Any]:
    path = f"{layout.drills(cluster)}/{drill_id}"
    document = read_json(repository, path, Kind.DRILL)
    if document.get("id") != drill_id:
        raise ObjectCorrupt(f"report {path!r} says it is of drill {document.get('id')!r}")
    return document

"""What checks found in the live server: `clusters/<c>/checks/<id>`, whose ids begin with the time of the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.repository import layout
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

READERS = 8  # a small read takes its round trip, so several go at a time


def put_run(repository: Repository, cluster: str, document: Mapping[str, Any]) -> None:
    """Store the document of one run, which holds its `id`."""
    put_json(repository, f"{layout.checks(cluster)}/{document['id']}", Kind.CHECKS, document=document)


def read_run(repository: Repository, cluster: str, run_id: str) -> dict[str, Any]:
    """Return the document of one run. Raises ObjectMissing, or why it does not open."""
    if run_id not in repository.reader.names(layout.checks(cluster)):
        raise ObjectMissing(
            f"there is no run {run_id!r} of checks of cluster {cluster!r}", hint="See: pgvault checks list --results"
        )
    return _read(repository, cluster, run_id)


def read_runs(repository: Repository, cluster: str, *, limit: int | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield the last runs, newest first, a few read ahead; one that does not open is passed over with a warning."""

    def attempt(run_id: str) -> Mapping[str, Any] | None:
        try:
            return _read(repository, cluster, run_id)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            logger.warning("passed over a run of checks: %s", error)
            return None

    with ThreadPoolExecutor(READERS) as readers:
        runs = map_bounded(readers, attempt, sorted(_run_ids(repository, cluster), reverse=True)[:limit], ahead=READERS)
        yield from (run for run in runs if run is not None)


def count_runs(repository: Repository, cluster: str) -> int:
    """Return how many runs are stored."""
    return len(_run_ids(repository, cluster))


def _run_ids(repository: Repository, cluster: str) -> list[str]:
    return [name for name in repository.reader.names(layout.checks(cluster)) if layout.LABEL.fullmatch(name)]


def _read(repository: Repository, cluster: str, run_id: str) -> dict[str, Any]:
    path = f"{layout.checks(cluster)}/{run_id}"
    document = read_json(repository, path, Kind.CHECKS)
    if document.get("id") != run_id:
        raise ObjectCorrupt(f"run {path!r} says it is {document.get('id')!r}")
    return document

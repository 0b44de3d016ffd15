"""Notices: what a notifier told, and what it knows: `notices/<label>`, in the copy that decides alone.

The newest label counts. Whoever puts one holds the lease `alerts`, and gives it a label behind the newest that is
there: the clocks of two hosts need not agree. Notices go after a week, the newest never.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pgvault.errors import ObjectMissing, PgvaultError
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import open_json, put_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

LEASE = "alerts"
KEPT = timedelta(days=7)
LOOKS_AT_VANISHING = 3  # one that was listed may be removed before it is read; then there is a newer one


def read_newest(repository: Repository) -> dict[str, Any] | None:
    """Return the newest notice; None where there is none. Raises what reading the deciding copy raises."""
    for _ in range(LOOKS_AT_VANISHING - 1):
        try:
            return _read_newest(repository)
        except ObjectMissing:
            logger.debug("a notice vanished before it was read")
    return _read_newest(repository)


def put_notice(repository: Repository, document: Mapping[str, Any], *, now: datetime) -> str:
    """Store a notice behind all that are there, and remove what is old; return its label."""
    times = _times(repository)
    at = max(now, *(time + timedelta(seconds=1) for time in times.values())) if times else now
    label = layout.make_label(at, os.urandom(2))
    put_json(repository, layout.notice(label), Kind.NOTICE, document={**document, "notice": 1, "id": label})
    for old, time in times.items():
        if at - time > KEPT:
            _remove(repository, old)
    return label


def _read_newest(repository: Repository) -> dict[str, Any] | None:
    times = _times(repository)
    if not times:
        return None
    path = layout.notice(max(times))
    return open_json(repository, path, Kind.NOTICE, body=repository.deciding.store.get(path))


def _times(repository: Repository) -> dict[str, datetime]:
    """Return the labels of all notices, with the instants that they name."""
    names = filter(layout.LABEL.fullmatch, repository.deciding.store.children(layout.NOTICES))
    return {name: at for name in names if (at := layout.stamped_at(name)) is not None}


def _remove(repository: Repository, label: str) -> None:
    """Remove a notice that is old; where that is not allowed it stays."""
    try:
        repository.deciding.store.delete(layout.notice(label))
    except PgvaultError as error:
        logger.debug("notice %s stays: %s", label, error)

"""Marks: "every object of this backup was read back from that copy alone, and what was found".

    clusters/<c>/backups/<label>/verified/<copy>/<n>           n from 00000000, the highest counts
    {"verified": 1, "label", "copy", "at", "whole", "objects", "bytes", "by"}

A mark is about one copy and lies in all of them, so that it can not be lost with the copy it is about. It says what was
true once: redundancy is counted by it, and nothing is restored from it. When a backup that had a mark is found damaged,
another mark takes it back. Whoever damages an object afterwards leaves the mark as it is; so `verify` runs again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectExists, ObjectMissing, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_instant, read_text
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

READERS = 8  # a small read takes its round trip, so several go at a time


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup was read back from one copy."""

    label: str
    copy: str  # as in the configuration
    at: datetime  # when all of it had been read, by the clock of the host that read
    object_count: int
    stored_bytes: int  # of those objects
    by: str  # the program and its version
    is_whole: bool = True  # false takes back the mark before it


def put_verified(repository: Repository, cluster: str, mark: Verified) -> None:
    """Store a mark behind those there are."""
    prefix = layout.verified(cluster, mark.label, mark.copy)
    document = {
        "verified": 1,
        "label": mark.label,
        "copy": mark.copy,
        "at": iso(mark.at),
        "whole": mark.is_whole,
        "objects": mark.object_count,
        "bytes": mark.stored_bytes,
        "by": mark.by,
    }
    number = 1 + max(_numbers(repository, prefix), default=-1)
    while True:
        try:
            put_json(repository, layout.numbered(prefix, number), Kind.VERIFIED, document=document)
        except ObjectExists:
            number += 1  # another host verified beside us
        else:
            return


def read_verified(repository: Repository, cluster: str) -> Mapping[tuple[str, str], Verified]:
    """Return, by label and copy, the newest mark of each backup that was whole there when it was last read back."""
    marks = read_marks(repository, cluster, repository.reader.names(layout.backups(cluster)))
    return {(mark.label, mark.copy): mark for mark in marks if mark.is_whole}


def read_marks(repository: Repository, cluster: str, labels: Iterable[str]) -> Iterator[Verified]:
    """Yield the newest mark of each of the backups in each copy, good or bad, as `last_verified` reads it."""

    def look(label: str) -> list[Verified | None]:
        names = repository.reader.names(layout.all_verified(cluster, label))
        return [last_verified(repository, cluster, label, copy) for copy in names]

    with ThreadPoolExecutor(READERS) as readers:
        for marks in readers.map(look, labels):
            yield from (mark for mark in marks if mark is not None)


def last_verified(repository: Repository, cluster: str, label: str, copy: str) -> Verified | None:
    """Return the newest mark about a backup in a copy, good or bad; None without any.

    One that does not open is passed over with a warning, and so are all before it: the newest may have said "damaged".
    """
    prefix = layout.verified(cluster, label, copy)
    number = max(_numbers(repository, prefix), default=None)
    if number is None:
        return None
    path = layout.numbered(prefix, number)
    try:
        return _decode(read_json(repository, path, Kind.VERIFIED), label, copy, where=path)
    except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
        logger.warning("passed over a mark of verify: %s", error)
        return None


def _numbers(repository: Repository, prefix: str) -> list[int]:
    return [int(name) for name in repository.reader.names(prefix) if layout.is_number(name)]


def _decode(document: Mapping[str, Any], label: str, copy: str, *, where: str) -> Verified:
    try:
        mark = Verified(
            label=read_text(document["label"]),
            copy=read_text(document["copy"]),
            at=read_instant(document["at"]),
            object_count=read_count(document["objects"]),
            stored_bytes=read_count(document["bytes"]),
            by=read_text(document["by"]),
            is_whole=document["whole"] is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"mark {where!r} is malformed") from error
    if (mark.label, mark.copy) != (label, copy):
        raise ObjectCorrupt(f"mark {where!r} says it is of {mark.label!r} in {mark.copy!r}")
    return mark

"""Watermarks: "at this time of the server's clock, WAL stood here and no transaction was open".

    clusters/<cluster>/watermarks/<YYYYMMDDTHHMMSSZ>-<4 hex>
      = sealed JSON {"system_identifier", "server_at", "lsn", "timeline", "is_idle", "source", "next_xid"}

What an idle watermark proves: every commit whose time is at or before `server_at` lies before `lsn`. (The clock was
read first, then a snapshot without any transaction in progress, then the LSN; a transaction that got its number
later takes its commit time later.) So on an idle server a moment after the last commit is still a provable
target. It says nothing if the server's clock was set back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, UsageError, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_decimal, read_instant, read_text
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredWatermark:
    """One watermark."""

    system_identifier: int
    server_at: datetime  # aware UTC, server clock
    lsn: Lsn  # insert position read after the clock
    timeline: int
    is_idle: bool  # only then it proves anything
    source: str  # "backup", "check", …
    next_xid: int | None = None  # 64-bit; xmax of a snapshot taken then; None where it was not noted


def put_watermark(repository: Repository, cluster: str, mark: StoredWatermark) -> None:
    """Store a watermark."""
    name = layout.make_label(mark.server_at, os.urandom(2))
    document = {
        "system_identifier": str(mark.system_identifier),
        "server_at": iso(mark.server_at),
        "lsn": str(mark.lsn),
        "timeline": mark.timeline,
        "is_idle": mark.is_idle,
        "source": mark.source,
        "next_xid": mark.next_xid,
    }
    put_json(repository, f"{layout.watermarks(cluster)}/{name}", Kind.WATERMARK, document=document)


def read_watermarks(
    repository: Repository, cluster: str, system_identifier: int, *, since: datetime
) -> tuple[StoredWatermark, ...]:
    """Return the system's watermarks from `since` on, oldest first.

    One that does not open is passed over with a warning: without it less is proven, and nothing wrongly, while a
    restore that waited for it would prove nothing at all.
    """
    marks = []
    prefix = layout.watermarks(cluster)
    for name in repository.reader.names(prefix):
        if name < layout.stamp(since):
            continue
        path = f"{prefix}/{name}"
        try:
            mark = _decode(read_json(repository, path, Kind.WATERMARK), where=path)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            logger.warning("passed over a watermark: %s", error)
            continue
        if mark.system_identifier == system_identifier:
            marks.append(mark)
    return tuple(sorted(marks, key=lambda mark: mark.server_at))


def _decode(document: Mapping[str, Any], *, where: str) -> StoredWatermark:
    try:
        return StoredWatermark(
            system_identifier=read_decimal(document["system_identifier"]),
            server_at=read_instant(document["server_at"]),
            lsn=Lsn.parse(read_text(document["lsn"])),
            timeline=read_count(document["timeline"]),
            is_idle=document["is_idle"] is True,
            source=read_text(document["source"]),
            next_xid=None if document.get("next_xid") is None else read_count(document["next_xid"]),
        )
    except (KeyError, TypeError, UsageError, ValueError) as error:
        raise ObjectCorrupt(f"watermark {where!r} is malformed") from error

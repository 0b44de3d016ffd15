"""Gap records: somebody saw that WAL is gone, and wrote down which and why.

    clusters/<cluster>/gaps/<YYYYMMDDTHHMMSSZ>-<4 hex>
      = sealed JSON {"gap": 1, "system_identifier", "timeline", "start_lsn", "end_lsn", "cause", "noticed_at"}

A record explains; it takes nothing away. Whether WAL is there is told by the archive alone, so a gap that was filled
later is one no more, and a record that is lost leaves a hole without its cause.
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
class GapRecord:
    """WAL of one timeline that nobody has any more."""

    system_identifier: int
    timeline: int
    start_lsn: Lsn  # first byte that is missing
    end_lsn: Lsn  # first byte behind it that there is again
    cause: str  # for people
    noticed_at: datetime  # by the clock of the host that noticed


def put_gap(repository: Repository, cluster: str, gap: GapRecord) -> None:
    """Store a gap record. Raises UsageError for a gap without a byte."""
    if gap.end_lsn <= gap.start_lsn:
        raise UsageError(f"from {gap.start_lsn} to {gap.end_lsn} there is no gap")
    document = {
        "gap": 1,
        "system_identifier": str(gap.system_identifier),
        "timeline": gap.timeline,
        "start_lsn": str(gap.start_lsn),
        "end_lsn": str(gap.end_lsn),
        "cause": gap.cause,
        "noticed_at": iso(gap.noticed_at),
    }
    name = layout.make_label(gap.noticed_at, os.urandom(2))
    put_json(repository, f"{layout.gaps(cluster)}/{name}", Kind.GAP, document=document)


def read_gaps(repository: Repository, cluster: str, system_identifier: int) -> tuple[GapRecord, ...]:
    """Return the system's gap records, by timeline and start.

    One that does not open is passed over with a warning: it explains, and nothing depends on it.
    """
    gaps = []
    prefix = layout.gaps(cluster)
    for name in repository.reader.names(prefix):
        path = f"{prefix}/{name}"
        try:
            gap = _decode(read_json(repository, path, Kind.GAP), where=path)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            logger.warning("passed over a gap record: %s", error)
            continue
        if gap.system_identifier == system_identifier:
            gaps.append(gap)
    return tuple(sorted(gaps, key=lambda gap: (gap.timeline, gap.start_lsn, gap.noticed_at)))


def _decode(document: Mapping[str, Any], *, where: str) -> GapRecord:
    try:
        gap = GapRecord(
            system_identifier=read_decimal(document["system_identifier"]),
            timeline=read_count(document["timeline"]),
            start_lsn=Lsn.parse(read_text(document["start_lsn"])),
            end_lsn=Lsn.parse(read_text(document["end_lsn"])),
            cause=read_text(document["cause"]),
            noticed_at=read_instant(document["noticed_at"]),
        )
    except (KeyError, TypeError, UsageError, ValueError) as error:
        raise ObjectCorrupt(f"gap record {where!r} is malformed") from error
    if gap.end_lsn <= gap.start_lsn:
        raise ObjectCorrupt(f"gap record {where!r} is of no byte")
    return gap

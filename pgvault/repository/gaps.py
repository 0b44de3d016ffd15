"""Gap records: somebody saw that WAL is gone, and wrote down which and why.

    clusters/<cluster>/gaps/<YYYYMMDDTHHMMSSZ>-<4 hex>
      = sealed JSON {"gap": 1, "system_identifier", "timeline", "start_lsn", "end_lsn", "cause", "noticed_at"}

A record explains; it takes nothing away. Whether WAL is there is told by the archive alone, so a gap that was filled
later is one no more, and a record that is lost leaves a hole without its cause. WAL that retention removed has records
too, with the cause EXPIRED, before its first segment goes: that hole was wanted: where it ends, a window begins.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, UsageError, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walrange import SegmentRange
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_decimal, read_instant, read_text
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository
from pgvault.repository.writing import delete

logger = logging.getLogger(__name__)

EXPIRED = "expired by retention"  # the cause of holes that were made on purpose


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


def note_expired(
    repository: Repository, cluster: str, system_identifier: int, ranges: Iterable[SegmentRange], *, at: datetime
) -> None:
    """Note that WAL is going to be removed, in as few records as say it: those that touch become one.

    What was noted before stays noted; where the old records can not be removed, they say what the new ones say, too.
    """
    prefix = layout.gaps(cluster)
    known = {}
    for name in repository.reader.names(prefix):
        gap = _look(repository, f"{prefix}/{name}")
        if gap is not None and gap.system_identifier == system_identifier and gap.cause == EXPIRED:
            known[name] = gap
    gone = [(gap.timeline, gap.start_lsn, gap.end_lsn) for gap in known.values()]
    gone += [(each.first.timeline, each.first.start_lsn, each.last.end_lsn) for each in ranges]
    wanted = set(_joined(gone))
    said = {(gap.timeline, gap.start_lsn, gap.end_lsn): name for name, gap in known.items()}
    for timeline, start, end in sorted(wanted - set(said)):
        put_gap(repository, cluster, GapRecord(system_identifier, timeline, start, end, EXPIRED, at))
    needed = {said[each] for each in wanted if each in said}
    for name in known.keys() - needed:
        delete(repository, f"{prefix}/{name}")


def _joined(stretches: Iterable[tuple[int, Lsn, Lsn]]) -> Iterator[tuple[int, Lsn, Lsn]]:
    """Yield the fewest stretches (timeline, start, end) that cover the same bytes."""
    joined: tuple[int, Lsn, Lsn] | None = None
    for timeline, start, end in sorted(stretches):
        if joined is not None and joined[0] == timeline and start <= joined[2]:
            joined = (timeline, joined[1], max(joined[2], end))
            continue
        if joined is not None:
            yield joined
        joined = (timeline, start, end)
    if joined is not None:
        yield joined


def read_gaps(repository: Repository, cluster: str, system_identifier: int) -> tuple[GapRecord, ...]:
    """Return the system's gap records, by timeline and start.

    One that does not open is passed over with a warning: it explains, and nothing depends on it.
    """
    gaps = []
    prefix = layout.gaps(cluster)
    for name in repository.reader.names(prefix):
        gap = _look(repository, f"{prefix}/{name}")
        if gap is not None and gap.system_identifier == system_identifier:
            gaps.append(gap)
    return tuple(sorted(gaps, key=lambda gap: (gap.timeline, gap.start_lsn, gap.noticed_at)))


def _look(repository: Repository, path: str) -> GapRecord | None:
    try:
        return _decode(read_json(repository, path, Kind.GAP), where=path)
    except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
        logger.warning("passed over a gap record: %s", error)
        return None


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

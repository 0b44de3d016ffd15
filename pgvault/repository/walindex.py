"""Which WAL files a system has in the repository: names from the store, history files read and parsed.

A listing says what should be there, not that it opens; whoever needs a segment reads it (repository/walobjects.py),
or its tails (repository/tails.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, UsageError, WrongKey
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walheader import HEADER_BYTES
from pgvault.postgres.walname import SegmentFile, TimelineHistoryFile, WalSegment, parse_wal_name
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from pgvault.repository.tails import Span, chain, covered_to
from pgvault.repository.walobjects import read_wal_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WalInventory:
    """The archived WAL of one system."""

    system_identifier: int
    segment_size: int  # bytes
    segments: frozenset[WalSegment]
    histories: Mapping[int, TimelineHistory]  # by the timeline they describe
    unreadable: Mapping[int, PgvaultError] = field(default_factory=dict)  # histories that are there and do not open
    tails: Mapping[WalSegment, Lsn] = field(default_factory=dict)  # not archived whole; streamed without a hole to here
    tail_spans: Mapping[WalSegment, tuple[Span, ...]] = field(default_factory=dict)  # what to read for that, in order
    all_tails: Mapping[WalSegment, tuple[Span, ...]] = field(default_factory=dict)  # whatever is there, of use or not


def read_inventory(
    repository: Repository,
    cluster: str,
    system_identifier: int,
    *,
    segment_size: int,
    passed_over: Callable[[str, PgvaultError], None] | None = None,
) -> WalInventory:
    """List a system's segments and read its history files. Raises ObjectCorrupt for a history that is none.

    With `passed_over`, that is called instead with the name and what is wrong with it, and the timeline is one of
    `unreadable`: whoever looks at everything, or for what can still be reached, goes on without it.
    Names that are none of ours are passed over with a warning: a stray file must not stand in the way of a restore.
    """
    segments: set[WalSegment] = set()
    spans: dict[WalSegment, list[Span]] = {}
    histories: dict[int, TimelineHistory] = {}
    unreadable: dict[int, PgvaultError] = {}
    for entry in repository.reader.entries(layout.wal(cluster, system_identifier)):
        directory, _, name = entry.key.rpartition("/")
        try:
            if directory.endswith(layout.TAIL):
                segment = WalSegment.parse(directory.rpartition("/")[2].removesuffix(layout.TAIL), segment_size)
                spans.setdefault(segment, []).append(Span.parse(name, segment_size=segment_size))
                continue
            file = parse_wal_name(name)
            if isinstance(file, SegmentFile):
                segments.add(file.segment(segment_size))
        except UsageError as error:
            logger.warning("passed over %s: %s", entry.key, error)
            continue
        if isinstance(file, TimelineHistoryFile):
            try:
                _, content = read_wal_bytes(repository, cluster, system_identifier, name)
                histories[file.timeline] = TimelineHistory.parse(content, file.timeline)
            except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
                if passed_over is None:
                    raise
                passed_over(name, error)
                unreadable[file.timeline] = error
    chains = {segment: chain(found) for segment, found in spans.items() if segment not in segments}
    useful = {segment: links for segment, links in chains.items() if covered_to(links) > HEADER_BYTES}
    return WalInventory(
        system_identifier,
        segment_size,
        frozenset(segments),
        histories,
        unreadable,
        tails={segment: segment.start_lsn + links[-1].end for segment, links in useful.items()},
        tail_spans=useful,
        all_tails={segment: tuple(sorted(found)) for segment, found in spans.items()},
    )

"""The long header that begins every WAL segment: whose WAL it is, and which piece of it.

    magic[2] | flags[2] | timeline[4] | page LSN[8] | remaining[4] | 0[4]
        | system identifier[8] | segment size[4] | block size[4]                    40 bytes, little-endian

The magic differs per major version. A server recycles old segments by renaming them,
so a file's name alone proves nothing; this header does for the first page. It says nothing about the rest of the
segment: records behind it carry their own CRCs, which pg_waldump checks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgvault.errors import ObjectCorrupt, OtherCluster
from pgvault.postgres.lsn import Lsn

if TYPE_CHECKING:
    from pgvault.postgres.history import TimelineHistory
    from pgvault.postgres.walname import WalSegment

HEADER_BYTES = 40
WAL_MAGIC = {15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}  # by major
LONG_HEADER = 0x0002  # flag in info
KNOWN_FLAGS = 0x000F

_HEADER = struct.Struct("<HHIQI4xQII")


@dataclass(frozen=True, slots=True)
class WalPageHeader:
    """The first page's header, as it stands in the file."""

    magic: int
    info: int  # flags
    timeline: int  # on which this page was written; see check_segment
    page_lsn: Lsn  # where this page lies in the WAL
    remaining_bytes: int  # of a record that began in the segment before
    system_identifier: int
    segment_size: int  # bytes
    block_size: int  # bytes

    @property
    def major(self) -> int | None:
        """The major version that wrote it, None when the magic is not one we know."""
        return next((major for major, magic in WAL_MAGIC.items() if magic == self.magic), None)


def read_long_header(content: bytes) -> WalPageHeader:
    """Read the header from the first 40 (or more) bytes of a segment.

    Raises ObjectCorrupt when they are too few, or not the long header of a first page. The magic is not
    judged here: see check_segment.
    """
    if len(content) < HEADER_BYTES:
        raise ObjectCorrupt(f"WAL segment has only {len(content)} bytes")
    magic, info, timeline, page, remaining, sysid, segment_size, block_size = _HEADER.unpack_from(content)
    if magic >> 8 != 0xD1:  # 0xD1xx since 2011, whatever the major
        raise ObjectCorrupt(f"WAL segment begins with {content[:4].hex()}, which is no WAL page header")
    if not info & LONG_HEADER or info & ~KNOWN_FLAGS:
        raise ObjectCorrupt(f"WAL segment's first page has flags {info:#06x}, not those of a first page")
    return WalPageHeader(magic, info, timeline, Lsn(page), remaining, sysid, segment_size, block_size)


def check_segment(
    header: WalPageHeader,
    segment: WalSegment,
    *,
    system_identifier: int,
    major: int,
    history: TimelineHistory | None = None,
) -> None:
    """Compare a header with the segment's name and the cluster it should belong to.

    A segment may begin with pages of an older timeline: at a promotion the server copies the beginning of the
    segment in which the timelines part. So the header's timeline is the name's or an earlier one; with the
    name's timeline's `history` it must be exactly the one on which the first byte was written.

    Raises OtherCluster for another system identifier or major version, ObjectCorrupt for a wrong place, size
    or timeline. A `major` we do not know is not judged by its magic.
    """
    if header.system_identifier != system_identifier:
        raise OtherCluster(
            f"WAL segment {segment.name!r} belongs to system {header.system_identifier}, not to {system_identifier}"
        )
    expected_magic = WAL_MAGIC.get(major, header.magic)
    if header.magic != expected_magic:
        written_by = f"PostgreSQL {header.major}" if header.major else f"magic {header.magic:#06x}"
        raise OtherCluster(f"WAL segment {segment.name!r} was written by {written_by}, not by {major}")
    if header.segment_size != segment.size:
        raise ObjectCorrupt(
            f"WAL segment {segment.name!r} says segments have {header.segment_size} bytes, not {segment.size}"
        )
    if header.page_lsn != segment.start_lsn:
        raise ObjectCorrupt(
            f"WAL segment {segment.name!r} holds the WAL from {header.page_lsn}, not from {segment.start_lsn}",
            hint="It is a recycled or renamed file: nobody wrote this segment yet, or somebody moved it.",
        )
    if history is not None and history.timeline == segment.timeline:
        expected = history.timeline_of(segment.start_lsn)
        if header.timeline != expected:
            raise ObjectCorrupt(
                f"WAL segment {segment.name!r} begins on timeline {header.timeline}, its history says {expected}"
            )
    elif not 1 <= header.timeline <= segment.timeline:
        raise ObjectCorrupt(f"WAL segment {segment.name!r} begins on timeline {header.timeline}")

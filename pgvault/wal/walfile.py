"""Tell whether a WAL file holds what its name says, and whose it is.

    segment, .partial    exactly one segment long; its long header names system, size, place and timeline
    .backup              text; its first line repeats the segment and the offset of its name
    .history             a timeline history that parses

A server recycles segments by renaming them, so a name proves nothing. Text files name no system: theirs is known
only by the pg_control of the data directory whose pg_wal they lie in. Records behind a segment's first page are
not looked at; each carries a CRC of PostgreSQL's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import MajorUnsupported, ObjectCorrupt, SourceUnreadable, UsageError
from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walheader import WAL_MAGIC, check_segment, read_long_header
from pgvault.postgres.walname import BackupHistoryFile, PartialFile, SegmentFile, WalFile

TEXT_BYTES_MAX = MIB  # of a .backup or .history; real ones are below a few KiB
START_LINE = re.compile(rb"START WAL LOCATION: ([0-9A-F]{1,8})/([0-9A-F]{1,8}) \(file ([0-9A-F]{24})\)\n")


@dataclass(frozen=True, slots=True)
class WalOwner:
    """The initdb run that a WAL file belongs to."""

    system_identifier: int
    major: int
    segment_size: int  # bytes


def read_neighbour(path: Path) -> WalOwner | None:
    """Return the owner of the data directory in whose pg_wal `path` lies, None when it lies in none.

    pg_wal may be a link: the path is taken as it was given. Raises SourceUnreadable, MajorUnsupported.
    """
    directory = path.absolute().parent
    control = directory.parent / CONTROL_PATH
    if directory.name != "pg_wal" or not control.exists():
        return None
    found = read_control(control)
    return WalOwner(found.system_identifier, found.major, found.wal_segment_size)


def read_owner(content: bytes, name: str) -> WalOwner:
    """Return the owner that a segment's own header names. Raises ObjectCorrupt, MajorUnsupported."""
    header = read_long_header(content)
    if header.major is None:
        raise MajorUnsupported(
            f"WAL segment {name!r} has magic {header.magic:#06x}, which is not that of PostgreSQL "
            f"{min(WAL_MAGIC)} to {max(WAL_MAGIC)}"
        )
    return WalOwner(header.system_identifier, header.major, header.segment_size)


def check_content(file: WalFile, content: bytes, owner: WalOwner) -> Lsn | None:
    """Compare a file with its name and owner; return where a segment or .partial starts, None for texts.

    Raises OtherCluster, ObjectCorrupt, SourceUnreadable for a wrong length, UsageError for a name that is
    impossible with the owner's segment size.
    """
    if isinstance(file, SegmentFile | PartialFile):
        of = file.of if isinstance(file, PartialFile) else file
        segment = of.segment(owner.segment_size)
        header = read_long_header(content)
        check_segment(header, segment, system_identifier=owner.system_identifier, major=owner.major)
        if len(content) != segment.size:
            raise SourceUnreadable(f"WAL file {file.name!r} has {len(content)} bytes instead of {segment.size}")
        return segment.start_lsn
    if isinstance(file, BackupHistoryFile):
        _check_backup_history(file, content, owner.segment_size)
    else:
        TimelineHistory.parse(content, file.timeline)
    return None


def _check_backup_history(file: BackupHistoryFile, content: bytes, segment_size: int) -> None:
    match = START_LINE.match(content)
    if match is None:
        raise ObjectCorrupt(f"WAL file {file.name!r} is no backup history file")
    start = (int(match[1], 16) << 32) | int(match[2], 16)
    if match[3].decode() != file.of.name or start % segment_size != file.offset:
        raise ObjectCorrupt(f"WAL file {file.name!r} is the history of another backup")


def require_owner(neighbour: WalOwner | None, file: WalFile, content: bytes) -> WalOwner:
    """Return the data directory's owner, else the segment's own. Raises UsageError for a text outside pg_wal."""
    if neighbour is not None:
        return neighbour
    if isinstance(file, SegmentFile | PartialFile):
        return read_owner(content, file.name)
    raise UsageError(
        f"{file.name!r} does not say which cluster it belongs to",
        hint="Push it from the pg_wal of its data directory.",
    )

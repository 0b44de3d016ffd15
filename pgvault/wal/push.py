"""Archive one WAL file: what archive_command calls.

    read whole → is it what its name says? → does its system belong to this cluster? → put, never replace

Success means: durable in the deciding copy, and in those that are sync for WAL. The same content again is success
too, since PostgreSQL repeats itself after a crash; other content under an archived name is an error for ever. A
`.history` that leaves its parent before WAL archived on it is stored with a warning (wal/fork.py). What this does not
promise: that records inside a segment are intact, and anything about async copies: one that is away costs nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3

from pgvault.errors import SourceUnreadable
from pgvault.instants import Clock
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.walname import (
    LARGEST_SEGMENT,
    PartialFile,
    SegmentFile,
    TimelineHistoryFile,
    WalFile,
    parse_wal_name,
)
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.walobjects import WalInfo, WalOutcome, put_wal
from pgvault.wal.fork import find_fork
from pgvault.wal.walfile import TEXT_BYTES_MAX, WalOwner, check_content, read_neighbour, require_owner

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WalSource:
    """A WAL file that was read whole and is what its name says."""

    file: WalFile
    info: WalInfo
    content: bytes
    blake3: bytes  # of the content, to compare it with
    owner: WalOwner


def push_wal(
    repository: Repository, cluster: str, path: Path, *, clock: Clock, owner: WalOwner | None = None
) -> WalOutcome:
    """Archive the file at `path`; durable when this returns.

    Whose it is, the data directory says in whose pg_wal it lies; elsewhere a segment says so itself, and for
    texts `owner` has to. Raises UsageError for a name that PostgreSQL does not archive, SourceUnreadable,
    ObjectCorrupt, MajorUnsupported, OtherCluster, WalMismatch, and what the store raises.
    """
    source = read_wal_file(path, clock=clock, owner=owner)
    system = System(source.owner.system_identifier, source.owner.major)
    require_system(repository, cluster, system, now=source.info.pushed_at)
    outcome = put_wal(repository, cluster, source.info, content=source.content, blake3=source.blake3)
    if isinstance(source.file, TimelineHistoryFile) and outcome is WalOutcome.STORED:
        _warn_of_fork(repository, cluster, source)
    logger.debug("%s: %s", source.info.name, outcome)
    return outcome


def read_wal_file(path: Path, *, clock: Clock, owner: WalOwner | None = None) -> WalSource:
    """Read a WAL file and compare it with its name and its owner; nothing is asked of a repository.

    Raises as `push_wal`.
    """
    file = parse_wal_name(path.name)
    content, last_write_at = read_source(path, file)
    early = blake3(content).digest()  # before the SHA-256: what changes from here on does not go unnoticed
    owner = require_owner(owner or read_neighbour(path), file, content)
    start_lsn = check_content(file, content, owner)
    info = WalInfo(
        name=file.name,
        length=len(content),
        sha256=hashlib.sha256(content).digest(),
        system_identifier=owner.system_identifier,
        timeline=file.timeline if isinstance(file, SegmentFile | TimelineHistoryFile) else file.of.timeline,
        start_lsn=start_lsn,
        last_write_at=last_write_at,
        pushed_at=clock.now(),
    )
    return WalSource(file, info, content, early, owner)


def read_source(path: Path, file: WalFile) -> tuple[bytes, datetime]:
    """Return a file's bytes and when it was last written; the file must not change meanwhile.

    Raises SourceUnreadable.
    """
    most = LARGEST_SEGMENT if isinstance(file, SegmentFile | PartialFile) else TEXT_BYTES_MAX
    try:
        with path.open("rb", buffering=0) as source:
            before = os.fstat(source.fileno())
            if not 0 < before.st_size <= most:
                raise SourceUnreadable(f"WAL file {str(path)!r} has {before.st_size} bytes")
            content = source.readall()
            after = os.fstat(source.fileno())
    except OSError as error:
        hint = "PostgreSQL calls this in its data directory, where %p is; by hand, name the file by its whole path."
        raise SourceUnreadable(f"WAL file {str(path)!r} can not be read: {error.strerror}", hint=hint) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
        raise SourceUnreadable(f"WAL file {str(path)!r} changed while it was read")
    return content, datetime.fromtimestamp(after.st_mtime, UTC)


def _warn_of_fork(repository: Repository, cluster: str, source: WalSource) -> None:
    history = TimelineHistory.parse(source.content, source.info.timeline)
    owner = source.owner
    fork = find_fork(repository, cluster, owner.system_identifier, history=history, segment_size=owner.segment_size)
    if fork is not None:
        logger.warning("%s; take a backup of the one that goes on, `latest` is refused until then", fork)

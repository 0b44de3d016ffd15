"""Archive one WAL file: what archive_command calls.

    read whole → is it what its name says? → does its system belong to this cluster? → put, never replace

Success means: durable in the deciding copy. The same content again is success too, since PostgreSQL repeats itself
after a crash; other content under an archived name is an error for ever. What this does not promise: that records
inside a segment are intact, and anything about copies but the deciding one.
"""

from __future__ import annotations

import hashlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from pgvault.errors import ObjectMissing, SourceUnreadable
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
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.walobjects import WalInfo, WalOutcome, holds_content, put_wal
from pgvault.wal.fork import refuse_fork
from pgvault.wal.walfile import TEXT_BYTES_MAX, WalOwner, check_content, read_neighbour, require_owner

logger = logging.getLogger(__name__)


def push_wal(  # noqa: PLR0913  one of the two flags is on its way out
    repository: Repository,
    cluster: str,
    path: Path,
    *,
    clock: Clock,
    is_adopted: bool = False,
    owner: WalOwner | None = None,
) -> WalOutcome:
    """Archive the file at `path`, which must lie in pg_wal unless it is a segment; durable when this returns.

    `owner` is whose WAL it must be, where the caller knows that without pg_wal: it streamed the file from there.
    `is_adopted` lets a `.history` pass that leaves its parent before WAL archived on it. Raises UsageError for a
    name that PostgreSQL does not archive, SourceUnreadable, ObjectCorrupt, MajorUnsupported, OtherCluster,
    WalMismatch, Refused, and what the store raises.
    """
    file = parse_wal_name(path.name)
    content, last_write_at = read_source(path, file)
    if owner is None:
        owner = require_owner(read_neighbour(path), file, content)
    start_lsn = check_content(file, content, owner)
    now = clock.now()
    require_system(repository, cluster, System(owner.system_identifier, owner.major), now=now)
    info = WalInfo(
        name=file.name,
        length=len(content),
        sha256=hashlib.sha256(content).digest(),
        system_identifier=owner.system_identifier,
        timeline=file.timeline if isinstance(file, SegmentFile | TimelineHistoryFile) else file.of.timeline,
        start_lsn=start_lsn,
        last_write_at=last_write_at,
        pushed_at=now,
    )
    if isinstance(file, TimelineHistoryFile) and not is_adopted:
        _judge_history(repository, cluster, info, owner=owner, content=content)
    outcome = put_wal(repository, cluster, info, content=content)
    logger.debug("%s: %s", info.name, outcome)
    return outcome


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
        raise SourceUnreadable(f"WAL file {str(path)!r} can not be read: {error.strerror}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
        raise SourceUnreadable(f"WAL file {str(path)!r} changed while it was read")
    return content, datetime.fromtimestamp(after.st_mtime, UTC)


def _judge_history(repository: Repository, cluster: str, info: WalInfo, *, owner: WalOwner, content: bytes) -> None:
    path = layout.wal_file(cluster, info.system_identifier, info.name)
    try:
        holds_content(repository, path, info.sha256)
    except ObjectMissing:
        history = TimelineHistory.parse(content, info.timeline)
        refuse_fork(repository, cluster, info.system_identifier, history=history, segment_size=owner.segment_size)

"""Wait until WAL has really arrived in the repository: read back whole, checked, of the right cluster.

What the server believes about its archive_command proves nothing (`/bin/true` satisfies it, pitfall 18). So a
backup is only good when *we* can open every segment it needs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from pgvault.errors import ArchiveNotWorking, ObjectCorrupt, ObjectMissing
from pgvault.instants import Clock
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, Session
from pgvault.postgres.walheader import check_segment, read_long_header
from pgvault.postgres.walname import WalSegment, segment_at
from pgvault.repository import layout
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System
from pgvault.repository.walobjects import StoredWal, read_wal

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ArchivingServer:
    """A server that should archive into a repository, and the patience we have with it."""

    repository: Repository
    cluster: str
    session: Session
    facts: ServerFacts
    limit: timedelta  # for WAL to arrive
    clock: Clock


def wait_for_segments(server: ArchivingServer, segments: Iterable[WalSegment]) -> tuple[Stored, ...]:
    """Wait for each segment, read it back and check it.

    Raises ArchiveNotWorking, with what the archiver says, when it gets on with nothing for the server's limit: a
    long queue that moves is no reason to throw a finished backup away.
    """
    patience = _Patience(server)
    system = System(server.facts.system_identifier, server.facts.major)
    stored = []
    for segment in segments:
        path = layout.wal_file(server.cluster, server.facts.system_identifier, segment.name)
        while not _is_there(server.repository, path):
            if patience.is_over(segment):
                raise _not_arrived(server, segment)
            time.sleep(POLL_SECONDS)
        patience.renew()
        stored.append(read_segment(server.repository, server.cluster, segment, system=system).stored)
    return tuple(stored)


class _Patience:
    """How long to wait for the archiver: anew with each file that it stores on the way to the awaited one."""

    def __init__(self, server: ArchivingServer) -> None:
        self._server = server
        self._last_archived: str | None = None
        self._deadline = 0.0
        self.renew()

    def renew(self) -> None:
        """Begin to wait anew."""
        self._deadline = self._server.clock.monotonic() + self._server.limit.total_seconds()

    def is_over(self, awaited: WalSegment) -> bool:
        """Tell whether nothing has moved for the whole limit. Asks the server, so it pings the session too.

        A file behind the awaited one does not count: the archiver has passed it, and stores elsewhere or nowhere.
        """
        archived = self._server.session.archiver_statistics().last_archived_name
        if archived is not None and archived != self._last_archived and archived < awaited.name:
            self.renew()
        self._last_archived = archived
        return self._server.clock.monotonic() > self._deadline


def prove_archiving(server: ArchivingServer) -> Stored:
    """Write a record, switch WAL and wait for that very segment through the server's own archive_command.

    Raises ArchiveNotWorking when the segment does not arrive.
    """
    position = server.session.create_restore_point("pgvault check")
    # The position is the end of the record: exactly at a boundary, the record is in the segment before.
    segment = segment_at(server.facts.timeline, Lsn(position.value - 1), server.facts.wal_segment_size)
    server.session.switch_wal()
    (stored,) = wait_for_segments(server, [segment])
    logger.info("segment %s went through archive_command into the repository", segment.name)
    return stored


def _is_there(repository: Repository, path: str) -> bool:
    try:
        repository.deciding.store.size(path)
    except ObjectMissing:
        return False
    return True


def read_segment(
    repository: Repository, cluster: str, segment: WalSegment, *, system: System, history: TimelineHistory | None = None
) -> StoredWal:
    """Read one archived segment whole and check that it is what its name says; its content is not kept.

    Raises ObjectMissing, ObjectCorrupt, OtherCluster.
    """
    wal, frames = read_wal(repository, cluster, system.system_identifier, segment.name)
    first = next(frames, b"")
    length = len(first) + sum(map(len, frames))
    if length != segment.size:
        raise ObjectCorrupt(f"archived segment {segment.name} has {length} bytes, not {segment.size}")
    header = read_long_header(first)
    check_segment(header, segment, system_identifier=system.system_identifier, major=system.major, history=history)
    return wal


def _not_arrived(server: ArchivingServer, segment: WalSegment) -> ArchiveNotWorking:
    said = server.session.archiver_statistics()
    archived = said.last_archived_name or "none"
    if said.last_failed_at is not None and (
        said.last_archived_at is None or said.last_failed_at > said.last_archived_at
    ):
        why = f"the archiver failed {said.failed_count} times, last at {said.last_failed_name}"
    elif said.last_archived_name is not None and said.last_archived_name >= segment.name:
        why = f"the server says it archived {archived}: its archive_command stores elsewhere or nowhere"
    else:
        why = f"the archiver's last success is {archived}"
    setting = server.facts.archive_library or server.facts.archive_command
    return ArchiveNotWorking(
        f"WAL segment {segment.name} did not arrive in {server.repository.deciding.store.url} "
        f"within {server.limit.total_seconds():.0f} s; {why}",
        hint=f"archive_command is {setting!r}; see the server's log, and try: pgvault check.",
    )

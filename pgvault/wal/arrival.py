"""Wait until WAL has really arrived in the repository: read back whole, checked, of the right cluster.

What the server believes about its archive_command proves nothing (`/bin/true` satisfies it, pitfall 18), nor does a
slot that somebody receives from. So a backup is only good when *we* can open every segment it needs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from pgvault.errors import ArchiveNotWorking, ObjectCorrupt
from pgvault.instants import Clock
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, Session
from pgvault.postgres.slots import find_slot
from pgvault.postgres.walheader import check_segment, read_long_header
from pgvault.postgres.walname import WalSegment, segment_at
from pgvault.repository import layout
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System
from pgvault.repository.walobjects import StoredWal, read_wal
from pgvault.repository.writing import decided

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
STREAM_HINT = "See what `pgvault wal stream` says in its log."


@dataclass(frozen=True, slots=True)
class ArchivingServer:
    """A server whose WAL should come into a repository, and the patience we have with it."""

    repository: Repository
    cluster: str
    session: Session
    facts: ServerFacts
    limit: timedelta  # for WAL to arrive
    clock: Clock
    stream_slot: str | None = None  # of `pgvault wal stream`; None: only the server's own archiver brings WAL


def wait_for_segments(server: ArchivingServer, segments: Iterable[WalSegment]) -> tuple[Stored, ...]:
    """Wait for each segment, read it back and check it.

    Raises ArchiveNotWorking, with what the archiver or the stream's slot says, when nothing moves there for the
    server's limit: a long queue that moves is no reason to throw a finished backup away.
    """
    patience = _Patience(server)
    system = System(server.facts.system_identifier, server.facts.major)
    stored = []
    for segment in segments:
        path = layout.wal_file(server.cluster, server.facts.system_identifier, segment.name)
        while not server.repository.deciding.has(path):
            if patience.is_over(segment):
                raise _not_arrived(server, segment)
            time.sleep(POLL_SECONDS)
        patience.renew()
        # Of the deciding copy: one that only another has whole has not arrived.
        stored.append(read_segment(decided(server.repository), server.cluster, segment, system=system).stored)
    return tuple(stored)


class _Patience:
    """How long to wait: anew with each file, or piece of the stream, on the way to the awaited one."""

    def __init__(self, server: ArchivingServer) -> None:
        self._server = server
        self._last_seen: tuple[object, ...] = ()
        self._deadline = 0.0
        self.renew()

    def renew(self) -> None:
        """Begin to wait anew."""
        self._deadline = self._server.clock.monotonic() + self._server.limit.total_seconds()

    def is_over(self, awaited: WalSegment) -> bool:
        """Tell whether nothing has moved for the whole limit. Asks the server, so it pings the session too."""
        seen = (self._archived_before(awaited), self._received_before(awaited))
        if self._last_seen and seen != self._last_seen and seen != (None, None):
            self.renew()
        self._last_seen = seen
        return self._server.clock.monotonic() > self._deadline

    def _archived_before(self, awaited: WalSegment) -> str | None:
        """What the archiver did last; a file behind the awaited one does not count: it stores elsewhere or nowhere."""
        name = self._server.session.archiver_statistics().last_archived_name
        return name if name is not None and name < awaited.name else None

    def _received_before(self, awaited: WalSegment) -> Lsn | None:
        """How far the stream has received, until it has the awaited segment whole."""
        if self._server.stream_slot is None:
            return None
        slot = find_slot(self._server.session, self._server.stream_slot)
        return None if slot is None or slot.restart_lsn is None else min(slot.restart_lsn, awaited.end_lsn)


def prove_archiving(server: ArchivingServer) -> Stored:
    """Write a record, switch WAL and wait for that very segment: through archive_command, or the stream.

    Raises ArchiveNotWorking when the segment does not arrive.
    """
    position = server.session.create_restore_point("pgvault check")
    # The position is the end of the record: exactly at a boundary, the record is in the segment before.
    segment = segment_at(server.facts.timeline, Lsn(position.value - 1), server.facts.wal_segment_size)
    server.session.switch_wal()
    (stored,) = wait_for_segments(server, [segment])
    logger.info("segment %s went through %s into the repository", segment.name, way_of(server))
    return stored


def way_of(server: ArchivingServer) -> str:
    """Name, for people, what brings this server's WAL."""
    if server.stream_slot is None:
        return "the server's archive_command"
    # Whichever is first stores a segment; what is there does not tell which that was.
    return "archive_command or the stream" if server.facts.archive_mode != "off" else "the stream"


def read_segment(
    repository: Repository, cluster: str, segment: WalSegment, *, system: System, history: TimelineHistory | None = None
) -> StoredWal:
    """Read one archived segment whole and check that it is what its name says; its content is not kept.

    Raises ObjectMissing, ObjectCorrupt, OtherCluster.
    """
    wal, frames = read_wal(repository, cluster, system.system_identifier, segment.name)
    length = sum(map(len, frames))
    if length != segment.size:
        raise ObjectCorrupt(f"archived segment {segment.name} has {length} bytes, not {segment.size}")
    header = read_long_header(frames[0])
    check_segment(header, segment, system_identifier=system.system_identifier, major=system.major, history=history)
    return wal


def _not_arrived(server: ArchivingServer, segment: WalSegment) -> ArchiveNotWorking:
    why, hint = (
        _archiver_says(server, segment) if server.stream_slot is None else _slot_says(server, server.stream_slot)
    )
    return ArchiveNotWorking(
        f"WAL segment {segment.name} did not arrive in {server.repository.deciding.store.url} "
        f"within {server.limit.total_seconds():.0f} s; {why}",
        hint=hint,
    )


def _archiver_says(server: ArchivingServer, segment: WalSegment) -> tuple[str, str]:
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
    return why, f"archive_command is {setting!r}; see the server's log, and try: pgvault check."


def _slot_says(server: ArchivingServer, name: str) -> tuple[str, str]:
    slot = find_slot(server.session, name)
    if slot is None:
        return f"the server has no replication slot {name!r}", "Start `pgvault wal stream`: it creates the slot."
    if slot.is_lost:
        return f"replication slot {name!r} keeps no WAL: {slot.cause or 'it is lost'}", STREAM_HINT
    if slot.active_pid is None:
        return f"nobody receives from replication slot {name!r}", "Start `pgvault wal stream`, or see why it ended."
    return f"replication slot {name!r} is read, and was flushed to {slot.restart_lsn}", STREAM_HINT

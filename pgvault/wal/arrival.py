"""Wait until WAL has really arrived in the repository: read back whole, checked, of the right cluster.

What the server believes about its archive_command proves nothing (`/bin/true` satisfies it, pitfall 18), nor does a
slot that somebody receives from. So a backup is only good when *we* can open every segment it needs.

A standby can not finish a segment. Where its primary is known, that is asked to; else all there is to see beforehand
is that the archive keeps up with what the standby replays, and the last segment is waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from pgvault.errors import ArchiveNotWorking, ObjectCorrupt, PgvaultError
from pgvault.instants import Clock
from pgvault.postgres.archiver import read_archiver_statistics
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, Session
from pgvault.postgres.slots import find_slot
from pgvault.postgres.standby import Primary, read_standby_state
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
GROUP_DIGITS = 16  # of a segment's name: the directory that it lies in
PRIMARY_HINT = (
    "Set primary_dsn, so that WAL is switched there; or let the primary's archive_timeout be less than archive_wait."
)
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
    primary: Primary | None = None  # of a server that is a standby, where it is known

    @property
    def writer(self) -> Session | None:
        """A session with the server that writes the WAL; None: it is the unknown primary of a standby."""
        if not self.facts.in_recovery:
            return self.session
        return None if self.primary is None else self.primary.session()

    @property
    def archiver(self) -> Session:
        """A session with the server whose archiver counts: the writer's, else that of the standby itself."""
        return self.writer or self.session


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
        self._last_stored: str | None = None
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
        if self._server.clock.monotonic() <= self._deadline:
            return False
        stored = self._stored_before(awaited)
        if stored != self._last_stored:
            self._last_stored = stored
            self.renew()
        return self._server.clock.monotonic() > self._deadline

    def _archived_before(self, awaited: WalSegment) -> str | None:
        """What the archiver did last; a file behind the awaited one does not count: it stores elsewhere or nowhere."""
        try:
            name = read_archiver_statistics(self._server.archiver).last_archived_name
        except PgvaultError:
            if not self._server.facts.in_recovery:
                raise
            return None  # what a primary that is gone has archived may arrive all the same
        return name if name is not None and name < awaited.name else None

    def _received_before(self, awaited: WalSegment) -> Lsn | None:
        """How far the stream has received, until it has the awaited segment whole."""
        if self._server.stream_slot is None:
            return None
        slot = find_slot(self._server.session, self._server.stream_slot)
        return None if slot is None or slot.restart_lsn is None else min(slot.restart_lsn, awaited.end_lsn)

    def _stored_before(self, awaited: WalSegment) -> str | None:
        """The last segment that is stored, of a standby whose primary is unknown: nobody else tells what moves."""
        if not self._server.facts.in_recovery or self._server.primary is not None:
            return None
        server, store = self._server, self._server.repository.deciding.store
        prefix = layout.wal(server.cluster, server.facts.system_identifier)
        groups = [
            name
            for name in store.children(prefix)
            if len(name) == GROUP_DIGITS and name <= awaited.name and "." not in name
        ]
        names = store.children(f"{prefix}/{groups[-1]}") if groups else ()
        return max((name for name in names if name < awaited.name), default=None)


def prove_archiving(server: ArchivingServer) -> Stored:
    """Write a record, switch WAL and wait for that very segment: through archive_command, or the stream.

    On a standby whose primary is unknown, only the segment before the one that is replayed is waited for. Raises
    ArchiveNotWorking when the segment does not arrive.
    """
    writer = server.writer
    if writer is None:
        return _see_kept_up(server)
    position = writer.create_restore_point("pgvault check")
    # The position is the end of the record: exactly at a boundary, the record is in the segment before.
    segment = segment_at(server.facts.timeline, Lsn(position.value - 1), server.facts.wal_segment_size)
    writer.switch_wal()
    (stored,) = wait_for_segments(server, [segment])
    logger.info("segment %s went through %s into the repository", segment.name, way_of(server))
    return stored


def _see_kept_up(server: ArchivingServer) -> Stored:
    """See that the last segment that the standby has replayed whole is archived; its timeline is the history's."""
    size = server.facts.wal_segment_size
    number = read_standby_state(server.session).replayed_lsn.value // size - 1
    on = [WalSegment(timeline, number, size) for timeline in range(server.facts.timeline, 0, -1)]
    system = System(server.facts.system_identifier, server.facts.major)
    patience = _Patience(server)
    while True:
        for segment in on:
            if server.repository.deciding.has(layout.wal_file(server.cluster, system.system_identifier, segment.name)):
                stored = read_segment(decided(server.repository), server.cluster, segment, system=system).stored
                logger.info("segment %s, just before what the standby replays, is archived", segment.name)
                return stored
        if patience.is_over(on[0]):
            raise _not_arrived(server, on[0])
        time.sleep(POLL_SECONDS)


def finish_segment(server: ArchivingServer) -> None:
    """Let the primary finish the segment in which the backup of a standby ends, as pg_backup_stop does on a primary."""
    if not server.facts.in_recovery or server.primary is None:
        return
    try:
        server.primary.session().switch_wal()
    except PgvaultError as error:
        logger.warning("the primary did not finish its WAL segment, which is waited for now: %s", error)


def way_of(server: ArchivingServer) -> str:
    """Name, for people, what brings this server's WAL."""
    if server.facts.in_recovery and server.stream_slot is not None:
        return "archive_command or the stream"
    if server.facts.in_recovery:
        by_both = server.facts.archive_mode == "always"
        return "archive_command, the primary's or the standby's" if by_both else "the primary's archive_command"
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
    if server.facts.in_recovery and server.primary is None:
        why = "the server is a standby, which can not finish a segment, and its primary is not known"
        return why, PRIMARY_HINT
    said = read_archiver_statistics(server.archiver)
    archived = said.last_archived_name or "none"
    if said.last_failed_at is not None and (
        said.last_archived_at is None or said.last_failed_at > said.last_archived_at
    ):
        why = f"the archiver failed {said.failed_count} times, last at {said.last_failed_name}"
    elif said.last_archived_name is not None and said.last_archived_name >= segment.name:
        why = f"the server says it archived {archived}: its archive_command stores elsewhere or nowhere"
    else:
        why = f"the archiver's last success is {archived}"
    facts = server.facts if server.primary is None else server.primary.facts
    setting = facts.archive_library or facts.archive_command
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

"""A server on any host as a source: its files come as one stream by the replication protocol.

    16388.tar ─► members ─► pieces with their bytes ─┐
    base.tar  ─► members ─► pieces with their bytes ─┴─► copied as any others, in the order of the stream
                 backup_label, tablespace_map            into the root
                 global/pg_control                       comes last of all
    manifest  ─► each file's size and CRC-32C           compared with what was stored

What is held is the batches under way: the server waits when we do not read. Nothing is written to a disk here. The
start of the backup is what its backup_label says, the end what the server says at the end; its manifest must say both.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from awscrt.checksums import crc32c

from pgvault.backup.batches import Piece
from pgvault.backup.inventory import Before, look_before
from pgvault.backup.sent import SentFiles
from pgvault.backup.source import Ended, PageLayout, Started
from pgvault.errors import OtherCluster, ServerUnfit, SourceUnreadable
from pgvault.postgres.backuplabel import BackupLabel
from pgvault.postgres.basebackup import BaseBackup, BaseBackupOrder, Head, Parts, Tail
from pgvault.postgres.connection import read_number
from pgvault.postgres.control import ControlData, parse_control
from pgvault.postgres.datadir import CONTROL_FILE, EXCLUDED_AT_TOP, Entry, EntryKind, relation_at
from pgvault.postgres.replication import read_history, require_free_sender, require_replication_role
from pgvault.postgres.server import ServerFacts, Session, StoppedBackup, Tablespace
from pgvault.postgres.serverfiles import may_read_files, outside_settings, read_outside_files
from pgvault.postgres.servermanifest import ServerManifest
from pgvault.postgres.tarstream import Member, MemberKind, TarStream
from pgvault.postgres.walname import TimelineHistoryFile
from pgvault.repository.filelist import FileRecord
from pgvault.repository.manifest import STREAM, Owner

logger = logging.getLogger(__name__)

STREAM_BATCH_BYTES = 16 << 20  # held whole, unlike what is read from files: 32 MiB took 450 MB with 4 workers (2026-11)
MAIN_ARCHIVE = "base.tar"
LABEL_FILE, MAP_FILE = b"backup_label", b"tablespace_map"
OUTSIDE_MODE = 0o600  # of configuration that a query read: the server does not say more
NANOSECONDS = 1_000_000_000
KINDS = {
    MemberKind.FILE: EntryKind.FILE,
    MemberKind.DIRECTORY: EntryKind.DIRECTORY,
    MemberKind.SYMLINK: EntryKind.SYMLINK,
}
# -2: half dropped, and not to be connected to any more
DATABASES = "SELECT oid::bigint FROM pg_database WHERE datconnlimit <> -2"
LAYOUT = "SELECT data_page_checksum_version, blocks_per_segment FROM pg_control_init()"


@dataclass(slots=True)
class _Received:
    """What came in the stream and is no file of the list."""

    label_file: bytes = b""
    tablespace_map: bytes = b""
    control: bytes = b""
    control_member: Member | None = None


class RemoteSource:
    """The server that `session` reached."""

    kind = STREAM
    batch_bytes = STREAM_BATCH_BYTES

    def __init__(self, session: Session, order: BaseBackupOrder) -> None:
        self._session = session
        self._order = order
        self._received = _Received()
        self._sent = SentFiles()
        self._before = Before()
        self._databases: Mapping[int, str] = {}  # at the start
        self._mode = 0o700  # of directories, as the server makes them
        self._backup: BaseBackup | None = None
        self._head: Head | None = None
        self._main: TarStream | None = None
        self._parts = Parts(iter(()))

    def close(self) -> None:
        """Hang up."""
        if self._backup is not None:
            self._backup.close()

    def ahead(self, jobs: int) -> int:
        """Return how many batches may be under way: each is held in memory."""
        return jobs + 1

    def start(self, label: str, look_after: Callable[[], None]) -> Started:
        """Let the server begin; it sends as soon as its checkpoint is done."""
        require_replication_role(self._session)
        require_free_sender(self._session)
        # The server may have stopped its backup long before we have read all of it: what is settled, is before.
        self._before = look_before(self._session)
        self._backup = BaseBackup(self._order, look_after=look_after)
        self._head = self._backup.start(label)
        self._parts = Parts(self._backup.messages())
        facts = self._session.facts()
        self._databases = facts.databases
        self._mode = int(self._session.settings(("data_directory_mode",))["data_directory_mode"], 8)
        checksums, segment = map(read_number, self._session.row(LAYOUT))
        return Started(self._head.start.lsn, _with_tablespaces(facts, self._head), PageLayout(checksums != 0, segment))

    def pieces(self) -> Iterator[Piece]:
        """Yield what the server sends, in its order, and then the configuration outside the data directory."""
        assert self._head is not None
        waiting = {f"{oid}.tar": oid for oid in self._head.tablespaces}
        if waiting:
            yield Piece(_made(b"pg_tblspc", EntryKind.DIRECTORY, mode=self._mode))
        while (name := self._parts.next_archive()) is not None:
            stream = TarStream(name, self._parts.chunks())
            if name == MAIN_ARCHIVE and not waiting:
                yield from self._main_pieces(stream, has_tablespaces=bool(self._head.tablespaces))
                yield from outside_pieces(self._session)
                return
            if name not in waiting:
                raise ServerUnfit(f"the server sends the archive {name!r}, which is of no tablespace")
            yield from self._tablespace_pieces(stream, waiting.pop(name), self._head)
        raise ServerUnfit(f"the server did not send {', '.join([*waiting, MAIN_ARCHIVE])}")

    def control(self) -> Piece:
        """Return pg_control, which the server sends behind everything else."""
        member = self._received.control_member
        if member is None:
            raise ServerUnfit("the base backup holds no pg_control")
        return Piece(_entry(CONTROL_FILE, member), content=self._received.control)

    def copied(self, records: Iterable[FileRecord]) -> None:
        """Note what was stored, to compare it with what the server says it sent."""
        self._sent.add(records)

    def stop(self) -> Ended:
        """Read the rest: the server's manifest, and where the backup ends."""
        assert self._backup is not None
        assert self._head is not None
        received = self._received
        if self._main is None or self._main.next() is not None or self._parts.next_archive() is not None:
            raise ServerUnfit("the server sends more behind pg_control")
        manifest = ServerManifest(self._parts.chunks())
        self._sent.compare(manifest.files())
        self._parts.require_end()
        tail = self._backup.end()
        self._backup.close()
        if tail.has_bad_pages:
            logger.warning("the server found pages with wrong checksums too, and sent them as they are")
        check_positions(BackupLabel.parse(received.label_file), self._head, tail, manifest)
        facts = self._session.facts()
        remaining = {read_number(oid) for (oid,) in self._session.rows(DATABASES)}
        self._sent.require_whole(remaining & self._databases.keys())
        control = check_control(received.control, facts, self._head)
        before = self._before if self._before.is_within(tail.stop.lsn) else Before()
        member = received.control_member
        assert member is not None
        # PostgreSQL writes "postgres" whoever it is; the numbers are the files' own.
        owner = Owner(member.uid, member.gid, member.user or None, member.group or None)
        return Ended(StoppedBackup(tail.stop.lsn, received.label_file, received.tablespace_map), before, control, owner)

    def history_file(self, timeline: int, scratch: Path) -> Path | None:
        """Fetch a history file by the same protocol; None where the server has it no more."""
        path = scratch / TimelineHistoryFile(timeline).name
        try:
            path.write_bytes(read_history(self._order.address, timeline))
        except ServerUnfit:
            return None
        return path

    def _tablespace_pieces(self, stream: TarStream, oid: int, head: Head) -> Iterator[Piece]:
        path = b"pg_tblspc/%d" % oid
        location = head.tablespaces[oid]
        if location.startswith("/"):
            target = location.encode("utf-8", "surrogateescape")
            yield Piece(replace(_made(path, EntryKind.SYMLINK, mode=0o777), target=target))
        else:
            yield Piece(_made(path, EntryKind.DIRECTORY, mode=self._mode))
        is_empty = True
        while (member := stream.next()) is not None:
            is_empty = False
            yield from _member_pieces(path + b"/" + member.name, member, stream)
        if is_empty:
            raise SourceUnreadable(f"tablespace {oid} in {location!r} was not sent: nothing was found in it")

    def _main_pieces(self, stream: TarStream, *, has_tablespaces: bool) -> Iterator[Piece]:
        """Yield what is in the data directory, up to pg_control."""
        received = self._received
        self._main = stream
        while (member := stream.next()) is not None:
            name = member.name
            if name == CONTROL_FILE:
                received.control, received.control_member = bytes(stream.take(member.size)), member
                return
            if EXCLUDED_AT_TOP.fullmatch(name.partition(b"/")[0]):
                self._take_aside(name, member, stream)
            elif not (name == b"pg_tblspc" and has_tablespaces):
                yield from _member_pieces(name, member, stream)
        raise ServerUnfit("the base backup holds no pg_control")

    def _take_aside(self, name: bytes, member: Member, stream: TarStream) -> None:
        """Read what is no file of a backup, an operator's too; the server's manifest has it all the same."""
        kept = {LABEL_FILE: bytearray(), MAP_FILE: bytearray()}
        crc = 0
        while content := stream.take(STREAM_BATCH_BYTES):
            crc = crc32c(content, crc)
            if name in kept:
                kept[name] += content
        if member.kind is MemberKind.FILE:
            self._sent.add_aside(name, member.size, crc)
        self._received.label_file += kept[LABEL_FILE]
        self._received.tablespace_map += kept[MAP_FILE]


def outside_pieces(session: Session) -> Iterator[Piece]:
    """Yield the configuration outside the data directory, where our role may read it; else say that it is missing."""
    outside = outside_settings(session)
    if outside and not may_read_files(session):
        logger.warning("not in the backup, since role and protocol do not reach it: %s", ", ".join(outside))
        return
    if outside:
        for path, content in read_outside_files(session).items():
            entry = replace(_made(os.fsencode(path), EntryKind.FILE, mode=OUTSIDE_MODE), size=len(content))
            yield Piece(entry, content=content)


def check_positions(label: BackupLabel, head: Head, tail: Tail, manifest: ServerManifest) -> None:
    """See that label, protocol and manifest agree on where the backup starts and ends. Raises ServerUnfit."""
    said = {(each.timeline, each.start_lsn, each.end_lsn) for each in manifest.wal_ranges}
    if said != {(label.timeline, label.start_lsn, tail.stop.lsn)}:
        raise ServerUnfit("the server changed its timeline, or its manifest names other WAL than its backup_label")
    if (head.start.lsn, head.start.timeline, tail.stop.timeline) != (label.start_lsn, label.timeline, label.timeline):
        raise ServerUnfit("the server says another start of its base backup than its backup_label")


def check_control(image: bytes, facts: ServerFacts, head: Head) -> ControlData:
    """Read the pg_control that was sent. Raises OtherCluster, ServerUnfit, ObjectCorrupt."""
    control = parse_control(image)
    if control.system_identifier != facts.system_identifier:
        raise OtherCluster(
            f"the base backup is of system {control.system_identifier}, the session with {facts.system_identifier}"
        )
    if control.checkpoint_lsn < head.start.lsn:
        raise ServerUnfit("pg_control went back behind the start of the backup")
    return control


def _with_tablespaces(facts: ServerFacts, head: Head) -> ServerFacts:
    """Return the facts with those tablespaces that are sent: the session may see others a moment later."""
    known = facts.tablespaces
    spaces = {
        oid: Tablespace(known[oid].name if oid in known else "", location) for oid, location in head.tablespaces.items()
    }
    return replace(facts, tablespaces=spaces)


def _member_pieces(path: bytes, member: Member, stream: TarStream) -> Iterator[Piece]:
    entry = _entry(path, member)
    if entry.kind is not EntryKind.FILE:
        yield Piece(entry)
        return
    offset = 0
    while True:
        content = stream.take(min(STREAM_BATCH_BYTES, member.size - offset))
        end = offset + len(content)
        yield Piece(entry, offset, len(content), is_first=offset == 0, is_last=end == member.size, content=content)
        offset = end
        if offset == member.size:
            return


def _entry(path: bytes, member: Member) -> Entry:
    relation = relation_at(path) if member.kind is MemberKind.FILE else None
    return Entry(
        path=path,
        source=path,
        kind=KINDS[member.kind],
        size=member.size,
        mode=member.mode,
        mtime_ns=member.mtime * NANOSECONDS,
        uid=member.uid,
        gid=member.gid,
        is_relation=relation is not None,
        segment_number=0 if relation is None else relation[2],
        target=member.target,
    )


def _made(path: bytes, kind: EntryKind, *, mode: int) -> Entry:
    """An entry that no archive holds."""
    return Entry(path, path, kind, 0, mode, time.time_ns(), 0, 0)

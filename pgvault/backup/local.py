"""The data directory on this host as a source: files read in parallel, between pg_backup_start and pg_backup_stop."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pgvault.backup.batches import BATCH_BYTES, Piece, cut
from pgvault.backup.inventory import Before, look_before
from pgvault.backup.source import Ended, PageLayout, Started
from pgvault.errors import OtherCluster, ServerUnfit, SourceUnreadable
from pgvault.postgres.control import ControlData, parse_control, read_control, read_control_image
from pgvault.postgres.datadir import CONTROL_FILE, Entry, EntryKind, check_tablespaces, scan_cluster
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, Session
from pgvault.postgres.walname import TimelineHistoryFile
from pgvault.repository.filelist import FileRecord
from pgvault.repository.manifest import LOCAL, Owner


@dataclass(slots=True)
class LocalSource:
    """The server's own directory, as it lies for us."""

    session: Session
    data: Path
    kind: str = LOCAL
    batch_bytes: int = BATCH_BYTES
    _started: Started | None = None
    _control: ControlData | None = None
    _before: Before | None = None  # of a standby, whose backup may end before what it shows us later

    @classmethod
    def of(cls, session: Session, facts: ServerFacts, directory: Path | None) -> LocalSource:
        """Take `directory`, else the one that the server names. Raises OtherCluster where it is another's."""
        data = directory or facts.data_directory
        check_directory(facts, data)
        return cls(session, data)

    def close(self) -> None:
        """Nothing is open: the session is the caller's."""

    def ahead(self, jobs: int) -> int:
        """Return how many batches may be under way: they are only names until they are read."""
        return jobs * 2

    def start(self, label: str, look_after: Callable[[], None]) -> Started:  # noqa: ARG002 - a query waits for it
        """Start the backup, and see its checkpoint arrive in the directory."""
        start_lsn = self.session.start_backup(label)
        control = check_started(self.session, self.data, start_lsn)
        self._control = control
        layout = PageLayout(control.has_data_checksums, control.relseg_size)
        facts = self.session.facts()
        self._started = Started(start_lsn, facts, layout)
        if facts.in_recovery:
            self._before = look_before(self.session)
        return self._started

    def pieces(self) -> Iterator[Piece]:
        """Yield every entry in path order, then the configuration files outside the directory."""
        started, control = self._under_way()
        return list_pieces(self.session, started.facts, self.data, control)

    def control(self) -> Piece:
        """Return pg_control as it is now."""
        started, _ = self._under_way()
        piece, self._control = control_piece(self.data, started.start_lsn)
        return piece

    def copied(self, records: Iterable[FileRecord]) -> None:
        """Nobody else knows what should be in them."""

    def stop(self) -> Ended:
        """Stop the backup in the session that started it."""
        _, control = self._under_way()
        before = self._before or look_before(self.session)
        self.session.ping()
        stopped = self.session.stop_backup()
        if self._before is not None and not self._before.is_within(stopped.stop_lsn):
            before = Before()
        return Ended(stopped, before, control, find_owner(self.data))

    def history_file(self, timeline: int, scratch: Path) -> Path | None:  # noqa: ARG002 - it lies there already
        """Return the path of a history file in pg_wal."""
        path = self.data / "pg_wal" / TimelineHistoryFile(timeline).name
        return path if path.exists() else None

    def _under_way(self) -> tuple[Started, ControlData]:
        if self._started is None or self._control is None:
            raise RuntimeError("a backup that was not started is neither copied nor stopped")
        return self._started, self._control


def check_directory(facts: ServerFacts, data: Path) -> ControlData:
    """Refuse a directory that is not the server's (pitfall 14); return its pg_control. Raises OtherCluster."""
    control = read_control(data / os.fsdecode(CONTROL_FILE))
    if control.system_identifier != facts.system_identifier:
        raise OtherCluster(
            f"{data} holds system {control.system_identifier}, the server is system {facts.system_identifier}",
            hint="dsn and data_directory point at two clusters.",
        )
    return control


def check_started(session: Session, data: Path, start_lsn: Lsn) -> ControlData:
    """See the backup's own checkpoint arrive in the directory that will be copied; return its pg_control.

    A copy of the cluster has its system identifier too, and may have gone on further than the server: so what is on
    disk must be what the server has there, or what it wrote while we looked. Raises OtherCluster.
    """
    before = session.control_positions()
    control = read_control(data / os.fsdecode(CONTROL_FILE))
    positions, after = (control.checkpoint_lsn, control.min_recovery_lsn), session.control_positions()
    # A primary and its standby have the same checkpoint; the minimum recovery point is a standby's alone.
    is_between = all(low <= one <= high for low, one, high in zip(before, positions, after, strict=True))
    if control.checkpoint_lsn < start_lsn or not is_between:
        raise OtherCluster(f"the checkpoint of the backup does not show in {data}: is it the server's directory?")
    return control


def list_pieces(session: Session, facts: ServerFacts, data: Path, control: ControlData) -> Iterator[Piece]:
    """Yield every entry of the data directory in path order, then the configuration files outside it.

    `facts` are from right after the start of the backup: of tablespaces made or dropped since then the WAL knows.
    """
    present = {oid: Path(space.location) for oid, space in session.facts().tablespaces.items()}
    check_tablespaces(data, present)
    known = {oid: location for oid, location in present.items() if oid in facts.tablespaces}
    inside = scan_cluster(data, tablespaces=known, version_dir=control.version_directory)
    seen: set[bytes] = set()
    for entry in chain(inside, _external_entries(session)):
        if entry.path.startswith(b"pg_tblspc/") and entry.path.count(b"/") > 1:
            seen.add(entry.path.split(b"/")[1])
        yield from cut(entry)
    for oid, location in known.items():
        if b"%d" % oid not in seen and os.path.lexists(data / "pg_tblspc" / str(oid)):
            raise SourceUnreadable(f"tablespace {oid} in {str(location)!r} was not copied: nothing was found in it")


def _external_entries(session: Session) -> Iterator[Entry]:
    paths = (plain_path(file.path) for file in session.configuration_files())
    return (_file_entry(path, os.fsencode(path)) for path in dict.fromkeys(paths))


def plain_path(path: Path) -> Path:
    """Return a path without '..', which `include '../shared.conf'` brings and no record may have."""
    return path.parent.resolve() / path.name if ".." in path.parts else path


def _file_entry(path: Path, name: bytes) -> Entry:
    """Return a single file as the scan would list it. Raises SourceUnreadable."""
    try:
        status = path.stat()
    except OSError as error:
        raise SourceUnreadable(f"file {str(path)!r} can not be read: {error.strerror}") from error
    return Entry(
        path=name,
        source=os.fsencode(path),
        kind=EntryKind.FILE,
        size=status.st_size,
        mode=status.st_mode & 0o7777,
        mtime_ns=status.st_mtime_ns,
        uid=status.st_uid,
        gid=status.st_gid,
    )


def control_piece(data: Path, start_lsn: Lsn) -> tuple[Piece, ControlData]:
    """Return pg_control, and as a piece: an image whose CRC is right, from after the backup's own checkpoint."""
    path = data / os.fsdecode(CONTROL_FILE)
    image = read_control_image(path)
    control = parse_control(image)
    if control.checkpoint_lsn < start_lsn:
        raise ServerUnfit("pg_control went back behind the start of the backup")
    return Piece(replace(_file_entry(path, CONTROL_FILE), size=len(image)), content=image), control


def find_owner(data: Path) -> Owner:
    """Return who owns the data directory, by name where there is one."""
    status = data.stat()
    try:
        user: str | None = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = None
    try:
        group: str | None = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = None
    return Owner(status.st_uid, status.st_gid, user, group)

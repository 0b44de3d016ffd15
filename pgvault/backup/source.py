"""What a backup reads on this host: the data directory, the files outside it, pg_control, and who owns it all."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pgvault.backup.batches import Piece, cut
from pgvault.errors import MajorUnsupported, OtherCluster, ServerUnfit, SourceUnreadable
from pgvault.postgres.control import ControlData, parse_control, read_control, read_control_image
from pgvault.postgres.datadir import CONTROL_FILE, Entry, EntryKind, check_tablespaces, scan_cluster
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, Session
from pgvault.repository.manifest import Owner, PostgresFacts

SUPPORTED_MAJORS = (15, 16, 17, 18)


def check_server(facts: ServerFacts, *, is_untested_major_allowed: bool, is_streamed: bool = False) -> None:
    """Refuse a server that we can not back up. Raises MajorUnsupported, ServerUnfit.

    Where `pgvault wal stream` brings the WAL, the server itself need not archive.
    """
    if facts.major not in SUPPORTED_MAJORS and not is_untested_major_allowed:
        raise MajorUnsupported(
            f"PostgreSQL {facts.major} is not one pgvault was tested with ({', '.join(map(str, SUPPORTED_MAJORS))})",
            hint="--untested-major tries all the same.",
        )
    if facts.in_recovery:
        raise ServerUnfit("the server is a standby", hint="Back up its primary: no standby as a source yet.")
    is_archiving = facts.archive_mode != "off" and bool(facts.archive_command or facts.archive_library)
    if not is_archiving and not is_streamed:
        raise ServerUnfit(
            f"the server does not archive WAL: archive_mode is {facts.archive_mode!r}, archive_command is "
            f"{facts.archive_command!r}",
            hint="Set archive_mode = on and archive_command = 'pgvault wal push %p', then restart the server:"
            " pgvault check --print-settings writes the lines. Or stream: see pgvault wal stream.",
        )


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
    before = session.checkpoint_lsn()
    control = read_control(data / os.fsdecode(CONTROL_FILE))
    if control.checkpoint_lsn < start_lsn or not before <= control.checkpoint_lsn <= session.checkpoint_lsn():
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


def control_piece(data: Path, start_lsn: Lsn) -> Piece:
    """Return pg_control as a piece: an image whose CRC is right, from after the backup's own checkpoint."""
    path = data / os.fsdecode(CONTROL_FILE)
    image = read_control_image(path)
    if parse_control(image).checkpoint_lsn < start_lsn:
        raise ServerUnfit("pg_control went back behind the start of the backup")
    return Piece(replace(_file_entry(path, CONTROL_FILE), size=len(image)), content=image)


def postgres_facts(facts: ServerFacts, control: ControlData) -> PostgresFacts:
    """Return what a restored server needs to be."""
    settings = {name: str(value) for name, value in facts.standby_minima.items()}
    settings |= facts.session_settings
    settings |= {
        "wal_level": facts.wal_level,
        "shared_preload_libraries": facts.shared_preload_libraries,
        "archive_command": facts.archive_command,
        "server_version": facts.version_text,
    }
    return PostgresFacts(
        major=facts.major,
        version_num=facts.version_num,
        catalog_version=control.catalog_version,
        control_version=control.pg_control_version,
        block_size=facts.block_size,
        relation_segment_blocks=control.relseg_size,
        wal_segment_size=facts.wal_segment_size,
        data_checksums=control.has_data_checksums,
        superuser=facts.bootstrap_superuser,
        settings=settings,
    )


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

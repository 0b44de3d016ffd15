"""List what of a running cluster belongs into a backup.

    scan_cluster(pgdata, tablespaces={16384: Path("/srv/ts1")}, version_dir="PG_18_202506291")
        base                             DIRECTORY
        base/5/16385                     FILE, a relation
        base/5/16385.1                   FILE, a relation, segment 1
        pg_tblspc/16384                  SYMLINK
        pg_tblspc/16384/PG_18_202506291  DIRECTORY, and what is in it
        pg_wal                           DIRECTORY: never a link, never its content
        postgresql.conf                  FILE

Entries come in path order, component by component, a directory before its content. Paths are bytes.

What is left out is what the server itself leaves out of a base backup: contents that are made anew at every
start, temporary and unlogged relations (the `_init` fork stays), files of the running server. In addition, since
ours would lie beside them: labels, maps and signal files of an earlier restore. `global/pg_control` is never
listed: the caller copies it last.

Links: PGDATA itself is resolved once. Links at or below a directory that only the server fills (base, pg_xact …)
are followed, and become plain directories and files. Any other link inside PGDATA is listed as SYMLINK with
its target and not followed, as pg_basebackup does not follow it. Sockets and pipes are skipped.

The cluster lives on meanwhile: an entry may be gone when it is opened, and a file that is made during the
scan may be missing; both are repaired by the WAL of the backup, provided that the scan began after
pg_backup_start returned.
"""

# Paths are bytes, which pathlib does not take.
# ruff: noqa: PTH112, PTH115, PTH116, PTH118, PTH119, PTH208

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from pgvault.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

CONTROL_FILE = b"global/pg_control"

# basebackup.c of 15 to 18: the server empties or ignores these at start, whatever their depth.
EXCLUDED_CONTENTS = frozenset(
    {b"pg_dynshmem", b"pg_notify", b"pg_replslot", b"pg_serial", b"pg_snapshots", b"pg_stat_tmp", b"pg_subtrans"}
)
EXCLUDED_FILES = frozenset(
    {
        b"postgresql.auto.conf.tmp",
        b"current_logfiles.tmp",
        b"backup_label",
        b"tablespace_map",
        b"backup_manifest",
        b"postmaster.pid",
        b"postmaster.opts",
        b".DS_Store",
    }
)
EXCLUDED_PREFIXES = (b"pgsql_tmp", b"pg_internal.init")
# Ours, at the top only: leftovers of an earlier backup or restore (.old, .tmp), and the lock of a socket in PGDATA,
# which could keep the restored server from starting.
EXCLUDED_AT_TOP = re.compile(
    rb"(backup_label|tablespace_map|backup_manifest)\b.*|(recovery|standby)\.signal|\.s\.PGSQL\.\d+\.lock", re.DOTALL
)
KEPT_IN_PG_WAL = (b"archive_status", b"summaries")  # as empty directories; summaries from 17 on
# Only the server writes here, so a link means that an operator moved the directory elsewhere.
SERVER_DIRECTORIES = frozenset(
    {
        b"base",
        b"global",
        b"pg_commit_ts",
        b"pg_logical",
        b"pg_multixact",
        b"pg_stat",
        b"pg_tblspc",
        b"pg_twophase",
        b"pg_xact",
    }
)

# 16385, 16385_fsm, 16385_vm, 16385_init, each with .1, .2 … behind it
RELATION_NAME = re.compile(rb"([1-9][0-9]{0,9})(_fsm|_vm|_init)?(?:\.([1-9][0-9]*))?")
# t3_16385: of backend 3
TEMP_RELATION_NAME = re.compile(rb"t[0-9]+_[0-9]+(_fsm|_vm|_init)?(\.[0-9]+)?")
OID_NAME = re.compile(rb"[1-9][0-9]{0,9}")


class EntryKind(Enum):
    """What an entry becomes in a restored cluster."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link of the backup, as it was when it was listed."""

    path: bytes  # relative to PGDATA, '/' between components
    source: bytes  # absolute, where it lies now
    kind: EntryKind
    size: int  # bytes when listed; 0 unless a FILE
    mode: int  # permission bits
    mtime_ns: int
    uid: int
    gid: int
    is_relation: bool = False  # made of 8 KiB pages with checksums, where the cluster has them
    segment_number: int = 0  # of a relation's file: 16385.1 is 1
    target: bytes | None = None  # of a SYMLINK, as the link has it


class _Role(Enum):
    """What a directory is to the server."""

    FOREIGN = "an operator may have put things here"
    SERVER = "only the server writes here"
    DATABASES = "one directory per database"
    RELATIONS = "the files of one database, or the shared ones"


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory whose turn it is."""

    path: bytes  # relative, b"" for PGDATA
    source: bytes  # absolute
    role: _Role
    above: frozenset[tuple[int, int]]  # device and inode of it and the directories above, against loops


def scan_cluster(pgdata: Path, *, tablespaces: Mapping[int, Path], version_dir: str) -> Iterator[Entry]:
    """List the cluster in `pgdata` in path order, reading each directory when its turn comes.

    `tablespaces` maps oids to where their content lies for us (a relative path is one inside PGDATA); only
    `version_dir` (PG_18_202506291) of each is listed. A tablespace that is not in the mapping is left out:
    see check_tablespaces. Raises SourceUnreadable when anything that exists can not be listed.
    """
    root = os.path.realpath(os.fsencode(pgdata))
    locations = {
        b"%d" % oid: os.path.realpath(os.path.join(root, os.fsencode(location)))
        for oid, location in tablespaces.items()
    }
    yield from _Scan(root, locations, os.fsencode(version_dir)).top()


def check_tablespaces(pgdata: Path, tablespaces: Mapping[int, Path]) -> None:
    """Compare the links in pg_tblspc with the server's own list of tablespaces; call it before the scan.

    Raises SourceUnreadable when one of them lacks a tablespace of the other, or a location is no directory.
    """
    directory = os.path.join(os.path.realpath(os.fsencode(pgdata)), b"pg_tblspc")
    try:
        found = {int(name) for name in os.listdir(directory) if OID_NAME.fullmatch(name)}
    except OSError as error:
        raise _unreadable(directory, error) from error
    for oid in sorted(found ^ set(tablespaces)):
        where = "pg_tblspc but not in the server's list" if oid in found else "the server's list but not in pg_tblspc"
        raise SourceUnreadable(f"tablespace {oid} is in {where}")
    for oid, location in sorted(tablespaces.items()):
        path = os.path.join(directory, b"..", os.fsencode(location))
        if not os.path.isdir(path):
            raise SourceUnreadable(f"tablespace {oid} at {str(location)!r} is no directory")


def relation_of(name: bytes) -> tuple[int, bytes, int] | None:
    """Read a relation's file name: (number, fork suffix, segment number); None for any other name."""
    match = RELATION_NAME.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), match[2] or b"", int(match[3] or 0)


def relation_at(path: bytes) -> tuple[int, bytes, int] | None:
    """Read the path of a relation's file, relative to PGDATA, as `relation_of` reads its name; None for any other."""
    *above, name = path.split(b"/")
    match above:
        case [b"global"]:
            return relation_of(name)
        case [b"base", database] | [b"pg_tblspc", _, _, database] if OID_NAME.fullmatch(database):
            return relation_of(name)
    return None


@dataclass(frozen=True, slots=True)
class _Scan:
    """One pass over a cluster."""

    root: bytes  # PGDATA, resolved
    tablespaces: Mapping[bytes, bytes]  # oid in decimal → location, resolved
    version_dir: bytes

    def top(self) -> Iterator[Entry]:
        """List PGDATA."""
        status = _must_exist(self.root, _status(self.root, follow=True))
        place = _Place(b"", self.root, _Role.FOREIGN, frozenset({_identity(status)}))
        yield from self._children(place, _must_exist(self.root, _names(self.root)))

    def _children(self, place: _Place, names: frozenset[bytes]) -> Iterator[Entry]:
        for name in sorted(names):
            if not _is_excluded(name, place, names):
                yield from self._entry(name, place)

    def _entry(self, name: bytes, place: _Place) -> Iterator[Entry]:
        path, source = os.path.join(place.path, name), os.path.join(place.source, name)
        status = _status(source, follow=False)
        if status is None:
            return  # gone since it was listed
        if path == b"pg_wal" or name in EXCLUDED_CONTENTS:
            yield from _emptied(path, source, status)
            return
        role = _role(path, name, place.role)
        if stat.S_ISLNK(status.st_mode) and role is not _Role.FOREIGN:
            status = _must_exist(source, _status(source, follow=True))
        if stat.S_ISLNK(status.st_mode):
            yield _link(path, source, status)
        elif path == b"pg_tblspc":
            yield _directory(path, source, status)
            yield from self._tablespaces(source)
        elif stat.S_ISDIR(status.st_mode):
            yield _directory(path, source, status)
            yield from self._inside(_Place(path, source, role, place.above), status)
        elif stat.S_ISREG(status.st_mode):
            yield _file(path, source, status, place.role)
        else:
            logger.debug("skipped %r, which is no file, directory or link", path)

    def _inside(self, place: _Place, status: os.stat_result) -> Iterator[Entry]:
        """List the content of `place`, unless that is a tablespace inside PGDATA, listed under pg_tblspc."""
        identity = _identity(status)
        if identity in place.above:
            raise SourceUnreadable(f"{os.fsdecode(place.source)!r} is a directory inside itself")
        if os.path.realpath(place.source) in self.tablespaces.values():
            return
        names = _names(place.source)
        if names is not None:  # None: the database was dropped since
            yield from self._children(replace(place, above=place.above | {identity}), names)

    def _tablespaces(self, directory: bytes) -> Iterator[Entry]:
        for oid, location in sorted(self.tablespaces.items()):
            link = os.path.join(directory, oid)
            link_status = _status(link, follow=False)
            if link_status is None:
                continue  # dropped since; the WAL of the backup drops it too
            path = b"pg_tblspc/" + oid
            if stat.S_ISLNK(link_status.st_mode):
                yield _link(path, link, link_status)
            else:  # allow_in_place_tablespaces
                yield _directory(path, link, link_status)
            source = os.path.join(location, self.version_dir)
            status = _status(source, follow=True)
            if status is None and _status(link, follow=False) is None:
                continue
            status = _must_exist(source, status)
            path = os.path.join(path, self.version_dir)
            yield _directory(path, source, status)
            yield from self._inside(_Place(path, source, _Role.DATABASES, frozenset()), status)


def _is_excluded(name: bytes, place: _Place, names: frozenset[bytes]) -> bool:
    if name in EXCLUDED_FILES or name.startswith(EXCLUDED_PREFIXES):
        return True
    if not place.path:
        return EXCLUDED_AT_TOP.fullmatch(name) is not None
    if os.path.join(place.path, name) == CONTROL_FILE:
        return True
    if place.role is not _Role.RELATIONS:
        return False
    if TEMP_RELATION_NAME.fullmatch(name):
        return True
    relation = relation_of(name)
    # Recovery makes an unlogged relation anew from its init fork; its other forks are never in the WAL.
    return relation is not None and relation[1] != b"_init" and b"%d_init" % relation[0] in names


def _role(path: bytes, name: bytes, above: _Role) -> _Role:
    if path == b"base":
        return _Role.DATABASES
    if path == b"global" or (above is _Role.DATABASES and OID_NAME.fullmatch(name)):
        return _Role.RELATIONS
    if path in SERVER_DIRECTORIES or above is not _Role.FOREIGN:
        return _Role.SERVER
    return _Role.FOREIGN


def _emptied(path: bytes, source: bytes, status: os.stat_result) -> Iterator[Entry]:
    """A directory whose content stays behind; a link becomes a directory, even one that leads nowhere."""
    if stat.S_ISLNK(status.st_mode):
        status = _status(source, follow=True) or status
    yield _directory(path, source, status)
    if path != b"pg_wal":
        return
    for name in KEPT_IN_PG_WAL:
        inner = os.path.join(source, name)
        inner_status = _status(inner, follow=True)
        if inner_status is not None:
            yield _directory(os.path.join(path, name), inner, inner_status)


def _file(path: bytes, source: bytes, status: os.stat_result, role: _Role) -> Entry:
    relation = relation_of(os.path.basename(path)) if role is _Role.RELATIONS else None
    return replace(
        _entry_of(path, source, status, EntryKind.FILE),
        size=status.st_size,
        is_relation=relation is not None,
        segment_number=relation[2] if relation else 0,
    )


def _directory(path: bytes, source: bytes, status: os.stat_result) -> Entry:
    entry = _entry_of(path, source, status, EntryKind.DIRECTORY)
    return entry if stat.S_ISDIR(status.st_mode) else replace(entry, mode=0o700)


def _link(path: bytes, source: bytes, status: os.stat_result) -> Entry:
    try:
        target = os.readlink(source)
    except OSError as error:
        raise _unreadable(source, error) from error
    return replace(_entry_of(path, source, status, EntryKind.SYMLINK), target=target)


def _entry_of(path: bytes, source: bytes, status: os.stat_result, kind: EntryKind) -> Entry:
    return Entry(
        path=path,
        source=source,
        kind=kind,
        size=0,
        mode=stat.S_IMODE(status.st_mode),
        mtime_ns=status.st_mtime_ns,
        uid=status.st_uid,
        gid=status.st_gid,
    )


def _names(directory: bytes) -> frozenset[bytes] | None:
    """The names in a directory, None when it is gone."""
    try:
        return frozenset(os.listdir(directory))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(directory, error) from error


def _status(path: bytes, *, follow: bool) -> os.stat_result | None:
    """The status of a file, None when it is gone."""
    try:
        return os.stat(path, follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):  # the latter: a link through something that is a file by now
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _must_exist(path: bytes, found: Found | None) -> Found:
    if found is None:
        raise _unreadable(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _unreadable(path: bytes, error: OSError) -> SourceUnreadable:
    return SourceUnreadable(f"{os.fsdecode(path)!r} can not be read: {error.strerror}")

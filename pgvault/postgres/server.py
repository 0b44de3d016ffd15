"""What a running server says: one dedicated session, and the facts that a backup rests on.

The session is never reconnected: PostgreSQL aborts a backup when the session that started it ends, so a lost
session must be the end of the backup and not the beginning of another session. It works as a role without
superuser rights that has exactly the grants of grants.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import sleep
from typing import NamedTuple

from pgvault.errors import ServerUnfit
from pgvault.postgres.conffiles import ConfigurationFile, find_configuration_files
from pgvault.postgres.connection import (
    Connection,
    read_bytes,
    read_instant,
    read_lsn,
    read_number,
    read_path,
    read_text,
)
from pgvault.postgres.lsn import Lsn

# A standby refuses to start with less than the primary had.
STANDBY_MINIMA = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)
# What queries mean by their words: a drill's own queries should mean the same.
SESSION_SETTINGS = ("DateStyle", "IntervalStyle", "TimeZone", "default_text_search_config", "search_path")
# As the cluster's configuration has them: what is set for our role or our database says nothing of other sessions.
CONFIGURED = """
SELECT s.name, s.reset_val FROM pg_settings s
WHERE s.name = ANY(%s) AND s.reset_val IS DISTINCT FROM s.boot_val AND NOT EXISTS (
    SELECT FROM pg_db_role_setting r, unnest(r.setconfig) AS one
    WHERE r.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    AND r.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND lower(split_part(one, '=', 1)) = lower(s.name))
"""
FACT_SETTINGS = (
    "TimeZone",
    "archive_command",
    "archive_library",
    "archive_mode",
    "archive_timeout",
    "block_size",
    "config_file",
    "data_checksums",
    "data_directory",
    "full_page_writes",
    "hba_file",
    "ident_file",
    "log_timezone",
    "server_version",
    "server_version_num",
    "shared_preload_libraries",
    "wal_block_size",
    "wal_level",
    "wal_segment_size",
    *STANDBY_MINIMA,
)

BACKUP_LOCK = int.from_bytes(b"pgvault", "big")  # 64 bits, positive, and nobody else's idea
LOGICAL_LOCK = int.from_bytes(b"pgvaultl", "big")  # of logical backups, which do not hinder physical ones
WATERMARK_RETRIES = 4
WATERMARK_PAUSE_SECONDS = 0.05
LONG_PAGE_HEADER = 40  # bytes, at the start of a WAL segment
SHORT_PAGE_HEADER = 24  # bytes, at the start of its other pages


class Tablespace(NamedTuple):
    """A tablespace besides pg_default and pg_global."""

    name: str
    location: str  # absolute; relative to the data directory where it was made in place


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server was when asked."""

    system_identifier: int
    version_num: int  # 150020
    version_text: str  # "15.20 (Debian 15.20-0+deb12u1)"
    timeline: int
    in_recovery: bool
    data_directory: Path
    config_file: Path
    hba_file: Path
    ident_file: Path
    block_size: int  # bytes
    wal_block_size: int  # bytes
    wal_segment_size: int  # bytes
    wal_level: str
    full_page_writes: bool
    data_checksums: bool
    timezone: str  # of new sessions of this role; the cluster's unless the role or PGTZ says otherwise
    log_timezone: str
    archive_mode: str  # off, on, always
    archive_command: str  # "" where none is set
    archive_library: str
    archive_timeout: timedelta  # 0: never
    shared_preload_libraries: str
    session_settings: Mapping[str, str]  # those of SESSION_SETTINGS that the configuration has another value of
    standby_minima: Mapping[str, int]  # settings that a server recovering this WAL needs at least
    tablespaces: Mapping[int, Tablespace]  # by oid
    databases: Mapping[int, str]  # name by oid, template0 included
    bootstrap_superuser: str  # the role with oid 10, whatever it is called by now
    role: str  # ours

    @property
    def major(self) -> int:
        return self.version_num // 10000


@dataclass(frozen=True, slots=True)
class StoppedBackup:
    """What pg_backup_stop returned."""

    stop_lsn: Lsn  # the backup is consistent from here on
    label_file: bytes  # backup_label, to the byte
    tablespace_map: bytes  # empty: no such file


@dataclass(frozen=True, slots=True)
class Watermark:
    """A proof about commits, where `is_idle`: all that were stamped up to `server_at` end at or before `lsn`."""

    server_at: datetime  # the server's clock
    lsn: Lsn
    timeline: int
    is_idle: bool
    next_xid: int | None = None  # 64-bit; two idle marks with the same one: no transaction ended in between


class Session(Connection):
    """A connection that can take a backup."""

    _identity_at_start: tuple[object, ...] | None = None  # of the server, when the backup started

    def facts(self) -> ServerFacts:
        """Ask for everything about the server that a backup or a check needs."""
        settings = self.settings(FACT_SETTINGS)
        identifier, role, superuser = self.row(
            "SELECT system_identifier, current_user::text, (SELECT rolname FROM pg_roles WHERE oid = 10)"
            " FROM pg_control_system()"
        )
        return ServerFacts(
            system_identifier=read_number(identifier),
            version_num=int(settings["server_version_num"]),
            version_text=settings["server_version"],
            timeline=self._timeline(),
            in_recovery=self._in_recovery(),
            data_directory=Path(settings["data_directory"]),
            config_file=Path(settings["config_file"]),
            hba_file=Path(settings["hba_file"]),
            ident_file=Path(settings["ident_file"]),
            block_size=int(settings["block_size"]),
            wal_block_size=int(settings["wal_block_size"]),
            wal_segment_size=int(settings["wal_segment_size"]),
            wal_level=settings["wal_level"],
            full_page_writes=settings["full_page_writes"] == "on",
            data_checksums=settings["data_checksums"] == "on",
            timezone=settings["TimeZone"],
            log_timezone=settings["log_timezone"],
            archive_mode=settings["archive_mode"],
            # Shown as "(disabled)" while archive_mode is off.
            archive_command="" if settings["archive_command"] == "(disabled)" else settings["archive_command"],
            archive_library=settings["archive_library"],
            archive_timeout=timedelta(seconds=int(settings["archive_timeout"])),
            shared_preload_libraries=settings["shared_preload_libraries"],
            session_settings={
                read_text(name): read_text(value) for name, value in self.rows(CONFIGURED, list(SESSION_SETTINGS))
            },
            standby_minima={name: int(settings[name]) for name in STANDBY_MINIMA},
            tablespaces=self._tablespaces(),
            databases=self._databases(),
            bootstrap_superuser=read_text(superuser),
            role=read_text(role),
        )

    def configuration_files(self) -> tuple[ConfigurationFile, ...]:
        """Return the configuration files, includes too, that lie outside the data directory of this machine."""
        paths = self.settings(("config_file", "hba_file", "ident_file", "data_directory"))
        data = Path(paths["data_directory"]).resolve()
        files = find_configuration_files(*(Path(paths[name]) for name in ("config_file", "hba_file", "ident_file")))
        return tuple(file for file in files if not file.path.resolve().is_relative_to(data))

    def clock(self) -> datetime:
        """Return the server's clock, UTC."""
        (instant,) = self.row("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return read_instant(instant)

    def latest_clock(self) -> datetime:
        """Return the server's clock, or the time stamp of what a standby replayed last, whichever is later.

        No commit that the server holds now is stamped later, even where the primary's clock is ahead.
        """
        (instant,) = self.row(
            "SELECT (extract(epoch FROM greatest(clock_timestamp(),"
            " CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() END)) * 1000000)::bigint"
        )
        return read_instant(instant)

    def control_positions(self) -> tuple[Lsn, Lsn]:
        """Return checkpoint and minimum recovery point from the server's pg_control: ours must say the same."""
        checkpoint, minimum = self.row(
            "SELECT checkpoint_lsn::text, min_recovery_end_lsn::text"
            " FROM pg_control_checkpoint(), pg_control_recovery()"
        )
        return read_lsn(checkpoint), read_lsn(minimum)

    def try_backup_lock(self, lock: int = BACKUP_LOCK) -> int | None:
        """Take the lock that only one backup of its kind may hold in a cluster, until this session ends.

        Returns None when it is ours now, else the server process that holds it. Nothing of the server's own waits
        for an advisory lock. It counts within one database; a cluster's dsn always names the same one.
        """
        (is_ours,) = self.row("SELECT pg_try_advisory_lock(%s)", lock)
        if is_ours:
            return None
        holders = self.rows(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND (classid::bigint << 32 | objid::bigint) = %s",
            lock,
        )
        return read_number(holders[0][0]) if holders else 0

    def end_other(self, process: int) -> bool:
        """End another session of ours, of the same role; tell whether the server let us."""
        try:
            (is_sent,) = self.row("SELECT pg_terminate_backend(%s)", process)
        except ServerUnfit:
            return False
        return bool(is_sent)

    def start_backup(self, label: str) -> Lsn:
        """Start a backup with a fast checkpoint, on a standby a restart point; return from where WAL is needed.

        Raises ServerUnfit for a standby whose restart point lies on the timeline before the one it follows.
        """
        before = self._identity()
        (lsn,) = self.row("SELECT pg_backup_start(%s, true)::text", label)
        # A restart point may be the first on a timeline that was followed before: that is no change meanwhile.
        self._identity_at_start = self._identity() if self._in_recovery() else before
        (restarted_on,) = self.row("SELECT timeline_id FROM pg_control_checkpoint()")
        if self._in_recovery() and restarted_on != self._timeline():
            raise ServerUnfit(
                f"the standby follows timeline {self._timeline()}, and its last restart point is on {restarted_on}",
                hint="Let its primary checkpoint, then try again.",
            )
        return read_lsn(lsn)

    def stop_backup(self) -> StoppedBackup:
        """Stop the backup and return what belongs into its directory; does not wait for the archive.

        Raises ServerUnfit when no backup was started, or the server was promoted meanwhile, ServerUnreachable
        when the session was lost: all of them mean that there is no backup.
        """
        self.ping()
        lsn, label_file, tablespace_map = self.row(
            "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(wait_for_archive => false)"
        )
        if self._identity() != self._identity_at_start:
            raise ServerUnfit("the server changed its timeline or left recovery while the backup ran")
        return StoppedBackup(read_lsn(lsn), read_bytes(label_file), read_bytes(tablespace_map))

    def switch_wal(self) -> Lsn:
        """Let the server finish its WAL segment. Without WAL since the last switch it does nothing."""
        (lsn,) = self.row("SELECT pg_switch_wal()::text")
        return read_lsn(lsn)

    def create_restore_point(self, name: str) -> Lsn:
        """Write a named restore point; names need not be unique, the first one met ends a recovery."""
        (lsn,) = self.row("SELECT pg_create_restore_point(%s)::text", name)
        return read_lsn(lsn)

    def emit_message(self, content: str) -> Lsn:
        """Commit a transaction that consists of a message in the WAL: no table, no DDL."""
        (lsn,) = self.row("SELECT pg_logical_emit_message(true, 'pgvault', %s)::text", content)
        return read_lsn(lsn)

    def idle_watermark(self) -> Watermark:
        """Look for a moment without a transaction that could still commit under an earlier time stamp.

        A commit takes its time stamp first and writes its record after that, all under the lock on its own
        transaction id. So: the clock, then those locks, then the end of WAL. Without any lock, whatever was
        stamped before has its record before that end. (pg_current_snapshot does not tell: its xmax is the
        latest *completed* id + 1, so one open transaction leaves xmin = xmax; tried on 15, 17, 18.) The end is
        that of inserted WAL: asynchronous commits are not written out yet. A standby is never idle.
        """
        if self._in_recovery():
            (replayed,) = self.row("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text")
            return Watermark(self.clock(), read_lsn(replayed), self._timeline(), is_idle=False)
        watermark = self._look_for_idleness()
        for _ in range(WATERMARK_RETRIES):
            if watermark.is_idle:
                break
            sleep(WATERMARK_PAUSE_SECONDS)  # autovacuum's transactions are short
            watermark = self._look_for_idleness()
        return watermark

    def _tablespaces(self) -> dict[int, Tablespace]:
        rows = self.rows(
            "SELECT oid::bigint, spcname, pg_tablespace_location(oid) FROM pg_tablespace WHERE oid NOT IN (1663, 1664)"
            " ORDER BY oid"
        )
        return {read_number(oid): Tablespace(read_text(name), read_path(location)) for oid, name, location in rows}

    def _databases(self) -> dict[int, str]:
        rows = self.rows("SELECT oid::bigint, datname FROM pg_database ORDER BY oid")
        return {read_number(oid): read_text(name) for oid, name in rows}

    def _look_for_idleness(self) -> Watermark:
        before = self._next_xid()
        server_at = self.clock()
        (open_count,) = self.row(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
        )
        # Before the end of WAL: whatever has used up a number until here has its record before that end. Unless one
        # that began after we looked for open ones was overtaken: its own end would change no number any more.
        next_xid = self._next_xid()
        (text,) = self.row("SELECT pg_current_wal_insert_lsn()::text")
        pages = self.settings(("wal_segment_size", "wal_block_size"))
        lsn = _before_page_header(read_lsn(text), int(pages["wal_segment_size"]), int(pages["wal_block_size"]))
        known_xid = next_xid if next_xid == before else None
        return Watermark(server_at, lsn, self._timeline(), is_idle=open_count == 0, next_xid=known_xid)

    def _next_xid(self) -> int:
        """One more than the latest transaction that ended, 64-bit."""
        (xmax,) = self.row("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        return read_number(xmax)

    def _identity(self) -> tuple[object, ...]:
        (identifier,) = self.row("SELECT system_identifier FROM pg_control_system()")
        return identifier, self._timeline(), self._in_recovery()

    def _in_recovery(self) -> bool:
        (in_recovery,) = self.row("SELECT pg_is_in_recovery()")
        return bool(in_recovery)

    def _timeline(self) -> int:
        """The timeline WAL is written on; on a standby that of its last restart point or of what it replays."""
        (timeline,) = self.row(
            "SELECT CASE WHEN pg_is_in_recovery() THEN"
            " (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)"
            " FROM pg_control_checkpoint() c, pg_control_recovery() r)"
            " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END"
        )
        return read_number(timeline)


def _before_page_header(lsn: Lsn, segment_size: int, block_size: int) -> Lsn:
    """Return the end of the record before `lsn` where only a page header lies between.

    The insert position after a finished page is behind the next page's header. Nobody archives that header
    before there is something behind it, so a finished segment would never seem to reach its own end.
    """
    header = LONG_PAGE_HEADER if lsn.value % segment_size < block_size else SHORT_PAGE_HEADER
    return Lsn(lsn.value - header) if lsn.value % block_size == header else lsn

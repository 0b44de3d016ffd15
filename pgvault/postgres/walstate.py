"""What a running server says of its own WAL: where it stands, what it was told to do with it, and how that goes.

All of it works with the grants of grants.py (tried on 15, 17, 18 as a role with nothing else). pg_ls_waldir and the
like, which would need pg_monitor, are not asked: the files of pg_wal are looked at on its own host.
What the server believes about its archive proves nothing: it is evidence of trouble, never of health.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pgvault.postgres.archiver import ArchiverStatistics, read_archiver_statistics
from pgvault.postgres.connection import read_instant, read_lsn, read_number, read_text
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.server import Session
from pgvault.postgres.standby import read_standby_state

WAL_SETTINGS = (
    "archive_command",
    "archive_library",
    "archive_mode",
    "archive_timeout",
    "data_directory",
    "max_prepared_transactions",
    "max_slot_wal_keep_size",
    "server_version",
    "server_version_num",
    "wal_keep_size",
    "wal_segment_size",
)


@dataclass(frozen=True, slots=True)
class SlotState:
    """A replication slot."""

    name: str
    is_active: bool  # somebody receives through it now
    restart_lsn: Lsn | None  # the server keeps WAL from here on; None: nothing was reserved, or it was lost
    wal_status: str | None  # reserved, extended, unreserved, lost
    safe_bytes: int | None  # until it is lost (max_slot_wal_keep_size); None: no such limit
    invalidation_reason: str | None  # from 17 on


@dataclass(frozen=True, slots=True)
class QuietPoint:
    """No transaction had a number when WAL stood at `lsn`; the next number was `next_xid`.

    As long as the next number is still that one, nothing was committed behind `lsn`.
    """

    lsn: Lsn
    next_xid: int  # 64-bit


@dataclass(frozen=True, slots=True)
class WalState:
    """What one server says of its WAL at one moment."""

    system_identifier: int
    version_text: str
    timeline: int
    is_standby: bool
    at: datetime  # the server's clock, read before `end_lsn`
    end_lsn: Lsn  # end of the last record; on a standby, of what it has received
    next_xid: int | None  # 64-bit; one more than the latest that ended; None on a standby
    checkpoint_lsn: Lsn  # of the last checkpoint's record
    redo_lsn: Lsn  # where WAL stood when it began ...
    redo_at: datetime  # ... or earlier: by the server's clock, whole seconds
    quiet: QuietPoint | None  # the last checkpoint, where no transaction was open
    data_directory: Path
    segment_size: int  # bytes
    archive_mode: str  # off, on, always
    archive_command: str  # "" where none is set
    archive_library: str
    archive_timeout: timedelta  # 0: never
    slot_keep_bytes: int | None  # max_slot_wal_keep_size; None: without limit
    keep_bytes: int  # wal_keep_size
    archiver: ArchiverStatistics
    slot: SlotState | None  # the one that was asked for; None: the server has none of that name

    @property
    def is_archiving(self) -> bool:
        """Tell whether the server archives by itself as it is set."""
        wanted = ("always",) if self.is_standby else ("on", "always")
        return self.archive_mode in wanted and bool(self.archive_command or self.archive_library)


def read_wal_state(session: Session, *, slot: str | None = None) -> WalState:
    """Ask the server; `slot` names ours, if there should be one. Raises ServerUnreachable, ServerUnfit."""
    settings = session.settings(WAL_SETTINGS)
    (identifier, in_recovery) = session.row("SELECT system_identifier, pg_is_in_recovery() FROM pg_control_system()")
    # The checkpoint before the position: whatever is quiet at its redo point is so at or before the end of WAL.
    checkpoint, redo, redo_at, quiet = _checkpoint(session, has_prepared=settings["max_prepared_transactions"] != "0")
    position = session.idle_watermark()
    end_lsn = read_standby_state(session).known_lsn if in_recovery else position.lsn
    command = settings["archive_command"]
    keep_mib = int(settings["max_slot_wal_keep_size"])
    return WalState(
        system_identifier=read_number(identifier),
        version_text=settings["server_version"],
        timeline=position.timeline,
        is_standby=bool(in_recovery),
        at=position.server_at,
        end_lsn=end_lsn,
        next_xid=position.next_xid,
        checkpoint_lsn=checkpoint,
        redo_lsn=redo,
        redo_at=redo_at,
        quiet=quiet,
        data_directory=Path(settings["data_directory"]),
        segment_size=int(settings["wal_segment_size"]),
        archive_mode=settings["archive_mode"],
        archive_command="" if command == "(disabled)" else command,  # shown while archive_mode is off
        archive_library=settings["archive_library"],
        archive_timeout=timedelta(seconds=int(settings["archive_timeout"])),
        slot_keep_bytes=None if keep_mib < 0 else keep_mib * MIB,
        keep_bytes=int(settings["wal_keep_size"]) * MIB,
        archiver=read_archiver_statistics(session),
        slot=None if slot is None else _slot(session, slot, version_num=int(settings["server_version_num"])),
    )


def _checkpoint(session: Session, *, has_prepared: bool) -> tuple[Lsn, Lsn, datetime, QuietPoint | None]:
    """Return the last checkpoint's record, its redo point, when it began, and whether nothing was open then.

    PostgreSQL looks for the oldest open transaction, then sets the redo point, then notes the next number
    (CreateCheckPoint, 15 to 18). So where both numbers are the same, none was open and none began in between. A
    shutdown checkpoint notes no oldest one: only prepared transactions outlive it, where there can be any.
    """
    checkpoint, redo, began, next_xid, oldest = session.row(
        "SELECT checkpoint_lsn::text, redo_lsn::text, (extract(epoch FROM checkpoint_time) * 1000000)::bigint,"
        " next_xid, oldest_active_xid::text::bigint"
        " FROM pg_control_checkpoint()"
    )
    epoch, _, low = read_text(next_xid).partition(":")
    is_quiet = oldest == int(low) or (oldest == 0 and not has_prepared)
    quiet = QuietPoint(read_lsn(redo), int(epoch) << 32 | int(low)) if is_quiet else None
    return read_lsn(checkpoint), read_lsn(redo), read_instant(began), quiet


def _slot(session: Session, name: str, *, version_num: int) -> SlotState | None:
    reason = "invalidation_reason" if version_num >= 170000 else "NULL::text"
    rows = session.rows(
        f"SELECT active, restart_lsn::text, wal_status, safe_wal_size, {reason}"
        " FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'",
        name,
    )
    if not rows:
        return None
    active, restart, status, safe, invalid = rows[0]
    return SlotState(
        name=name,
        is_active=bool(active),
        restart_lsn=None if restart is None else read_lsn(restart),
        wal_status=None if status is None else read_text(status),
        safe_bytes=None if safe is None else read_number(safe),
        invalidation_reason=None if invalid is None else read_text(invalid),
    )

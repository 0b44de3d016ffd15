"""The server to be streamed from: is it the right one, does its slot keep WAL, where does it stand.

    session (SQL)      system, role, slot: found, or created with its position reserved, or replaced when it is lost
    replication        timeline, its history, how far it can send, whether it still has a segment

A primary or a standby; a slot is a server's own and is not inherited in a failover, so a server without ours gets one.
Whatever this refuses for good (ServerUnfit, OtherCluster) an operator must settle; the rest passes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import AlreadyRunning, ServerUnfit
from pgvault.postgres.connection import Connection, read_number, read_text
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.replication import ServerAddress, holds_segment, identify, require_replication_role
from pgvault.postgres.slots import Slot, create_slot, drop_slot, find_slot
from pgvault.postgres.walname import WalSegment

logger = logging.getLogger(__name__)

SETTINGS = ("server_version_num", "wal_segment_size", "wal_level", "synchronous_standby_names")
OUR_NAME = "pgvault"  # application_name, unless the dsn says another


@dataclass(frozen=True, slots=True)
class Source:
    """A server that was found fit, as it was when asked."""

    address: ServerAddress
    system_identifier: int
    major: int
    segment_size: int  # bytes
    is_standby: bool
    slot: Slot
    slot_story: str  # what was the matter with the slot, "" where it was as it should be
    history: TimelineHistory  # of the timeline it is on
    current_lsn: Lsn  # how far it can send
    data_directory: Path | None = None  # on its own host; None: our role may not ask

    @property
    def reserved_lsn(self) -> Lsn:
        """From where its slot keeps WAL."""
        return self.slot.restart_lsn or self.current_lsn

    def can_send(self, segment: WalSegment) -> bool:
        """Ask it whether it still has that segment."""
        return holds_segment(self.address, segment)


def ask_source(connection: Connection, dsn: str, slot: str, *, password: str | None) -> Source:
    """Return what the server that `connection` has reached is, its slot made sure of.

    Raises ServerUnfit, ServerUnreachable, AlreadyRunning while another receiver holds the slot.
    """
    settings = connection.settings(SETTINGS)
    identifier, is_standby = connection.row("SELECT system_identifier, pg_is_in_recovery() FROM pg_control_system()")
    require_replication_role(connection)
    if settings["wal_level"] == "minimal":
        raise ServerUnfit("wal_level is 'minimal': there is nothing to stream", hint="Set wal_level = replica.")
    _warn_of_synchrony(settings["synchronous_standby_names"])
    ready, story = _ensure_slot(connection, slot)
    address = ServerAddress.of(connection, dsn, password=password)
    identity, history = identify(address)
    if identity.system_identifier != read_number(identifier):
        raise ServerUnfit("two servers answer under one address")
    return Source(
        address=address,
        system_identifier=identity.system_identifier,
        major=int(settings["server_version_num"]) // 10000,
        segment_size=int(settings["wal_segment_size"]),
        is_standby=bool(is_standby),
        slot=ready,
        slot_story=story,
        history=history,
        current_lsn=identity.current_lsn,
        data_directory=_data_directory(connection),
    )


def _data_directory(connection: Connection) -> Path | None:
    rows = connection.rows("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    return Path(read_text(rows[0][0])) if rows else None


def _ensure_slot(connection: Connection, name: str) -> tuple[Slot, str]:
    """Return a slot that keeps WAL, and what was the matter with it before."""
    found = find_slot(connection, name)
    if found is not None and found.active_pid is not None:
        raise AlreadyRunning(
            f"replication slot {name!r} is in use by server process {found.active_pid}",
            hint="Another pgvault wal stream runs, or the server has not noticed yet that ours was cut off.",
        )
    if found is not None and not found.is_lost:
        if found.wal_status == "unreserved":
            logger.warning("replication slot %s is about to lose WAL: it exceeds max_slot_wal_keep_size", name)
        return found, ""
    story = f"there was no replication slot {name!r}"
    if found is not None:
        why = found.cause or found.wal_status or "it reserved nothing"
        story = f"replication slot {name!r} was invalidated ({why})"
        logger.warning("%s: it is made anew", story)
        drop_slot(connection, name)
    create_slot(connection, name)
    made = find_slot(connection, name)
    if made is None or made.restart_lsn is None:
        raise ServerUnfit(f"replication slot {name!r} was created and keeps no WAL")
    logger.info("created replication slot %s: WAL is kept from %s on", name, made.restart_lsn)
    return made, story


def _warn_of_synchrony(names: str) -> None:
    """A receiver that confirms only whole segments must never be what commits wait for."""
    words = names.replace("(", " ").replace(")", " ").replace(",", " ").replace('"', " ").split()
    if "*" in words or OUR_NAME in words:
        logger.warning(
            "synchronous_standby_names = '%s' lets commits wait for this stream, which confirms whole segments only",
            names,
        )

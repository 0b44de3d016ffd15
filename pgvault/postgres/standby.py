"""A standby, and its primary: the one can be read, only the other writes WAL and finishes its segments.

    primary    writes ─► finishes a segment ─► archives it
    standby    receives ─► replays ─► writes pages out: its minimum recovery point, where a backup of it is whole

A backup of a standby ends wherever that point is, mostly inside a segment that the primary still writes. It is there
that the segment is finished; without a way to the primary one can only wait until that happens by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pgvault.errors import OtherCluster, ServerUnfit, ServerUnreachable
from pgvault.postgres.connection import Connection, read_lsn
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, Session

logger = logging.getLogger(__name__)

POSITIONS = """
SELECT coalesce(pg_last_wal_receive_lsn(), '0/0')::text, coalesce(pg_last_wal_replay_lsn(), '0/0')::text,
       pg_is_wal_replay_paused()
"""


@dataclass(frozen=True, slots=True)
class StandbyState:
    """How far a standby is."""

    received_lsn: Lsn  # by streaming, since it was started; 0/0 where it restores from an archive
    replayed_lsn: Lsn
    is_paused: bool

    @property
    def known_lsn(self) -> Lsn:
        """How far WAL was written for certain: the primary may be further."""
        return max(self.received_lsn, self.replayed_lsn)


def read_standby_state(connection: Connection) -> StandbyState:
    """Ask a standby. Raises ServerUnfit on a primary, ServerUnreachable."""
    received, replayed, is_paused = connection.row(POSITIONS)
    return StandbyState(read_lsn(received), read_lsn(replayed), bool(is_paused))


class Primary:
    """Where the WAL of a standby is written. Asked by a session of its own, which may be made anew at any time."""

    def __init__(self, connect: Callable[[], Session], standby: ServerFacts) -> None:
        """Connect. Raises OtherCluster, ServerUnfit for a server that is not that standby's primary."""
        self._connect, self._standby = connect, standby
        self._session, self.facts = self._open()

    def session(self) -> Session:
        """Return a session that lives. Raises as the constructor does, and ServerUnreachable."""
        try:
            self._session.ping()
        except ServerUnreachable as error:
            logger.info("asking the primary anew: %s", error)
            self._session.close()
            self._session, self.facts = self._open()
        return self._session

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _open(self) -> tuple[Session, ServerFacts]:
        session = self._connect()
        try:
            facts = session.facts()
            check_primary(facts, self._standby)
        except BaseException:
            session.close()
            raise
        return session, facts


@contextmanager
def knowing_primary(standby: ServerFacts, connect: Callable[[], Session] | None) -> Iterator[Primary | None]:
    """Yield the primary of a standby, as far as there is a way to it. Raises as `Primary` does."""
    if connect is None or not standby.in_recovery:
        yield None
        return
    primary = Primary(connect, standby)
    try:
        yield primary
    finally:
        primary.close()


def check_primary(primary: ServerFacts, standby: ServerFacts) -> None:
    """Refuse a server that does not write the WAL of `standby`. Raises OtherCluster, ServerUnfit."""
    if primary.system_identifier != standby.system_identifier:
        raise OtherCluster(
            f"primary_dsn reaches system {primary.system_identifier}, the dsn system {standby.system_identifier}",
            hint="primary_dsn is the primary of the very standby that the dsn names.",
        )
    if primary.in_recovery:
        raise ServerUnfit(
            "primary_dsn reaches a standby, which can not finish a WAL segment",
            hint="Several hosts and target_session_attrs=read-write find the primary, whichever it is.",
        )
    if primary.timeline != standby.timeline:
        raise ServerUnfit(
            f"the primary writes timeline {primary.timeline}, the standby follows timeline {standby.timeline}",
            hint="The standby has not followed a failover (yet): see its log.",
        )

"""The beacon: an idle server commits something now and then, so that idle and broken can be told apart.

    look ─► somebody used up a transaction id since the last look?  yes: their commit is the sign of life
                                                                    no:  pg_logical_emit_message(true, 'pgvault', …)

The message is a transaction of its own whose commit record carries a time: it moves the moment up to which a recovery
can go, and any moment before it is a target that can be reached. It needs no table, no privilege and no more than
wal_level = replica, takes some 200 bytes of WAL, and is nothing to replicas. A standby is only looked at.

One session stays open in the dsn's database, between two beats idle and outside any transaction: it holds back no
vacuum, but DROP DATABASE of just that database wants WITH (FORCE). The commit waits for the local disk alone
(synchronous_commit = local), never for a standby, and no statement longer than a few seconds.

What this does not promise: a record every time. A beat that can not reach its server is left out, and said once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from pgvault.errors import PgvaultError
from pgvault.instants import Clock
from pgvault.postgres.connection import Connection, read_number

logger = logging.getLogger(__name__)

PREFIX = "pgvault"
CONTENT = "beacon"
APPLICATION_NAME = "pgvault beacon"
SETTINGS = {
    "application_name": APPLICATION_NAME,
    "synchronous_commit": "local",
    "statement_timeout": "5s",
    "lock_timeout": "5s",
}
LONGEST_PAUSE = timedelta(minutes=1)  # between two attempts to connect, unless beats are rarer still


class Beacon:
    """Makes one server commit while it is idle."""

    def __init__(self, connect: Callable[[], Connection], *, every: timedelta, clock: Clock) -> None:
        self._connect = connect
        self._every = every.total_seconds()
        self._clock = clock
        self._connection: Connection | None = None
        self._seen_xid: int | None = None  # the next transaction id, 64-bit, when we last looked
        self._state = ""  # what was last said in the log

    def beat(self) -> bool:
        """Look once, and emit a message if nobody else committed since the last look; tell whether it was emitted.

        The first look only looks. Raises ServerUnreachable, ServerUnfit; the next beat connects anew then.
        """
        try:
            connection = self._connected()
            in_recovery, next_xid = connection.row(
                "SELECT pg_is_in_recovery(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            )
            if in_recovery:
                self._seen_xid = None
                self._say("is a standby: no beacon until it is promoted")
                return False
            self._say("is a primary: a beacon whenever it is idle")
            seen, self._seen_xid = self._seen_xid, read_number(next_xid)
            if seen != self._seen_xid:
                return False
            (own,) = connection.row(
                "SELECT pg_current_xact_id()::text::bigint FROM pg_logical_emit_message(true, %s, %s)", PREFIX, CONTENT
            )
            self._seen_xid = read_number(own) + 1
        except BaseException:
            self.close()
            raise
        return True

    def run(self, stop: threading.Event) -> None:
        """Beat until `stop` is set; a server that is away is tried again, at longer and longer intervals."""
        failures = 0
        next_at = self._clock.monotonic()
        while not stop.wait(max(0.0, next_at - self._clock.monotonic())):
            try:
                self.beat()
                failures = 0
            except PgvaultError as error:
                failures += 1
                self._say(f"gives no beacon: {error}", is_bad=True)
            pause = self._every * 2 ** min(failures, 16)
            next_at = self._clock.monotonic() + min(pause, max(self._every, LONGEST_PAUSE.total_seconds()))
        self.close()

    def close(self) -> None:
        """End the session, if there is one; the next beat opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._connect()
            try:
                for name, value in SETTINGS.items():
                    connection.row("SELECT set_config(%s, %s, false)", name, value)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _say(self, state: str, *, is_bad: bool = False) -> None:
        """Log what changed, and nothing twice."""
        if state != self._state:
            logger.log(logging.WARNING if is_bad else logging.INFO, "the server %s", state)
            self._state = state

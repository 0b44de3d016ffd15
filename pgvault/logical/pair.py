"""A session on a primary and one on its physical replica, and how readings of the two are put into an order.

What a snapshot of the primary sees, a later one of the replica sees when the replica has replayed beyond the primary's
insert position, asked for after the first was taken. What a snapshot of the replica sees, a later one of the primary
sees when no transaction that it does not see is committed on the replica (rowversions.sees_all_of).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from pgvault.errors import ServerUnfit
from pgvault.postgres.fingerprint import ask, number
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.rowversions import (
    DatabaseConnection,
    Snapshot,
    flushed,
    has_replayed,
    inserted,
    nudge,
    replayed,
    sees_all_of,
    snapshot_of,
)

T = TypeVar("T")

POLL_SECONDS = (0.002, 0.1)  # the first pause, and the longest
NUDGE_SECONDS = 0.5  # what nobody's commit has made durable by then may stay so for 15 seconds on an idle server


@dataclass(slots=True)
class Pair:
    """A session with a database on the primary, and one with the same on the replica."""

    primary: DatabaseConnection
    replica: DatabaseConnection
    patience: timedelta  # how long the replica may take to replay what was written before a reading
    _replayed: Lsn | None = None
    _wal_block_size: int = 0

    def close(self) -> None:
        """End both sessions."""
        self.primary.close()
        self.replica.close()

    def cancel_safe(self, *, timeout: float) -> None:
        """End the query that another thread waits for, and the wait for the replica."""
        self.patience = timedelta(0)
        self.primary.cancel_safe(timeout=timeout)
        self.replica.cancel_safe(timeout=timeout)

    def wait(self, wanted: Lsn | None) -> None:
        """Return when the replica has replayed all before `wanted`. Raises ServerUnfit if it takes too long."""
        if wanted is None or self._has(wanted):
            return
        started_at = time.monotonic()
        pause, longest = POLL_SECONDS
        is_nudged = False
        while not self._catch_up(wanted):
            waited = time.monotonic() - started_at
            if waited > self.patience.total_seconds():
                self.patience = timedelta(0)  # once is enough: not for every table again
                raise ServerUnfit(
                    f"the replica has replayed to {self._replayed}, and not to {wanted} within {waited:.0f} s",
                    hint="Does it follow this primary? Allow it longer with --wait.",
                )
            if waited > NUDGE_SECONDS and not is_nudged:
                is_nudged = True
                if flushed(self.primary) < wanted:
                    nudge(self.primary)
            time.sleep(pause)
            pause = min(pause * 2, longest)

    def has_passed(self, wanted: Lsn | None) -> bool:
        """Tell whether the replica has replayed all before `wanted` by now."""
        return wanted is None or self._has(wanted) or self._catch_up(wanted)

    def _catch_up(self, wanted: Lsn) -> bool:
        position = replayed(self.replica)
        if position is None:
            raise ServerUnfit("the replica is not in recovery any more")
        self._replayed = position
        return self._has(wanted)

    def _has(self, wanted: Lsn) -> bool:
        if not self._wal_block_size:
            ((size,),) = ask(self.primary, "SELECT current_setting('wal_block_size')::bigint")
            self._wal_block_size = number(size)
        return self._replayed is not None and has_replayed(self._replayed, wanted, self._wal_block_size)

    def seeing_all_of(self, earlier: Snapshot, read: Callable[[], T], snapshot: Callable[[T], Snapshot]) -> T:
        """Read the primary until its snapshot sees all that one of the replica saw. Raises ServerUnfit."""
        deadline = time.monotonic() + self.patience.total_seconds()
        pause, longest = POLL_SECONDS
        while True:
            reading = read()
            if sees_all_of(snapshot(reading), earlier, self.replica):
                return reading
            if time.monotonic() > deadline:
                raise ServerUnfit(
                    "commits that the replica shows are not visible on the primary",
                    hint="Do they wait for a synchronous standby that is not there?",
                )
            time.sleep(pause)
            pause = min(pause * 2, longest)

    def quick(self, read: Callable[[DatabaseConnection], T]) -> tuple[T, T]:
        """Read the primary, then the replica when it has what is durable by then: equal is equal, else ask `turns`."""
        first = read(self.primary)
        self.wait(flushed(self.primary))
        return first, read(self.replica)

    def turns(self, read: Callable[[DatabaseConnection], T]) -> tuple[T, T, T, T]:
        """Read primary, replica, primary, replica, each seeing all that the one before saw."""
        first = read(self.primary)
        self.wait(inserted(self.primary))
        second = read(self.replica)
        self.seeing_all_of(snapshot_of(self.replica), lambda: snapshot_of(self.primary), lambda each: each)
        third = read(self.primary)
        self.wait(inserted(self.primary))
        return first, second, third, read(self.replica)

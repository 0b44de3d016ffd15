"""Physical replication slots: what keeps a server from removing WAL that a receiver has not flushed yet.

A slot promises WAL from its restart_lsn on. It is created with that position reserved at once (a slot that was never
used reserves nothing otherwise, pitfall 35). The promise ends when the slot is dropped, or when the server
invalidates it (max_slot_wal_keep_size, idle_replication_slot_timeout): then wal_status is "lost" and the slot is of
no more use, but WAL may still be there for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgvault.errors import ServerUnfit
from pgvault.postgres.connection import Connection, read_lsn, read_number, read_text
from pgvault.postgres.lsn import Lsn


@dataclass(frozen=True, slots=True)
class Slot:
    """A physical slot as the server shows it."""

    name: str
    restart_lsn: Lsn | None  # WAL from here on is kept; None: the slot keeps nothing
    wal_status: str | None  # reserved, extended, unreserved, lost; None where nothing was ever reserved
    active_pid: int | None  # the server process that streams through it
    cause: str | None  # why it was invalidated, where the server tells (17+)

    @property
    def is_lost(self) -> bool:
        """Whether it keeps no WAL any more, or never did."""
        return self.restart_lsn is None or self.wal_status == "lost"


def find_slot(connection: Connection, name: str) -> Slot | None:
    """Return the slot of that name, None when there is none. Raises ServerUnfit when it is a logical one."""
    # Through jsonb, since invalidation_reason is not a column before 17.
    rows = connection.rows(
        "SELECT slot_type, restart_lsn::text, wal_status, active_pid, to_jsonb(s) ->> 'invalidation_reason'"
        " FROM pg_replication_slots s WHERE slot_name = %s",
        name,
    )
    if not rows:
        return None
    kind, restart_lsn, wal_status, pid, cause = rows[0]
    if read_text(kind) != "physical":
        raise ServerUnfit(
            f"replication slot {name!r} is a {read_text(kind)} one",
            hint="Choose another name: --slot NAME, or stream.slot in the configuration.",
        )
    return Slot(
        name,
        None if restart_lsn is None else read_lsn(restart_lsn),
        None if wal_status is None else read_text(wal_status),
        None if pid is None else read_number(pid),
        None if cause is None else read_text(cause),
    )


def create_slot(connection: Connection, name: str) -> None:
    """Create a physical slot that keeps WAL from now on."""
    connection.row("SELECT slot_name::text FROM pg_create_physical_replication_slot(%s, true)", name)


def drop_slot(connection: Connection, name: str) -> None:
    """Remove a slot. Raises ServerUnfit while something streams through it."""
    connection.row("SELECT 1 FROM (SELECT pg_drop_replication_slot(%s)) AS dropped", name)

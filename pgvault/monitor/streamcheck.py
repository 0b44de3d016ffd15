"""What `check` looks at where a cluster is streamed: role, replication connection, slot, and what a slot may keep.

Whether the stream really brings WAL is proven by a segment that goes through it (wal/arrival.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pgvault.amounts import say_bytes
from pgvault.config import ClusterConfig
from pgvault.errors import OtherCluster, ServerUnfit
from pgvault.postgres.connection import Connection
from pgvault.postgres.lsn import MIB
from pgvault.postgres.replication import ServerAddress, identify, require_replication_role
from pgvault.postgres.server import ServerFacts
from pgvault.postgres.slots import find_slot

KEEP_SETTING = "max_slot_wal_keep_size"
LEAST_KEPT_BYTES = 1024 * MIB


def check_role(connection: Connection) -> str:
    """See that our role may stream. Raises ServerUnfit."""
    return f"role {require_replication_role(connection)!r} may replicate"


def check_replication(connection: Connection, config: ClusterConfig, facts: ServerFacts) -> str:
    """Connect as the stream does: pg_hba.conf has lines of its own for that. Raises ServerUnfit, OtherCluster."""
    password = None if config.password is None else config.password.read().decode()
    identity, _ = identify(ServerAddress.of(connection, config.dsn, password=password))
    if identity.system_identifier != facts.system_identifier:
        raise OtherCluster(f"a replication connection reaches system {identity.system_identifier}, the dsn another one")
    return f"the server sends WAL of timeline {identity.timeline}, flushed to {identity.current_lsn}"


def check_slot(connection: Connection, name: str) -> str:
    """See that the stream's slot is there, keeps WAL, and is read. Raises ServerUnfit."""
    slot = find_slot(connection, name)
    start = "Start `pgvault wal stream` as a service: pgvault check --print-settings writes a systemd unit."
    if slot is None:
        raise ServerUnfit(f"the server has no replication slot {name!r}: nobody streams", hint=start)
    if slot.is_lost:
        raise ServerUnfit(
            f"replication slot {name!r} keeps no WAL: {slot.cause or slot.wal_status or 'nothing was ever reserved'}",
            hint="`pgvault wal stream` replaces it, records what was lost, and takes a backup: see its log.",
        )
    if slot.active_pid is None:
        raise ServerUnfit(f"nobody receives from replication slot {name!r}", hint=start)
    return f"slot {name!r} is read by process {slot.active_pid} and keeps WAL from {slot.restart_lsn} on"


def check_kept(connection: Connection, data: Path | None) -> tuple[str, str | None]:
    """Return how much WAL a slot may hold back, and a warning where that is everything, or nothing.

    `data` is the data directory, None where it is on another host.
    """
    mib = int(connection.settings((KEEP_SETTING,))[KEEP_SETTING])
    if mib > 0:
        return f"a stream that stands still keeps {say_bytes(mib * MIB)} of WAL at most", None
    advice = f"Set {KEEP_SETTING} = '{suggested_keep_mib(data)}MB' and reload."
    if mib == 0:
        return f"{KEEP_SETTING} is 0: a slot keeps next to nothing, and each pause of the stream may be a gap", advice
    free = None if data is None else free_bytes(data)
    room = "is full" if free is None else f"is full: {say_bytes(free)} are left"
    return f"{KEEP_SETTING} is -1: a stream that stands still keeps WAL until the file system of pg_wal {room}", advice


def suggested_keep_mib(data: Path | None) -> int:
    """Return half of what is free beside pg_wal, in MiB: the slot shall be lost before the server is."""
    free = None if data is None else free_bytes(data)
    return max(LEAST_KEPT_BYTES, (free or 0) // 2) // MIB


def free_bytes(data: Path) -> int | None:
    """Return what is free on the file system of pg_wal; None where it is not ours to look at."""
    try:
        return shutil.disk_usage(data / "pg_wal").free
    except OSError:
        return None

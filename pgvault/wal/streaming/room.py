"""How much the spool may take while the store is away: never what the server needs for its own WAL.

    file system of pg_wal and spool      used by others | spool: at most 1/3 | pg_wal behind the slot | …
                                                        └──────────── free without the spool ────────────┘

A spool beside pg_wal would fill that disk without end, past max_slot_wal_keep_size, and a server whose pg_wal is full
stops. So reception pauses first: the slot keeps what comes, up to that setting (of which `check` proposes half of
what is free), and is lost before the server is. On a disk of its own the spool may take all but the last segments.
What this does not see: a server on another host, and file systems that share their room under different devices.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pgvault.postgres.lsn import MIB

SHARED_PART = 3  # a third of what would be free without the spool
LEAST_WAITING = 2  # as long as uploads keep up, a segment or two are in the spool, however small the disk


def shortage(spool: Path, *, waiting: int, segment_size: int, data: Path | None) -> str | None:
    """Tell why nothing more should be received now, None while there is room.

    `waiting` counts the segments that are not archived yet, `data` is the server's data directory by its own account.
    """
    if waiting and (why := fullness(spool, segment_size=segment_size)) is not None:
        return why
    free = shutil.disk_usage(spool).free
    taken = waiting * segment_size
    limit = (free + taken) // SHARED_PART
    if waiting < LEAST_WAITING or taken <= limit or data is None or not _is_shared(spool, data):
        return None
    return (
        f"{waiting} segments wait in spool '{spool}', which lies beside pg_wal: what is left there is the server's own"
    )


def fullness(spool: Path, *, segment_size: int) -> str | None:
    """Tell that pg_receivewal can not go on: it makes a file of a whole segment before it writes to it."""
    free = shutil.disk_usage(spool).free
    return None if free >= segment_size else f"the file system of spool '{spool}' is full: {free // MIB} MiB are free"


def _is_shared(spool: Path, data: Path) -> bool:
    """Tell whether spool and pg_wal are on one file system, as far as that is seen from here."""
    for place in (data / "pg_wal", data):
        try:
            return place.stat().st_dev == spool.stat().st_dev
        except OSError:
            continue  # not ours to look into, or another host's
    return False

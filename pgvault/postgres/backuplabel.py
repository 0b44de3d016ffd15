"""backup_label: what PostgreSQL says a backup needs, read from the bytes that pg_backup_stop returned.

    START WAL LOCATION: 0/4000028 (file 000000010000000000000004)
    CHECKPOINT LOCATION: 0/4000080
    …
    BACKUP FROM: primary                                              or standby
    …
    START TIMELINE: 1

The file itself is stored and restored to the byte; here it is only read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from pgvault.errors import ServerUnfit
from pgvault.postgres.lsn import Lsn

LINES = re.compile(
    rb"START WAL LOCATION: (?P<start>[0-9A-F]+/[0-9A-F]+) \(file (?P<file>[0-9A-F]{24})\)\n"
    rb".*?CHECKPOINT LOCATION: (?P<checkpoint>[0-9A-F]+/[0-9A-F]+)\n"
    rb".*?START TIMELINE: (?P<timeline>[0-9]+)\n",
    re.DOTALL,
)


FROM_STANDBY = b"\nBACKUP FROM: standby\n"


@dataclass(frozen=True, slots=True)
class BackupLabel:
    """The positions in a backup_label."""

    start_lsn: Lsn  # redo: replay begins here
    checkpoint_lsn: Lsn
    timeline: int  # written in decimal, unlike in file names
    is_from_standby: bool = False

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read a label. Raises ServerUnfit when it is not one that we know."""
        match = LINES.match(content)
        if match is None:
            raise ServerUnfit("pg_backup_stop returned a backup_label that pgvault does not understand")
        return cls(
            Lsn.parse(match["start"].decode()),
            Lsn.parse(match["checkpoint"].decode()),
            int(match["timeline"]),
            FROM_STANDBY in content,
        )

"""Until when the covered WAL provably holds everything that was committed.

PostgreSQL dies with "recovery ended before configured recovery target was reached" when no commit follows the
target time. A server that was idle makes no such commit; a watermark proves that it was.

    covered WAL  ─●──●──●─────┤                               commits; the end of what is archived
    watermark           ▲ 09:40 idle, here, next xid 742      no commit up to 09:40 lies behind the ▲
    watermark                     ▲ 10:02 idle, next xid 742  no transaction ended in between: proven to 10:02

The second one's LSN is not covered: even an idle server writes snapshots of its running transactions, some 15
seconds after each switch (tried on 15), into a segment that nobody archives. That no transaction number was used
up in between says the same without that WAL. A clock that was set back makes these proofs worthless.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from itertools import accumulate

from pgvault.postgres.lsn import Lsn
from pgvault.recovery.facts import Watermark
from pgvault.recovery.path import RecoveryPath

# XLogLongPageHeaderData: right after a switch the insert position is already behind the header of a page that
# holds no record yet (tried on 15: 0/2000028).
LONG_PAGE_HEADER_BYTES = 40


class Proofs:
    """What the watermarks prove about one path, ready to be asked for many ends."""

    def __init__(self, path: RecoveryPath, watermarks: Iterable[Watermark]) -> None:
        on_path = [mark for mark in watermarks if mark.is_idle and path.timeline_of(mark.lsn) == mark.timeline]
        # Marks with one transaction number say the same, and the first that is covered proves the latest.
        latest: dict[tuple[int, int | None], datetime] = {}
        for mark in on_path:
            key = (mark.timeline, mark.next_xid)
            latest[key] = max(latest.get(key, mark.server_at), mark.server_at)
        proven = sorted(
            (mark.lsn.value, mark.server_at if mark.next_xid is None else latest[mark.timeline, mark.next_xid])
            for mark in on_path
        )
        self._segment_size = path.segment_size
        self._positions = [position for position, _ in proven]
        self._until = list(accumulate((at for _, at in proven), max))

    def until(self, end_lsn: Lsn) -> datetime | None:
        """Return the latest instant up to which every commit lies before `end_lsn`; None without proof."""
        # Inside a segment, where streamed tails end, that many bytes may be a commit.
        slack = 0 if end_lsn.value % self._segment_size else LONG_PAGE_HEADER_BYTES
        covered = bisect_right(self._positions, end_lsn.value + slack)
        return self._until[covered - 1] if covered else None


def proven_until(path: RecoveryPath, end_lsn: Lsn, *, watermarks: Iterable[Watermark]) -> datetime | None:
    """Return the latest instant up to which every commit of `path` lies before `end_lsn`; None without proof."""
    return Proofs(path, watermarks).until(end_lsn)

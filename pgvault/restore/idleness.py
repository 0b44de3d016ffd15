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

from collections.abc import Iterable
from datetime import datetime

from pgvault.postgres.lsn import Lsn
from pgvault.restore.facts import Watermark
from pgvault.restore.path import RecoveryPath

# XLogLongPageHeaderData: right after a switch the insert position is already behind the header of a page that
# holds no record yet (tried on 15: 0/2000028).
LONG_PAGE_HEADER_BYTES = 40


def proven_until(path: RecoveryPath, end_lsn: Lsn, *, watermarks: Iterable[Watermark]) -> datetime | None:
    """Return the latest instant up to which every commit of `path` lies before `end_lsn`; None without proof."""
    on_path = [mark for mark in watermarks if mark.is_idle and path.timeline_of(mark.lsn) == mark.timeline]
    # Inside a segment, where streamed tails end, that many bytes may be a commit.
    slack = 0 if end_lsn.value % path.segment_size else LONG_PAGE_HEADER_BYTES
    covered = [mark for mark in on_path if mark.lsn.value <= end_lsn.value + slack]
    anchors = {(mark.timeline, mark.next_xid) for mark in covered if mark.next_xid is not None}
    proven = covered + [mark for mark in on_path if (mark.timeline, mark.next_xid) in anchors]
    return max((mark.server_at for mark in proven), default=None)

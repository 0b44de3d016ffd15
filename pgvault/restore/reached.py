"""Did recovery end where the plan said? Asked of the server after its promotion, never taken from an exit status.

PostgreSQL keeps the end of the last replayed record and the time of the last replayed commit after promotion. The
timeline it left is in the history file it wrote. A server that promoted early (WAL that did not come, wrong bytes)
stands before `plan.stop.at_least`, and that is an error, however healthy it looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pgvault.errors import RecoveryFailed
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import TimelineHistoryFile
from pgvault.restore.plan import RestorePlan

QUERY = """
SELECT pg_last_wal_replay_lsn()::text,
       (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint,
       substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
"""


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a promoted server had stopped replaying."""

    lsn: Lsn  # end of the last replayed record
    last_commit_at: datetime | None  # of the last replayed commit or abort; None where there was none
    from_timeline: int  # the one that was replayed
    timeline: int  # the one it writes now


def read_reached(dsn: str, data: Path) -> Reached:
    """Ask a promoted server at `dsn`, whose directory is `data`, where its recovery ended."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(QUERY).fetchone()
    if row is None or row[0] is None:
        raise RecoveryFailed("the restored server did not replay any WAL")
    timeline = int(row[2], 16)
    name = TimelineHistoryFile(timeline).name
    try:
        history = TimelineHistory.parse((data / "pg_wal" / name).read_bytes(), timeline)
    except OSError as error:
        raise RecoveryFailed(f"the restored server wrote no {name}: it was not promoted out of recovery") from error
    last_commit = None if row[1] is None else datetime.fromtimestamp(row[1] // 1_000_000, UTC)
    if last_commit is not None:
        last_commit = last_commit.replace(microsecond=row[1] % 1_000_000)
    return Reached(Lsn.parse(row[0]), last_commit, history.entries[-1].timeline, timeline)


def require_reached(reached: Reached, plan: RestorePlan) -> None:
    """Raise RecoveryFailed unless the server stopped where the plan says, on the planned timeline."""
    if reached.from_timeline != plan.timeline:
        raise RecoveryFailed(f"recovery followed timeline {reached.from_timeline}, the plan is for {plan.timeline}")
    # At the end of a backup that is where it stopped; else the start of a record, whose end lies behind it.
    is_behind = plan.stop.settings.get("recovery_target") == "immediate" and reached.lsn == plan.stop.at_least
    if reached.lsn <= plan.stop.at_least and not is_behind:
        raise RecoveryFailed(
            f"recovery ended at {reached.lsn}, before the planned {plan.stop.at_least}: WAL is missing or damaged",
            hint="Do not use this directory: committed transactions are missing in it.",
        )
    if plan.stop.before is not None and reached.lsn > plan.stop.before:
        raise RecoveryFailed(f"recovery went on to {reached.lsn}, behind the planned {plan.stop.before}")

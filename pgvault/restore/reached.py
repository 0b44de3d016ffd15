"""Did recovery end where the plan said? Asked of the server after its promotion, never taken from an exit status.

PostgreSQL keeps the end of the last replayed record and the time of the last replayed commit after promotion. The
timeline it left is in the history file it wrote. A server that promoted early (WAL that did not come, wrong bytes)
stands before `plan.stop.at_least`, and that is an error, however healthy it looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pgvault.errors import RecoveryFailed
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import TimelineHistoryFile
from pgvault.recovery.facts import Transaction
from pgvault.recovery.plan import RestorePlan

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


def with_last_commit(reached: Reached, last: Transaction | None) -> Reached:
    """Return it with the planned `last` commit, where that was replayed.

    A recovery that is to stop at an LSN stops behind that record before it notes the record's time (xlogrecovery.c,
    recoveryStopsAfter; seen on 18): a commit that ends the WAL is replayed, and the server tells of the one before.
    """
    if last is None or last.lsn >= reached.lsn:
        return reached
    return replace(reached, last_commit_at=max(last.at, reached.last_commit_at or last.at))


def require_reached(lsn: Lsn, from_timeline: int, plan: RestorePlan, *, stop_lsn: Lsn) -> None:
    """Raise RecoveryFailed unless replay ended at `lsn` as the plan says, on the planned timeline.

    `stop_lsn` is the backup's: a plan may ask for no more than that, and then replay may end exactly there. Any
    other `at_least` is where a record starts that must have been replayed, so its end lies behind it.
    """
    if from_timeline != plan.timeline:
        raise RecoveryFailed(f"recovery followed timeline {from_timeline}, the plan is for {plan.timeline}")
    wanted = plan.stop.at_least
    if lsn < wanted or lsn == wanted != stop_lsn:
        raise RecoveryFailed(
            f"recovery ended at {lsn}, before the planned {wanted}: WAL is missing or damaged",
            hint="Do not use this directory: committed transactions are missing in it.",
        )
    if plan.stop.before is not None and lsn > plan.stop.before:
        raise RecoveryFailed(
            f"recovery went on to {lsn}, behind the planned {plan.stop.before}", hint="Do not use this directory."
        )

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.postgres.lsn import Lsn
from pgvault.postgres.waldump import TransactionRecord
from pgvault.restore.reached import Reached, with_last_commit

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
END = Lsn.parse("0/3000100")


@pytest.mark.parametrize(
    ("told", "planned", "lsn", "last"),
    [
        (-60, 0, "0/3000040", 0),  # the commit at which recovery stopped is not in what PostgreSQL tells
        (None, 0, "0/3000040", 0),
        (0, 0, "0/3000040", 0),
        (5, 0, "0/3000040", 5),  # replay went on to a later one than was foretold
        (-60, 0, "0/3000100", -60),  # recovery ended before it
    ],
)
def test_the_commit_that_ends_the_wal_counts(told: int | None, planned: int, lsn: str, last: int) -> None:
    """It is replayed, though the server tells of the one before."""
    reached = Reached(END, None if told is None else AT + timedelta(seconds=told), 1, 2)
    record = TransactionRecord(Lsn.parse(lsn), 742, AT + timedelta(seconds=planned), is_commit=True)

    assert with_last_commit(reached, record).last_commit_at == AT + timedelta(seconds=last)
    assert with_last_commit(reached, None) == reached

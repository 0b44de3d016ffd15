"""What a server says of its WAL, asked by a role that has nothing but the printed grants (15 to 18: test_server.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from pgvault.monitor.walfacts import Lag, RepositoryFacts, StoredEnd, measure_lag
from pgvault.postgres.grants import grants_for
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.server import Session
from pgvault.postgres.walname import segment_at
from pgvault.postgres.walstate import WalState, read_wal_state
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

SETTINGS = {
    "archive_mode": "on",
    "archive_command": "true",
    "archive_timeout": "90s",
    "max_slot_wal_keep_size": "64MB",
    "max_prepared_transactions": "2",
}


@pytest.fixture(scope="module")
def asked(templates: Path) -> Iterator[Server]:
    """A server with a role of ours that may do what the grants say, and no more."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    one = factory(NEWEST, settings=SETTINGS)
    one.sql("CREATE ROLE vault LOGIN")
    for statement in grants_for("vault"):
        one.sql(statement)
    one.sql("CREATE TABLE rows (number int)")
    yield one
    factory.clear()


def ask(server: Server, slot: str | None = None) -> WalState:
    with Session(server.dsn_of("vault")) as session:
        return read_wal_state(session, slot=slot)


def lag_since(state: WalState, end: Lsn) -> Lag:
    """What would be missing if WAL were stored up to `end`, and nothing else were known."""
    segment = segment_at(state.timeline, end, state.segment_size)
    held = RepositoryFacts(
        (),
        (),
        (),
        True,
        None,
        (),
        state.timeline,
        True,
        StoredEnd(segment, end, False, None, None),
        frozenset(),
        (),
        (),
        (),
    )
    lag = measure_lag(state, held)
    assert lag is not None
    return lag


def test_a_role_with_the_printed_grants_may_ask(asked: Server) -> None:
    """Settings, position, archiver, slot; and an idle server is told from one that commits.

    A checkpoint at which a transaction was open, or a prepared one, proves nothing about what comes after it.
    """
    asked.sql("SELECT pg_create_physical_replication_slot('ours', true)")

    state = ask(asked, "ours")

    assert (state.archive_mode, state.archive_command, state.archive_timeout) == ("on", "true", timedelta(seconds=90))
    assert (state.slot_keep_bytes, state.keep_bytes, state.segment_size) == (64 * MIB, 0, 16 * MIB)
    assert (state.timeline, state.is_standby, state.is_archiving) == (1, False, True)
    assert state.slot is not None
    assert (state.slot.is_active, state.slot.wal_status, state.slot.invalidation_reason) == (False, "reserved", None)
    assert state.slot.restart_lsn is not None
    assert ask(asked, "nobody's").slot is None
    assert state.end_lsn.value <= Lsn.parse(str(asked.value("SELECT pg_current_wal_insert_lsn()"))).value

    asked.sql("CHECKPOINT")
    quiet = ask(asked)
    assert quiet.quiet is not None
    # The checkpoint's own record lies behind its redo point: bytes, and no commit.
    lag = lag_since(quiet, quiet.redo_lsn)
    assert lag.size > 0
    assert (lag.seconds, lag.is_exact) == (0.0, True)
    asked.sql("INSERT INTO rows VALUES (1)")
    busy = ask(asked)
    assert lag_since(busy, quiet.redo_lsn).seconds != 0.0 or not lag_since(busy, quiet.redo_lsn).is_exact

    with psycopg.connect(asked.dsn) as other:
        other.execute("INSERT INTO rows VALUES (2)")
        asked.sql("CHECKPOINT")
        assert ask(asked).quiet is None
        other.execute("PREPARE TRANSACTION 'open'")
        other.autocommit = True
        other.execute("CHECKPOINT")
        assert ask(asked).quiet is None
    asked.restart()
    assert ask(asked).quiet is None  # a shutdown checkpoint does not say that one is still prepared
    asked.sql("COMMIT PREPARED 'open'")
    asked.sql("CHECKPOINT")
    assert ask(asked).quiet is not None


class Overtaken(Session):
    """Once it has looked for open transactions, one begins, and another that began later commits."""

    opened: psycopg.Connection[tuple[object, ...]] | None = None

    def row(self, query: str, *values: object) -> Sequence[object]:
        found = super().row(query, *values)
        if "pg_locks" in query and self.opened is None:
            self.opened = psycopg.connect(self.superuser)
            self.opened.execute("INSERT INTO rows VALUES (3)")
            with psycopg.connect(self.superuser) as later:
                later.execute("INSERT INTO rows VALUES (4)")
        return found

    superuser = ""


def test_a_transaction_that_was_overtaken_is_not_forgotten(asked: Server) -> None:
    """It commits without changing the next number, so that number proves nothing."""
    with Overtaken(asked.dsn_of("vault")) as session:
        session.superuser = asked.dsn
        mark = session.idle_watermark()
        assert session.opened is not None
        session.opened.commit()
        session.opened.close()
        after = session.idle_watermark()

    assert mark.is_idle  # at its moment nothing was open
    assert after.lsn > mark.lsn
    assert mark.next_xid != after.next_xid

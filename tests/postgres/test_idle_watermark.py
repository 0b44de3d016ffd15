"""When can a later moment prove that nothing was committed before an earlier one."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import Session, _before_page_header
from pgvault.postgres.waldump import transactions
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster


def ended(server: Server) -> list[tuple[datetime, Lsn]]:
    """Every commit and abort in pg_wal, with where its record begins."""
    names = sorted(path.name for path in (server.data / "pg_wal").iterdir() if len(path.name) == 24)
    last = str(server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    records = transactions(server.programs, server.data / "pg_wal", [name for name in names if name <= last])
    return [(record.at, record.lsn) for record in records]


def test_an_idle_server_is_idle(server: ServerFactory, major: int) -> None:
    """Without transactions the mark stands at the end of WAL, and at the server's time."""
    one = server(major)
    one.sql("CREATE TABLE t AS SELECT 1 AS a")

    with Session(one.dsn) as session:
        mark = session.idle_watermark()

    assert mark.is_idle
    assert mark.timeline == 1
    assert mark.lsn == Lsn.parse(str(one.value("SELECT pg_current_wal_flush_lsn()")))
    assert abs(mark.server_at - datetime.now(UTC)) < timedelta(seconds=30)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_one_open_transaction_is_seen(server: ServerFactory, major: int, end: str) -> None:
    """Even the newest one, which pg_current_snapshot() does not show as running."""
    one = server(major)

    with Session(one.dsn) as session, psycopg.connect(one.dsn, autocommit=True) as other:
        other.execute("BEGIN")
        other.execute("CREATE TABLE t (a int)")
        other.execute("SAVEPOINT s")
        assert not session.idle_watermark().is_idle
        other.execute(end)
        assert session.idle_watermark().is_idle


def test_a_prepared_transaction_is_seen(server: ServerFactory, major: int) -> None:
    """It has no process, but it can be committed at any time; over a restart, too."""
    one = server(major, settings={"max_prepared_transactions": "2"})
    one.sql("BEGIN; CREATE TABLE t (a int); PREPARE TRANSACTION 'x'")
    one.restart()

    with Session(one.dsn) as session:
        assert not session.idle_watermark().is_idle
        one.sql("COMMIT PREPARED 'x'")
        assert session.idle_watermark().is_idle


def test_a_reader_does_not_disturb(server: ServerFactory) -> None:
    """A transaction that wrote nothing will commit without a record."""
    one = server(NEWEST)

    with Session(one.dsn) as session, psycopg.connect(one.dsn) as other:
        other.execute("SELECT count(*) FROM pg_class")
        assert session.idle_watermark().is_idle


def test_a_finished_segment_reaches_its_own_end(server: ServerFactory, major: int) -> None:
    """After a switch the mark lies at the segment's border, not behind a header that nobody has archived."""
    one = server(major)

    with Session(one.dsn) as session:
        session.switch_wal()
        mark = session.idle_watermark()

    assert mark.is_idle
    assert mark.lsn.value % (16 * 2**20) == 0


@pytest.mark.parametrize(
    ("inserted", "end"),
    [
        ("0/3000028", "0/3000000"),  # behind the long header of a segment
        ("0/3002018", "0/3002000"),  # behind the short one of a page
        ("0/3000018", "0/3000018"),  # 24 bytes into a segment: cannot be, and is left alone
        ("0/3002028", "0/3002028"),  # a record of 16 bytes behind a page's header: not a header alone
        ("0/3002000", "0/3002000"),
    ],
)
def test_headers_are_no_records(inserted: str, end: str) -> None:
    """Only what lies exactly behind a page's header is moved back before it."""
    assert _before_page_header(Lsn.parse(inserted), 16 * 2**20, 8192) == Lsn.parse(end)


def test_no_commit_escapes_the_mark(server: ServerFactory, major: int) -> None:
    """Under load, whatever an idle mark says: commits stamped up to its time begin before its LSN."""
    one = server(major, settings={"synchronous_commit": "off"})
    one.sql("CREATE TABLE t (a int)")
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(one.dsn, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO t VALUES (1)")
                time.sleep(0.002)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    with Session(one.dsn) as session:
        marks = [session.idle_watermark() for _ in range(150)]
    stop.set()
    for writer in writers:
        writer.join()
    one.sql("CHECKPOINT")

    proofs = [mark for mark in marks if mark.is_idle]
    records = ended(one)
    assert proofs
    assert len(records) > 100
    for mark in proofs:
        assert [at for at, lsn in records if at <= mark.server_at and lsn >= mark.lsn] == []

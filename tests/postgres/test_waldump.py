from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import ObjectCorrupt, UsageError
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.programs import find_programs
from pgvault.postgres.waldump import (
    RelationFile,
    changes,
    last_record,
    last_record_of,
    record_starts,
    restore_points,
    tablespace_paths,
    transactions,
)
from pgvault.postgres.walname import WalSegment
from tests.servers import MAJORS, NEWEST, Server, ServerFactory, older_in_ci

pytestmark = pytest.mark.cluster

SETTINGS = {"max_prepared_transactions": "2", "wal_keep_size": "500MB"}


def switch(server: Server) -> str:
    """Finish a segment that holds something and return its name."""
    server.sql("SELECT pg_logical_emit_message(false, 'test', 'something')")
    name = server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    server.sql("SELECT pg_switch_wal()")
    return str(name)


def wal(server: Server) -> Path:
    return server.data / "pg_wal"


def finished(server: Server) -> list[str]:
    """All segments that WAL has passed, in order."""
    current = str(server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    return sorted(path.name for path in wal(server).iterdir() if len(path.name) == 24 and path.name < current)


def test_every_end_of_a_transaction_is_reported(server: ServerFactory, major: int) -> None:
    """Commits and aborts, prepared ones under their own id, at the server's time, and no PREPARE."""
    one = server(major, settings={**SETTINGS, "TimeZone": "Asia/Tokyo", "log_timezone": "Asia/Tokyo"})
    switch(one)
    before = datetime.now(UTC)
    with psycopg.connect(one.dsn, autocommit=True) as connection:
        for statement in (
            "CREATE TABLE t (a int)",
            "BEGIN",
            "INSERT INTO t VALUES (1)",
            "SAVEPOINT s",
            "INSERT INTO t VALUES (2)",
            "PREPARE TRANSACTION 'g: COMMIT 2020-01-01 00:00:00.000000 UTC'",
            "COMMIT PREPARED 'g: COMMIT 2020-01-01 00:00:00.000000 UTC'",
            "BEGIN",
            "INSERT INTO t VALUES (1)",
            "ROLLBACK",
            "BEGIN",
            "INSERT INTO t VALUES (1)",
            "PREPARE TRANSACTION 'h'",
            "ROLLBACK PREPARED 'h'",
        ):
            connection.execute(statement)
    name = switch(one)

    records = transactions(one.programs, wal(one), [name])

    assert [record.is_commit for record in records] == [True, True, False, False]
    first = records[0].xid
    assert [record.xid - first for record in records] == [0, 1, 3, 4]  # the savepoint took one
    assert [record.lsn for record in records] == sorted(record.lsn for record in records)
    assert all(before - timedelta(seconds=1) <= record.at <= datetime.now(UTC) for record in records)


def test_a_record_over_the_border_belongs_to_where_it_begins(server: ServerFactory, major: int) -> None:
    """Segment by segment nobody sees it; with the next segment, the one in which it begins does."""
    one = server(major, settings=SETTINGS, wal_segsize_mib=1)
    one.sql("CREATE TABLE t (a int)")
    with psycopg.connect(one.dsn) as connection:
        # A commit record names its subtransactions: 500 of them are 2 KiB.
        connection.execute(
            "DO $$ BEGIN FOR i IN 1..500 LOOP BEGIN INSERT INTO t VALUES (i);"
            " EXCEPTION WHEN division_by_zero THEN END; END LOOP; END $$"
        )
        while (left := MIB - Lsn.parse(str(one.value("SELECT pg_current_wal_insert_lsn()"))).value % MIB) > 1000:
            one.sql(f"SELECT pg_logical_emit_message(false, 'test', repeat('x', {max(0, left * 99 // 100 - 900)}))")
    one.sql("INSERT INTO t VALUES (1)")
    switch(one)
    *_, first, second = finished(one)

    alone = [*transactions(one.programs, wal(one), [first]), *transactions(one.programs, wal(one), [second])]
    both = transactions(one.programs, wal(one), [first, second])

    (over,) = set(both) - set(alone)
    assert over.is_commit
    assert over.lsn.value // MIB == int(first[16:], 16)
    assert [record for record in both if record != over] == alone


def test_a_record_longer_than_a_segment_is_no_damage(server: ServerFactory, major: int) -> None:
    """Segments without any whole record, which pg_waldump alone takes for an error: its begin and its middle."""
    one = server(major, settings=SETTINGS, wal_segsize_mib=1)
    before = switch(one)
    one.sql(f"SELECT pg_logical_emit_message(false, 'test', repeat('x', {5 * MIB}))")
    one.sql("CREATE TABLE t (a int)")
    switch(one)
    *_, begin, first, second, third, fourth, end = finished(one)

    for run in ([begin], [begin, first], [first], [second, third], [fourth]):
        assert transactions(one.programs, wal(one), run) == []
        assert last_record_of(one.programs, wal(one), run) is None
    assert last_record_of(one.programs, wal(one), [before, begin]) == last_record(one.programs, wal(one) / before)
    assert len(transactions(one.programs, wal(one), [first, second, third, fourth, end])) == 1
    last = last_record(one.programs, wal(one) / end)
    assert last is not None
    assert last_record_of(one.programs, wal(one), [begin, first, second, third, fourth, end]) == last


@pytest.mark.parametrize("size", [1, 64])
def test_segments_of_other_sizes_are_read(server: ServerFactory, size: int) -> None:
    """pg_waldump takes the size from the first page, and so do we."""
    one = server(NEWEST, settings=SETTINGS, wal_segsize_mib=size)
    switch(one)
    one.sql("CREATE TABLE t (a int)")
    name = switch(one)

    (record,) = transactions(one.programs, wal(one), [name])

    assert WalSegment.parse(name, size * MIB).holds(record.lsn)


def test_the_last_record_of_a_switched_segment_is_the_switch(server: ServerFactory, major: int) -> None:
    """What follows it is zeros to the end of the segment."""
    one = server(major, settings=SETTINGS)
    switch(one)
    before = Lsn.parse(str(one.value("SELECT pg_current_wal_insert_lsn()")))
    name = switch(one)

    last = last_record(one.programs, wal(one) / name)

    assert last is not None
    assert before < last
    assert last - before < 1000


def test_wal_may_end_in_zeros(server: ServerFactory, major: int) -> None:
    """A tail padded to the segment's size gives the records it has, wherever it was cut between two of them."""
    one = server(major, settings=SETTINGS)
    switch(one)
    one.sql("CREATE TABLE t (a int)")
    one.sql("INSERT INTO t VALUES (1)")
    end = Lsn.parse(str(one.value("SELECT pg_current_wal_insert_lsn()")))
    one.sql("INSERT INTO t VALUES (2)")
    name = switch(one)
    tail = server.directory() / name
    content = (wal(one) / name).read_bytes()
    used = end.value % len(content)

    tail.write_bytes(content[:used] + bytes(len(content) - used))

    assert len(transactions(one.programs, wal(one), [name])) == 3
    assert len(transactions(one.programs, tail.parent, [name])) == 2
    assert last_record(one.programs, tail) is not None


@older_in_ci
@pytest.mark.parametrize("damage", ["flip", "first page", "other segment"])
def test_damage_is_an_error(server: ServerFactory, major: int, damage: str) -> None:
    """What can not be decoded is never taken for the end of WAL."""
    one = server(major, settings=SETTINGS)
    other = switch(one)
    one.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)")
    name = switch(one)
    copy = server.directory() / name
    content = bytearray((wal(one) / name).read_bytes())
    if damage == "flip":
        content[5000] ^= 1
    elif damage == "first page":
        content[:8192] = bytes(8192)
    else:
        content = bytearray((wal(one) / other).read_bytes())

    copy.write_bytes(content)

    with pytest.raises(ObjectCorrupt, match=f"^WAL from '{name}' to '{name}' can not be decoded: "):
        transactions(one.programs, copy.parent, [name])


def test_a_missing_segment_is_an_error(server: ServerFactory) -> None:
    """A run with a hole is not a shorter run."""
    one = server(NEWEST, settings=SETTINGS)
    first, second, third = switch(one), switch(one), switch(one)
    place = server.directory()
    for name in (first, third):
        shutil.copy(wal(one) / name, place)

    with pytest.raises(ObjectCorrupt, match=second):
        transactions(one.programs, place, [first, second, third])


@pytest.mark.skipif(len(MAJORS) < 2, reason="only one PostgreSQL is installed")
def test_programs_of_another_major_are_told(server: ServerFactory) -> None:
    """Each major reads its own WAL only; the hint says so."""
    one = server(NEWEST, settings=SETTINGS)
    name = switch(one)

    with pytest.raises(ObjectCorrupt) as caught:
        transactions(find_programs(MAJORS[0]), wal(one), [name])

    assert caught.value.hint is not None
    assert "same major version" in caught.value.hint


def test_paths_of_tablespaces_are_found(server: ServerFactory, major: int) -> None:
    """Each path at which replay would make a tablespace, with the letters it has."""
    one = server(major, settings=SETTINGS)
    place = server.directory()
    switch(one)
    (place / 'odd "é" name').mkdir()
    for name in ("a", "b"):
        one.sql(f"CREATE TABLESPACE {name} LOCATION '{place}/odd \"é\" name'")
        one.sql(f"DROP TABLESPACE {name}")
    name = switch(one)

    assert tablespace_paths(one.programs, wal(one), [name]) == [f'{place}/odd "é" name']
    assert tablespace_paths(one.programs, wal(one), []) == []


def test_restore_points_are_found(server: ServerFactory, major: int) -> None:
    """Each with where its record begins; a name may hold blanks and other letters, and need not be unique."""
    one = server(major, settings=SETTINGS)
    switch(one)
    for name in ("before é upgrade", "again", "again"):
        one.sql(f"SELECT pg_create_restore_point('{name}')")
    segment = switch(one)

    points = restore_points(one.programs, wal(one), [segment])

    assert [name for _, name in points] == ["before é upgrade", "again", "again"]
    assert {lsn for lsn, _ in points} <= set(record_starts(one.programs, wal(one), [segment]))


def test_a_run_is_of_one_timeline() -> None:
    """pg_waldump takes the timeline from the first name; the others must not be read as of that."""
    with pytest.raises(UsageError, match="several timelines"):
        transactions(find_programs(NEWEST), Path("/nowhere"), ["0" * 7 + "1" + "0" * 16, "0" * 7 + "2" + "0" * 16])


@pytest.mark.endurance
def test_what_a_transaction_does_to_tables(server: ServerFactory, major: int) -> None:
    """Also in subtransactions, prepared, and what goes at its commit; nothing of its neighbours'."""
    one = server(major, settings=SETTINGS)
    for name in ("a", "b", "c", "d"):
        one.sql(f"CREATE TABLE {name} (number int)")
    files = {
        name: RelationFile(
            int(str(one.value("SELECT oid FROM pg_database WHERE datname = current_database()"))),
            int(str(one.value(f"SELECT pg_relation_filenode('{name}')"))),
        )
        for name in ("a", "b", "c", "d")
    }
    first = switch(one)
    with psycopg.connect(one.dsn, autocommit=True) as connection:
        for statement in (
            "BEGIN",
            "INSERT INTO a VALUES (1)",
            "SAVEPOINT s",
            "INSERT INTO b VALUES (1)",
            "RELEASE s",
            "COMMIT",
            "INSERT INTO c VALUES (1)",
            "BEGIN",
            "INSERT INTO d VALUES (1)",
            "PREPARE TRANSACTION 'later'",
            "COMMIT PREPARED 'later'",
            "DROP TABLE c",
        ):
            connection.execute(statement.encode())
    switch(one)
    names = [name for name in finished(one) if name > first]
    found = [
        changes(one.programs, wal(one), names, ended_by=record.lsn)
        for record in transactions(one.programs, wal(one), names)
        if record.is_commit
    ]
    own = [({name for name in files if files[name] in each.changed}) for each in found]

    assert own[:3] == [{"a", "b"}, {"c"}, {"d"}]
    assert files["c"] in found[3].removed
    assert all(not each.removed for each in found[:3])

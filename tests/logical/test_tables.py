from __future__ import annotations

from datetime import timedelta

from pgvault.logical.tables import DifferenceKind, compare_records, read_database
from pgvault.postgres.fingerprint import open_session
from pgvault.repository.tables import TableKind, TableRecord
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

ONE, TWO = "1" * 32, "2" * 32


def table(name: str, rows: int | None, fingerprint: str | None, why: str | None = None) -> TableRecord:
    return TableRecord("public", name, TableKind.TABLE, rows, fingerprint, why)


def large_objects(rows: int, fingerprint: str) -> TableRecord:
    return TableRecord("", "", TableKind.LARGE_OBJECTS, rows, fingerprint)


def told(expected: list[TableRecord], found: list[TableRecord], *, are_portable: bool = True) -> list[str]:
    return [str(each) for each in compare_records(expected, found, are_portable=are_portable)]


def test_the_same_records_have_no_difference() -> None:
    """In whatever order; no large objects are the same as none mentioned."""
    expected = [table("a", 1, ONE), table("b", 0, TWO), large_objects(0, "0" * 32)]

    assert told(expected, expected[1::-1]) == []
    assert told(expected[:2], expected) == []


def test_every_kind_of_difference_is_named() -> None:
    """A table missing or too much, other numbers of rows, other rows, and what has no fingerprint."""
    expected = [table("gone", 2, ONE), table("fewer", 3, ONE), table("other", 1, ONE), table("closed", 1, ONE)]
    found = [table("new", 1, ONE), table("fewer", 2, ONE), table("other", 1, TWO), table("closed", None, None, "no")]

    assert told([*expected, large_objects(1, ONE)], [*found, large_objects(1, TWO)]) == [
        "large objects has other content in its 1 row",
        "public.closed can not be compared: no",
        "public.fewer has 2 rows, not 3",
        "public.gone is missing (2 rows expected)",
        "public.new was not expected (1 row)",
        "public.other has other content in its 1 row",
    ]
    proven = [each.kind for each in compare_records(expected, found) if each.is_proven]
    assert DifferenceKind.NOT_COMPARABLE not in proven


def test_no_fingerprint_on_both_sides_is_not_equal() -> None:
    """What could not be read is never taken for the same; another number of rows is told first."""
    closed = [table("a", 5, None, "too large")]

    assert told(closed, closed) == ["public.a can not be compared: too large"]
    assert told(closed, [table("a", 6, None, "too large")]) == ["public.a has 6 rows, not 5"]


def test_fingerprints_that_mean_other_things_prove_nothing() -> None:
    """Equal ones are equal; unequal ones between encodings without a way to UTF-8 are not comparable."""
    pair = ([table("a", 1, ONE)], [table("a", 1, TWO)])

    assert told(pair[0], pair[0], are_portable=False) == []
    assert "different encodings" in told(*pair, are_portable=False)[0]


def test_a_database_is_read_by_several_sessions(server: ServerFactory) -> None:
    """Every table once, sorted or not, and the large objects; `only` limits it."""
    one = server(NEWEST)
    for number in range(12):
        one.sql(f"CREATE TABLE t{number} AS SELECT generate_series(1, {number})")

    records = read_database(lambda: open_session(one.dsn, lock_timeout=timedelta(seconds=1)), jobs=3)
    some = read_database(lambda: open_session(one.dsn, lock_timeout=timedelta(seconds=1)), only={"public.t7"})

    assert {record.name: record.rows for record in records} == {"large objects": 0} | {
        f"public.t{number}": number for number in range(12)
    }
    assert [(record.name, record.rows) for record in some] == [("public.t7", 7)]
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvault'"
    wait_until(lambda: one.value(left) == 0)  # a session that was closed takes its moment to go

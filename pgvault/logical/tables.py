"""What the tables of one database hold, as records, and how two such lists differ.

read_records   the records of one session's snapshot, one after another: for a dump
read_database  the records of a database that nobody writes to, over several sessions: for what was restored
compare_records  expected against found: what is missing, too much, of another number of rows, of other rows
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, Self, TypeVar

import psycopg

from pgvault.errors import ServerUnfit
from pgvault.pooling import map_bounded
from pgvault.postgres.fingerprint import (
    TableFacts,
    TableName,
    encoded,
    fingerprint_large_objects,
    fingerprint_table,
    list_tables,
)
from pgvault.repository.tables import TableKind, TableRecord

DatabaseConnection = psycopg.Connection[tuple[object, ...]]
Key = tuple[TableKind, str, str]
T = TypeVar("T")
CANCEL_SECONDS = 10.0
R = TypeVar("R")


class Closeable(Protocol):
    """What ends with a call of `close`."""

    def close(self) -> None:
        """End it."""

    def cancel_safe(self, *, timeout: float) -> None:
        """End the query that another thread waits for, if there is one."""


S = TypeVar("S", bound=Closeable)


class DifferenceKind(StrEnum):
    """In what way a table is not the same."""

    MISSING = "missing"  # expected, and not there
    EXTRA = "extra"  # there, and not expected
    ROWS = "other number of rows"
    CONTENT = "other rows"  # as many, and not the same
    NOT_COMPARABLE = "not comparable"  # no fingerprint on one side; the number of rows is the same, or not known


@dataclass(frozen=True, slots=True)
class Difference:
    """One table that is not the same, or of which that can not be told."""

    kind: DifferenceKind
    expected: TableRecord | None
    found: TableRecord | None
    why: str | None = None  # of what is not comparable

    @property
    def name(self) -> str:
        """The table, for people."""
        record = self.expected or self.found
        return record.name if record is not None else ""

    @property
    def is_proven(self) -> bool:
        """Whether something is different, rather than not known."""
        return self.kind is not DifferenceKind.NOT_COMPARABLE

    def __str__(self) -> str:
        return f"{self.name} {self.told}"

    @property
    def told(self) -> str:
        """What is not the same, as the end of a sentence about the table."""
        expected = None if self.expected is None else self.expected.rows
        found = None if self.found is None else self.found.rows
        return {
            DifferenceKind.MISSING: f"is missing ({_rows(expected)} expected)",
            DifferenceKind.EXTRA: f"was not expected ({_rows(found)})",
            DifferenceKind.ROWS: f"has {_rows(found)}, not {expected}",
            DifferenceKind.CONTENT: f"has other content in its {_rows(found)}",
            DifferenceKind.NOT_COMPARABLE: f"can not be compared: {self.why}",
        }[self.kind]


def _rows(count: int | None) -> str:
    return "an unknown number of rows" if count is None else "1 row" if count == 1 else f"{count} rows"


def record(table: TableName, facts: TableFacts) -> TableRecord:
    """Return the record of a table."""
    return TableRecord(table.schema, table.table, TableKind.TABLE, facts.rows, facts.fingerprint, facts.why)


def large_objects_record(facts: TableFacts) -> TableRecord:
    """Return the record of all large objects of a database."""
    return TableRecord("", "", TableKind.LARGE_OBJECTS, facts.rows, facts.fingerprint, facts.why)


def read_records(connection: DatabaseConnection, tables: Iterable[TableName]) -> Iterator[TableRecord]:
    """Yield the records of `tables`, and that of the large objects, in the snapshot of a prepared session."""
    for table in tables:
        yield record(table, fingerprint_table(connection, table))
    yield large_objects_record(fingerprint_large_objects(connection))


def read_database(
    connect: Callable[[], DatabaseConnection], *, jobs: int = 1, only: Collection[str] | None = None
) -> list[TableRecord]:
    """Return the records of all tables and of the large objects of one database, each in a snapshot of its own.

    `connect` gives a new prepared session. Large tables are begun first; `only` limits them to records of these names.
    Only where nobody writes do the records belong to one moment. A table that stays locked has a record that says so.
    """
    with Sessions(connect, jobs) as sessions:
        tables = [each for each in sessions.do(list_tables) if only is None or str(each) in only]
        found = sessions.map(
            lambda session, table: record(table, _answer(lambda: fingerprint_table(session, table))),
            sorted(tables, key=lambda each: -each.bytes),
        )
        records = list(found)
        if only is None or TableKind.LARGE_OBJECTS in only:
            facts = sessions.do(lambda session: _answer(lambda: fingerprint_large_objects(session)))
            records.append(large_objects_record(facts))
        return records


def _answer(read: Callable[[], TableFacts]) -> TableFacts:
    try:
        return read()
    except ServerUnfit as error:
        return TableFacts(None, None, str(error))


class Sessions(Generic[S]):
    """A few sessions with one database, one for each worker; all end with the `with`."""

    def __init__(self, connect: Callable[[], S], jobs: int) -> None:
        self._connect = connect
        self._jobs = jobs
        self._pool = ThreadPoolExecutor(jobs)
        self._own = threading.local()
        self._opened: list[S] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        if kind is not None:  # Ctrl-C, too: nobody wants to wait until the largest table is read
            for session in self._opened:
                with contextlib.suppress(psycopg.Error):
                    session.cancel_safe(timeout=CANCEL_SECONDS)
        self._pool.shutdown()
        for session in self._opened:
            session.close()

    def do(self, work: Callable[[S], R]) -> R:
        """Return what `work` makes of one of the sessions."""
        return self._pool.submit(lambda: work(self._session())).result()

    def map(self, work: Callable[[S, T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield what `work` makes of each item, in their order."""
        return map_bounded(self._pool, lambda item: work(self._session(), item), items, ahead=4 * self._jobs)

    def _session(self) -> S:
        session: S | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = self._connect()
            self._opened.append(session)
        return session


def compare_records(
    expected: Iterable[TableRecord], found: Iterable[TableRecord], *, are_portable: bool = True
) -> tuple[Difference, ...]:
    """Return every table that is not the same, sorted by name; empty when all are.

    `are_portable` is whether the fingerprints of both databases mean the same (`fingerprint.are_comparable`): where
    they do not, unequal ones prove nothing. Large objects that one side does not mention are none.
    """
    left, right = _by_key(expected), _by_key(found)
    keys = sorted(left.keys() | right.keys(), key=lambda key: tuple(map(encoded, key)))
    differences = (_compare(left.get(key), right.get(key), are_portable=are_portable) for key in keys)
    return tuple(difference for difference in differences if difference is not None)


def _by_key(records: Iterable[TableRecord]) -> dict[Key, TableRecord]:
    return {(each.kind, each.schema, each.table): each for each in records}


def _compare(expected: TableRecord | None, found: TableRecord | None, *, are_portable: bool) -> Difference | None:
    if expected is None or found is None:
        there = expected or found
        if there is not None and there.kind is TableKind.LARGE_OBJECTS and there.rows == 0:
            return None
        return Difference(DifferenceKind.MISSING if found is None else DifferenceKind.EXTRA, expected, found)
    if None not in (expected.rows, found.rows) and expected.rows != found.rows:
        return Difference(DifferenceKind.ROWS, expected, found)
    reasons = _reasons((expected, found))
    if reasons:
        return Difference(DifferenceKind.NOT_COMPARABLE, expected, found, reasons)
    if expected.fingerprint == found.fingerprint:
        return None
    if not are_portable:
        why = "the databases have different encodings, and one of them has no conversion to UTF-8"
        return Difference(DifferenceKind.NOT_COMPARABLE, expected, found, why)
    return Difference(DifferenceKind.CONTENT, expected, found)


def _reasons(records: Sequence[TableRecord]) -> str:
    """Why there is no fingerprint, each reason once; empty where there are two."""
    reasons = [each.why or "it has no fingerprint" for each in records if each.fingerprint is None]
    return "; ".join(dict.fromkeys(reasons))

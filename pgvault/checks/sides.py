"""One side of a check across two systems: its columns, and its rows as texts in the order of their keys' bytes.

A server's rows come through a server-side cursor, sorted by it (`ORDER BY convert_to(key::text, 'UTF8')`: by bytes,
whatever its collations and its encoding are), all of one snapshot. A file's rows go through a database of SQLite's that
has no name, lies beside other temporary files and is gone when it is closed: it sorts what does not fit into memory.
Texts are PostgreSQL's own: ISO dates, times in UTC, numbers as numeric prints them; a file must write its *keys* that
way, its values are compared by what they mean.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import sql

from pgvault.checks.matching import Kind, Row, instant
from pgvault.checks.session import Session
from pgvault.checks.sql import statements
from pgvault.config import Side

FETCH_ROWS = 2000
# How values are written, so that both sides write them alike; and what must not end a session that waits for the other.
SETTINGS: Mapping[str, str] = {
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "idle_in_transaction_session_timeout": "0",
}
# By the oids of pg_type, which never change.
TIMESTAMPTZ = 1184
KINDS = {
    **dict.fromkeys((20, 21, 23, 700, 701, 1700), Kind.NUMBER),
    **dict.fromkeys((1082, 1114, TIMESTAMPTZ), Kind.TIME),
    16: Kind.TRUTH,
}


class SideUnfit(Exception):
    """A side can not be read as the check wants it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of a side."""

    key: Sequence[str]  # columns; none: in any order
    values: Sequence[str]  # columns
    time: str | None
    cutoff: datetime | None  # rows younger than this are in flight


class QuerySide:
    """A query of a server, in a session's transaction."""

    def __init__(self, name: str, session: Session, text: str) -> None:
        """Look at what the query returns. Raises SideUnfit, psycopg.Error."""
        found = statements(text)
        if len(found) != 1:
            raise SideUnfit(f"the {name} side's query is {len(found)} statements: write it as one")
        self._name, self._session = name, session
        # Its own line: a query may end with a comment.
        self._source = sql.SQL("({}\n) AS side").format(sql.SQL(found[0]))
        cursor = session.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(self._source))
        described = [(column.name, column.type_code) for column in cursor.description or ()]
        _require_once(name, [column for column, _ in described])
        self._instants = {column for column, oid in described if oid == TIMESTAMPTZ}
        self.columns = {column: KINDS.get(oid, Kind.TEXT) for column, oid in described}

    def rows(self, wanted: Wanted) -> Iterator[Row]:
        """Yield the rows; what has no key comes anywhere. Raises psycopg.Error."""
        count = len(wanted.key)
        parts = [self._bytes_of(column) for column in (*wanted.key, *wanted.values)]
        order = sql.SQL("ORDER BY {}" if count else "").format(_numbers(count))
        text = sql.SQL("SELECT {}, {} FROM {} {}").format(
            sql.SQL(", ").join(parts) if parts else sql.SQL("NULL"), _is_in_flight(wanted), self._source, order
        )
        # binary: bytes come as they are; a text of a database without an encoding need not be UTF-8.
        with self._session.cursor(f"pgvault {self._name}", binary=True) as cursor:
            cursor.itersize = FETCH_ROWS
            cursor.execute(text)
            for row in cursor:
                key, found, is_in_flight = row[:count], row[count : len(parts)], row[-1]
                yield Row(None if None in key else tuple(key), tuple(map(_text, found)), is_in_flight)

    def _bytes_of(self, column: str) -> sql.Composable:
        # Not by the session's TimeZone, which decides what `at::date` is in the query itself.
        form = "({} AT TIME ZONE 'UTC')::text || '+00'" if column in self._instants else "{}::text"
        return sql.SQL(f"convert_to({form}, 'UTF8')").format(sql.Identifier("side", column))


def _numbers(count: int) -> sql.Composable:
    return sql.SQL(", ").join(sql.Literal(number + 1) for number in range(count))


def _is_in_flight(wanted: Wanted) -> sql.Composable:
    if wanted.time is None:
        return sql.SQL("false")
    return sql.SQL("coalesce({}::timestamptz > {}, false)").format(
        sql.Identifier("side", wanted.time), sql.Literal(wanted.cutoff)
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


class FileSide:
    """A CSV file with a header."""

    def __init__(self, name: str, side: Side, path: Path) -> None:
        """Look at its header. Raises SideUnfit, OSError."""
        self._name, self._side, self._path = name, side, path
        header = next(self._records(), None)
        if header is None:
            raise SideUnfit(f"the {name} side's file has no header")
        if lost := side.rename.keys() - set(header):
            raise SideUnfit(f"the {name} side's file has no column {min(lost)!r} to rename")
        self._header = [side.rename.get(column, column) for column in header]
        _require_once(name, self._header)
        self.columns = dict.fromkeys(self._header, Kind.TEXT)

    def rows(self, wanted: Wanted) -> Iterator[Row]:
        """Yield the rows. Raises SideUnfit, OSError."""
        if not wanted.key:
            yield from self._in_file_order(wanted)
            return
        count = len(wanted.key)
        keys = ", ".join(f"k{at}" for at in range(count))
        columns = ", ".join([keys, *(f"v{at}" for at in range(len(wanted.values))), "in_flight"])
        with closing(sqlite3.connect("")) as store:
            store.execute(f"CREATE TABLE side ({columns})")
            rows = (
                (*(row.key or [None] * count), *row.values, row.is_in_flight) for row in self._in_file_order(wanted)
            )
            store.executemany(f"INSERT INTO side VALUES ({', '.join('?' * (count + len(wanted.values) + 1))})", rows)
            for row in store.execute(f"SELECT * FROM side ORDER BY {keys}"):
                key = row[:count]
                yield Row(None if None in key else key, row[count:-1], bool(row[-1]))

    def _in_file_order(self, wanted: Wanted) -> Iterator[Row]:
        place = {column: at for at, column in enumerate(self._header)}
        keys, values = [place[each] for each in wanted.key], [place[each] for each in wanted.values]
        records = self._records()
        next(records, None)
        for number, record in enumerate(records, start=2):
            if len(record) != len(self._header):
                raise SideUnfit(
                    f"record {number} of the {self._name} side's file has {len(record)} fields, not {len(self._header)}"
                )
            fields = [None if each == self._side.null else each for each in record]
            is_in_flight = wanted.time is not None and self._is_after(fields[place[wanted.time]], wanted.cutoff, number)
            parts = [fields[at] for at in keys]
            key = tuple(part.encode() for part in parts if part is not None)
            yield Row(key if len(key) == len(parts) else None, tuple(fields[at] for at in values), is_in_flight)

    def _is_after(self, text: str | None, cutoff: datetime | None, number: int) -> bool:
        if text is None or cutoff is None:
            return False
        found = instant(text)
        if found is None:
            raise SideUnfit(f"record {number} of the {self._name} side's file has no time where one should be")
        return found > cutoff

    def _records(self) -> Iterator[list[str]]:
        try:
            with self._path.open(encoding=self._side.encoding, newline="") as file:
                for record in csv.reader(file, delimiter=self._side.delimiter, strict=True):
                    if record:  # an empty line is no record
                        yield record
        except (csv.Error, UnicodeError) as error:
            raise SideUnfit(f"the {self._name} side's file is not CSV in {self._side.encoding}: {error}") from error


def _require_once(name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise SideUnfit(f"the {name} side has column {column!r} twice")

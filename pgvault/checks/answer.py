"""Ask a check's statements one by one, and keep of the answer what can be measured.

    statement ─► EXPLAIN: which tables it scans, whether it reads the clock ─► run ─► count, first rows

Rows are counted as they come; only the first few are kept, and of them only keys, unless the check shows all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import capabilities

from pgvault.checks.keys import key_columns
from pgvault.checks.result import SAMPLE_ROWS
from pgvault.checks.session import Session
from pgvault.checks.sql import statements, tokens

ROW_CHARACTERS = 500  # of a row that is kept
CHUNK_ROWS = 1000
QUERIES = frozenset({"select", "table", "values", "with", "("})
# What a check has no business with: it would end the transaction that keeps it from writing, write files, or lock.
FORBIDDEN = frozenset(
    {
        "abort", "begin", "checkpoint", "commit", "copy", "do", "end", "listen", "load", "lock", "notify",
        "prepare", "release", "rollback", "savepoint", "start",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query returned."""

    row_count: int
    column_count: int
    value: object = None  # of the one row's one column, where there is but one
    names: tuple[str, ...] = ()  # of the columns
    first: tuple[tuple[object, ...], ...] = ()  # the first rows, whole: not to be kept as they are
    keys: tuple[int, ...] = ()  # the columns that are keys of their tables

    @property
    def is_single(self) -> bool:
        """One row of one column."""
        return (self.row_count, self.column_count) == (1, 1)

    def sample(self, *, is_all: bool) -> tuple[str, ...]:
        """Return the first rows as text: their keys, or all of their columns."""
        shown = range(self.column_count) if is_all else self.keys
        if not shown:
            return ()
        texts = [", ".join(f"{self.names[at]}={_text(row[at])}" for at in shown) for row in self.first]
        return tuple(text[:ROW_CHARACTERS] for text in texts)


@dataclass(slots=True)
class Planned:
    """What the plans of a check's statements showed; filled statement by statement."""

    scanned: set[tuple[str, str]] = field(default_factory=set)  # schema and name of relations
    expressions: list[str] = field(default_factory=list)  # outputs, filters, conditions


def ask(session: Session, text: str, planned: Planned, looked: Callable[[str], None]) -> list[Answer]:
    """Run a check's statements and return what they returned; `planned` is filled as they are planned.

    `looked` is called with each query when it is planned and before it runs. Raises psycopg.Error, and whatever
    `looked` raises.
    """
    answers = []
    for statement in statements(text):
        first = tokens(statement)[0].text.lower()
        if first in FORBIDDEN:
            raise psycopg.ProgrammingError(f"a check can not {first.upper()}")
        if first in QUERIES:
            _explain(session, statement, planned)
            looked(statement)
            answers.append(_stream(session, statement))
        else:
            answers += _execute(session, statement)
    return answers


def _explain(session: Session, statement: str, planned: Planned) -> None:
    row = session.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {statement}".encode(), binary=True).fetchone()
    assert row is not None
    nodes: list[dict[str, Any]] = [row[0][0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", ())
        if "Relation Name" in node:
            planned.scanned.add((node["Schema"], node["Relation Name"]))
        for value in node.values():
            values = value if isinstance(value, list) else [value]
            planned.expressions += [each for each in values if isinstance(each, str)]


def _stream(session: Session, statement: str) -> Answer:
    """Run one query, a chunk of rows in memory at a time."""
    chunk = CHUNK_ROWS if capabilities.has_stream_chunked() else 1
    cursor = session.cursor()
    rows: list[tuple[object, ...]] = []
    count, columns = 0, 0
    names: tuple[str, ...] = ()
    origins: Sequence[tuple[int, int]] = ()
    for row in cursor.stream(statement.encode(), size=chunk):
        if count == 0:
            columns, names, origins = len(row), _names(cursor), _origins(cursor)
        if count < SAMPLE_ROWS:
            rows.append(row)
        count += 1
    is_single = (count, columns) == (1, 1)
    keys = key_columns(session, origins)
    return Answer(count, columns, rows[0][0] if is_single else None, names, tuple(rows), keys)


def _execute(session: Session, statement: str) -> list[Answer]:
    """Run what is no query, such as SET; SHOW returns something all the same."""
    # binary: the one way to send a statement without parameters by the protocol that takes one statement only.
    cursor = session.execute(statement.encode(), binary=True)
    if cursor.description is None:
        return []
    rows = cursor.fetchall()
    columns = len(cursor.description)
    value = rows[0][0] if (len(rows), columns) == (1, 1) else None
    return [Answer(len(rows), columns, value, _names(cursor), tuple(rows[:SAMPLE_ROWS]))]


def _names(cursor: psycopg.Cursor[Any]) -> tuple[str, ...]:
    return tuple(column.name for column in cursor.description or ())


def _origins(cursor: psycopg.Cursor[Any]) -> Sequence[tuple[int, int]]:
    """Return for each column the oid of its table and its number there; zeros where it is computed."""
    result = cursor.pgresult
    assert result is not None
    return [(result.ftable(number), result.ftablecol(number)) for number in range(result.nfields)]


def _text(value: object) -> str:
    return "NULL" if value is None else str(value)

"""No sequence gives out a value that a row has already: insertion would fail, long after the restore looked well.

A sequence belongs to a column that it is owned by (serial, identity), or whose default asks it. Behind is one whose
next values are in the column: only those that it will come to count, so that of two that share a column with odd and
even numbers none is behind. Where no unique index has the column, nothing collides: that is a warning. A sequence that
begins again when it has ended (CYCLE) comes to such values by design, and is not tested.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pgvault.checks.result import CheckResult, NotTested, unproven
from pgvault.drill.looks.sessions import DatabaseConnection, listed, look_at_each, seen
from pgvault.drill.restored import Restored
from pgvault.postgres.fingerprint import ask, number, quote, text

NAME = "sequences"
SEQUENCES = """
WITH belonging (sequence, owner, attnum) AS (
    SELECT d.objid, d.refobjid, d.refobjsubid FROM pg_depend d
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
       AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    UNION
    SELECT d.refobjid, a.adrelid, a.adnum FROM pg_depend d JOIN pg_attrdef a ON a.oid = d.objid
     WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
)
SELECT sn.nspname::text, s.relname::text, tn.nspname::text, t.relname::text, a.attname::text,
       q.seqincrement, q.seqmin, q.seqmax, q.seqcycle,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]))
  FROM belonging b
  JOIN pg_sequence q ON q.seqrelid = b.sequence
  JOIN pg_class s ON s.oid = b.sequence JOIN pg_namespace sn ON sn.oid = s.relnamespace
  JOIN pg_class t ON t.oid = b.owner JOIN pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = b.attnum
  JOIN pg_type type ON type.oid = a.atttypid
 WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relpersistence <> 't' AND type.typcategory = 'N'
 ORDER BY 1, 2, 3, 4, 5
"""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence and a column that it gives values to."""

    schema: str
    name: str
    table_schema: str
    table: str
    column: str
    increment: int
    min: int
    max: int
    is_cycling: bool
    is_unique: bool  # whether a unique index has the column

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def of(self) -> str:
        """The column, for people."""
        return f"{self.table_schema}.{self.table}.{self.column}"

    def next_value(self, last: int, *, is_called: bool) -> int:
        """Return what it gives out next, beyond its bounds when it has ended."""
        return last + self.increment if is_called else last

    def has_ended(self, following: int) -> bool:
        """Whether there is no such value any more."""
        return following > self.max if self.increment > 0 else following < self.min

    def question(self, following: int) -> str:
        """Return the query: how many of the values from there on the column has, and its furthest one."""
        column = quote(self.column)
        between = f"{column} BETWEEN {following} AND {self.max}"
        furthest = f"max({column})"
        if self.increment < 0:
            between, furthest = f"{column} BETWEEN {self.min} AND {following}", f"min({column})"
        met = f"({column}::numeric - {following}) % {abs(self.increment)} = 0"
        table = f"{quote(self.table_schema)}.{quote(self.table)}"
        return f"SELECT count(*) FILTER (WHERE {between} AND {met}), {furthest}::text FROM {table}"


def sequences(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Compare every sequence with the columns that it gives values to."""
    yield from look_at_each(restored, NAME, _look)


def _look(connection: DatabaseConnection, database: str) -> Iterator[CheckResult | NotTested]:
    began = time.monotonic()
    found = [_sequence(row) for row in ask(connection, SEQUENCES)]
    behind: dict[bool, list[str]] = {True: [], False: []}  # by whether values must be unique
    ended, ahead, proven = [], 0, 0
    for each in found:
        if each.is_cycling:
            yield NotTested(f"sequence {each} in database {database!r}: it begins again when it has ended")
            continue
        ((last, is_called),) = ask(
            connection, f"SELECT last_value, is_called FROM {quote(each.schema)}.{quote(each.name)}"
        )
        following = each.next_value(number(last), is_called=bool(is_called))
        if each.has_ended(following):
            ended.append(f"{each} of {each.of}")
            continue
        ((met, furthest),) = ask(connection, each.question(following))
        if number(met):
            told = f"{each} goes on with {following}, and {each.of} has {met} of the values from there on"
            behind[each.is_unique].append(f"{told}, the furthest {text(furthest)}")
        else:
            ahead += 1
            proven += furthest is not None
    for is_unique, names in behind.items():
        if names:
            name = "sequences_behind" if is_unique else "sequences_behind_without_key"
            result = seen(name, database, names, listed(names), began=began)
            yield result if is_unique else replace(result, severity="warning")
    if ended:
        told = f"no value is left in {listed(ended)}"
        yield replace(seen("sequences_ended", database, ended, told, began=began), severity="warning")
    if proven:
        told = f"{ahead} of {len(found)} sequences are ahead of their columns"
        told += f"; {ahead - proven} columns are empty" if ahead > proven else ""
        yield seen(NAME, database, (), told, began=began)
    elif ahead:
        yield unproven(f"{NAME}:{database}", f"the columns of {ahead} sequences are empty")


def _sequence(row: tuple[object, ...]) -> Sequence:
    schema, name, table_schema, table, column, increment, lowest, highest, is_cycling, is_unique = row
    return Sequence(
        schema=text(schema),
        name=text(name),
        table_schema=text(table_schema),
        table=text(table),
        column=text(column),
        increment=number(increment),
        min=number(lowest),
        max=number(highest),
        is_cycling=bool(is_cycling),
        is_unique=bool(is_unique),
    )

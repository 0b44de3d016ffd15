"""The constraints of one database, as its catalog has them: who promises what of which rows.

    rules of one row    not-null, CHECK, those of domains, bounds of partitions      asked of the tables with rows
    keys                every unique index: primary keys, constraints, bare ones     asked of a partitioned table
    foreign keys        from rows to rows of another table                           as a whole, once

Expressions are deparsed with nothing but pg_catalog in the search path, so that every other name in them is qualified.
Only the catalog is read. Left out are temporary and foreign tables, and PostgreSQL's own. What is no promise (NOT
ENFORCED), and what one query can not count (exclusion constraints, temporal keys, operator classes that are not their
type's), is returned as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from pgvault.checks import constraintqueries as queries
from pgvault.postgres.fingerprint import ask, number, quote, text

DatabaseConnection = psycopg.Connection[tuple[object, ...]]


class Kind(StrEnum):
    """What sort of promise it is; results are told by it."""

    NOT_NULL = "not_null"
    CHECK = "check_constraints"
    UNIQUE = "unique"
    FOREIGN_KEY = "foreign_keys"


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or a partitioned one."""

    oid: int
    schema: str
    name: str
    is_partitioned: bool  # has no rows of its own
    is_partition: bool
    root: int | None  # oid of the whole partitioned table that it is, or is of
    has_foreign: bool  # some of its partitions lie on another server
    has_heirs: bool  # tables inherit from it, or did
    key: tuple[str, ...]  # columns of its primary key

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """As SQL names it."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def rows(self) -> str:
        """What to read for its rows, and for no rows of tables that inherit from it."""
        return self.quoted if self.is_partitioned else f"ONLY {self.quoted}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What each row has to keep by itself."""

    kind: Kind
    table: Table
    name: str
    broken: str  # SQL: true for a row that breaks it
    column: str | None = None  # where it is about one column
    is_validated: bool = True  # rows from before it was made were looked at
    is_inherited: bool = False  # a partition's, because the whole table has it
    expression: str | None = None  # of a table's CHECK: what must not be false


@dataclass(frozen=True, slots=True)
class Key:
    """A unique index."""

    table: Table
    name: str
    expressions: tuple[str, ...]  # SQL
    columns: tuple[str, ...]  # their names; empty where one of them is an expression
    predicate: str | None  # SQL, of a partial index
    are_nulls_equal: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Rows that have to have a partner."""

    table: Table
    name: str
    columns: tuple[str, ...]
    target: Table
    target_columns: tuple[str, ...]
    operators: tuple[str, ...]  # SQL: target's column, operator, column
    collations: tuple[str, ...]  # SQL, with which both are compared; "" where they have the same one
    is_full: bool  # MATCH FULL: NULL in all columns or in none
    is_validated: bool


@dataclass(frozen=True, slots=True)
class Constraints:
    """All of them."""

    tables: Mapping[int, Table]
    rules: tuple[Rule, ...]
    keys: tuple[Key, ...]
    foreign_keys: tuple[ForeignKey, ...]
    untested: tuple[str, ...]  # which are not asked, and why


def read_constraints(connection: DatabaseConnection) -> Constraints:
    """Read the catalog of the database; the session's search_path has to be pg_catalog. Raises psycopg.Error."""
    is_18 = connection.info.server_version >= 180000
    names = {"enforced": "con.conenforced" if is_18 else "true", "period": "con.conperiod" if is_18 else "false"}
    tables = {table.oid: table for table in map(_table, ask(connection, queries.TABLES))}
    untested: list[str] = []

    def rows_of(query: str) -> list[tuple[Table, tuple[object, ...]]]:
        """Each row without its first column, an oid, which becomes the table."""
        found = ask(connection, query.format_map(names))
        return [(tables[number(row[0])], row[1:]) for row in found if row[0] in tables]

    rules = [_not_null(table, row) for table, row in rows_of(queries.NOT_NULL)]
    for table, row in rows_of(queries.CHECKS):
        rules += _check(table, row, untested)
    for table, row in rows_of(queries.DOMAINS):
        rules += _domain(table, row)
    for table, (bound,) in rows_of(queries.PARTITION_BOUNDS):
        rules.append(Rule(Kind.CHECK, table, "its partition bound", f"({text(bound)}) IS FALSE", is_inherited=True))
    keys = []
    for table, row in rows_of(queries.KEYS):
        keys += _key(table, row, untested)
    foreign_keys = []
    for table, row in rows_of(queries.FOREIGN_KEYS):
        foreign_keys += _foreign_key(table, tables, row, untested)
    for table, (name,) in rows_of(queries.EXCLUSIONS):
        untested.append(f"{table} {text(name)}: rows that exclude each other would all have to be compared")
    for table, (name,) in rows_of(queries.NESTED_DOMAINS):
        untested.append(f"{table} {text(name)}: a domain inside of an array or a row")
    return Constraints(tables, tuple(rules), tuple(keys), tuple(foreign_keys), tuple(untested))


def is_null(expression: str) -> str:
    """Return SQL that is true for NULL, whatever the type. From 17 on `IS NULL` believes the catalog, and reads none.

    A row that has nothing but NULLs in it is none, here as in a constraint.
    """
    return f"num_nulls({expression}) = 1"


def _table(row: Sequence[object]) -> Table:
    oid, schema, name, kind, is_partition, root, has_foreign, has_heirs, key = row
    return Table(
        oid=number(oid),
        schema=text(schema),
        name=text(name),
        is_partitioned=text(kind) == "p",
        is_partition=bool(is_partition),
        root=None if root is None else number(root),
        has_foreign=bool(has_foreign),
        has_heirs=bool(has_heirs),
        key=_texts(key),
    )


def _not_null(table: Table, row: Sequence[object]) -> Rule:
    column, name, is_validated = row
    named = f"{text(column)} not null" if name is None else text(name)
    broken = is_null(quote(text(column)))
    is_inherited = table.is_partition
    return Rule(Kind.NOT_NULL, table, named, broken, text(column), bool(is_validated), is_inherited)


def _check(table: Table, row: Sequence[object], untested: list[str]) -> list[Rule]:
    name, expression, is_validated, is_inherited, is_enforced = row
    if not is_enforced:
        untested.append(f"{table} {text(name)}: NOT ENFORCED")
        return []
    kept = text(expression)
    inherited = table.is_partition and bool(is_inherited)
    return [Rule(Kind.CHECK, table, text(name), f"({kept}) IS FALSE", None, bool(is_validated), inherited, kept)]


def _domain(table: Table, row: Sequence[object]) -> list[Rule]:
    """A constraint of a column's domain. In its text the column is called VALUE."""
    column, domain, base, name, expression, is_validated, is_not_null = row
    quoted = quote(text(column))
    inherited = table.is_partition
    rules = []
    if is_not_null:
        named = f"{text(column)} not null by its domain {text(domain)}"
        rules.append(Rule(Kind.NOT_NULL, table, named, is_null(quoted), text(column), is_inherited=inherited))
    if expression is not None:
        value = f"(SELECT {quoted}::{text(base)} AS value) AS domain"
        broken = f"(SELECT {text(expression)} FROM {value}) IS FALSE"
        named = f"{text(column)} {text(name)} of domain {text(domain)}"
        rules.append(Rule(Kind.CHECK, table, named, broken, text(column), bool(is_validated), inherited))
    return rules


def _key(table: Table, row: Sequence[object], untested: list[str]) -> list[Key]:
    name, expressions, columns, predicate, are_nulls_equal, is_usual, is_exclusion = row
    if is_exclusion:
        return []  # EXCLUSIONS has it
    if not is_usual:
        untested.append(f"{table} {text(name)}: an operator class that is not its type's own")
        return []
    if table.has_foreign:
        untested.append(f"{table} {text(name)}: some partitions lie on another server")
        return []
    predicated = None if predicate is None else text(predicate)
    return [Key(table, text(name), _texts(expressions), _texts(columns), predicated, bool(are_nulls_equal))]


def _foreign_key(
    table: Table, tables: Mapping[int, Table], row: Sequence[object], untested: list[str]
) -> list[ForeignKey]:
    name, target_oid, match, is_validated, is_enforced, is_period, columns, target_columns, operators, collations = row
    target = tables.get(number(target_oid))
    why = None
    if not is_enforced:
        why = "NOT ENFORCED"
    elif is_period:
        why = "the ranges of several rows would have to be put together"
    elif target is None or table.has_foreign or target.has_foreign:
        why = "some of its rows lie on another server"
    if why is not None or target is None:
        untested.append(f"{table} {text(name)}: {why}")
        return []
    return [
        ForeignKey(
            table=table,
            name=text(name),
            columns=_texts(columns),
            target=target,
            target_columns=_texts(target_columns),
            operators=_texts(operators),
            collations=_texts(collations),
            is_full=text(match) == "f",
            is_validated=bool(is_validated),
        )
    ]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text(each) for each in value) if isinstance(value, list) else ()

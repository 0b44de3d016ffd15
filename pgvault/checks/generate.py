"""The constraints of a live server as checks to be edited: what `pgvault checks generate` prints.

A constraint that one of the types of checks says in full becomes one of that type; any other one becomes its query
(constraintsql.py). Rows of partitions are looked at as rows of their whole table, so a partition has no checks but of
what it alone promises. A check of a table that is empty by now passes over an empty one (`allow_empty`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import yaml

from pgvault.checks import constraintsql as sql
from pgvault.checks.constraints import (
    Constraints,
    DatabaseConnection,
    ForeignKey,
    Key,
    Kind,
    Rule,
    Table,
    read_constraints,
)
from pgvault.postgres.fingerprint import ask, number

EMPTY = """
SELECT c.oid::bigint FROM pg_class c
 WHERE (c.relkind = 'r' AND pg_relation_size(c.oid) = 0)
    OR (c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) part
                                         WHERE part.isleaf AND pg_relation_size(part.relid) > 0))
"""

WHOLE_ROW = re.compile(r"\.\*|\btableoid\b")  # what an expression can say of a table, and not of a query

Document = dict[str, Any]


def generate(connection: DatabaseConnection, database: str) -> tuple[list[Document], tuple[str, ...]]:
    """Return the checks of a database, and which constraints have none. Reads no rows; raises psycopg.Error."""
    constraints = read_constraints(connection)
    empty = {number(oid) for (oid,) in ask(connection, EMPTY)}
    return list(documents(constraints, database, empty)), constraints.untested


def documents(constraints: Constraints, database: str, empty: Collection[int] = ()) -> Iterator[Document]:
    """Yield the constraints as checks, table by table."""
    rules: dict[int, list[Rule]] = {}
    for rule in constraints.rules:
        if not rule.is_inherited and not (rule.table.has_foreign and rule.table.is_partitioned):
            rules.setdefault(rule.table.oid, []).append(rule)
    wider: dict[int, list[Key | ForeignKey]] = {}
    every: list[Key | ForeignKey] = [*constraints.keys, *constraints.foreign_keys]
    for each in every:
        wider.setdefault(each.table.oid, []).append(each)
    for table in constraints.tables.values():
        known: Document = {"database": database} | ({"allow_empty": True} if table.oid in empty else {})
        for document in (*_of_rules(table, rules.get(table.oid, ())), *map(_of_wider, wider.get(table.oid, ()))):
            name, type_ = document.pop("name"), document.pop("type")
            yield {"name": name, "type": type_} | known | document


def as_yaml(checks: Sequence[Document], untested: Sequence[str] = ()) -> str:
    """Return checks as they stand in a configuration, and what has none as comments."""
    comments = "".join(f"# no check for {line}\n" for each in untested for line in [" ".join(each.split())])
    return comments + yaml.safe_dump({"checks": list(checks)}, sort_keys=False, allow_unicode=True, width=110)


def _of_rules(table: Table, rules: Sequence[Rule]) -> Iterator[Document]:
    by_itself = not table.has_heirs  # a type's query reads the rows of heirs, too
    not_null = [rule.column for rule in rules if rule.kind is Kind.NOT_NULL and rule.is_validated and rule.column]
    if by_itself and not_null:
        yield {
            "name": f"not_null {table}",
            "type": "completeness",
            "table": _named(table),
            "columns": list(dict.fromkeys(not_null)),
        }
    for rule in rules:
        if not (by_itself and rule.kind is Kind.NOT_NULL and rule.is_validated):
            yield _of_rule(rule)


def _of_rule(rule: Rule) -> Document:
    name = f"{'not_null' if rule.kind is Kind.NOT_NULL else 'check'} {rule.table}.{rule.name}"
    if rule.expression is None or rule.table.has_heirs or WHOLE_ROW.search(rule.expression):
        query = f"SELECT count(*) FROM {rule.table.rows} WHERE {rule.broken}"
        return _query(name, query, is_validated=rule.is_validated)
    return {
        "name": name,
        "type": "cross_field",
        **_severity(is_validated=rule.is_validated),
        "table": _named(rule.table),
        "expression": rule.expression,
    }


def _of_wider(each: Key | ForeignKey) -> Document:
    return _of_key(each) if isinstance(each, Key) else _of_foreign_key(each)


def _of_key(key: Key) -> Document:
    name = f"unique {key.table}.{key.name}"
    if not key.columns or key.are_nulls_equal or key.table.has_heirs or _has_collation(key):
        return _query(name, sql.ask_key(key))
    narrowed = {} if key.predicate is None else {"where": key.predicate}
    return {
        "name": name,
        "type": "uniqueness",
        "table": _named(key.table),
        "columns": list(key.columns),
        **narrowed,
    }


def _of_foreign_key(key: ForeignKey) -> Document:
    name = f"foreign_key {key.table}.{key.name}"
    is_plain = set(key.operators) == {"="} and not any(key.collations) and not (key.is_full and len(key.columns) > 1)
    if not is_plain or key.table.has_heirs or key.target.has_heirs:
        return _query(name, sql.ask_foreign_key(key), is_validated=key.is_validated)
    return {
        "name": name,
        "type": "referential",
        **_severity(is_validated=key.is_validated),
        "table": _named(key.table),
        "columns": list(key.columns),
        "references": {"table": _named(key.target), "columns": list(key.target_columns)},
    }


def _query(name: str, query: str, *, is_validated: bool = True) -> Document:
    return {"name": name, "type": "sql", **_severity(is_validated=is_validated), "query": query, "measure": "value"}


def _severity(*, is_validated: bool) -> Document:
    return {} if is_validated else {"severity": "warning"}


def _has_collation(key: Key) -> bool:
    """Whether the index compares in another way than its columns do."""
    return any(" COLLATE " in expression for expression in key.expressions)


def _named(table: Table) -> str | list[str]:
    """Return the table as an operator writes it; as a list of its parts where a dot or a quote would mislead."""
    parts = [table.schema, table.name]
    return parts if any({".", '"'} & set(part) for part in parts) else ".".join(parts)

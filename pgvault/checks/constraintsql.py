"""The queries that a constraint becomes: how many rows break it, and which.

    rules of one table     SELECT count(*), count(*) FILTER (WHERE broken), …            one pass over the table
    a key                  GROUP BY its columns HAVING count(*) > 1                      rows with a NULL are free
    a foreign key          LEFT JOIN target … WHERE the target's column IS NULL          MATCH FULL: no NULL is free

They are as PostgreSQL itself would look (a foreign key's is that of ADD CONSTRAINT), with ONLY where rows of inheriting
tables are not meant. Offending rows are told by their primary key, else by where they lie; by nothing else of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgvault.checks.constraints import ForeignKey, Key, Rule, Table
from pgvault.checks.query import NO_INDEXES
from pgvault.checks.result import SAMPLE_ROWS
from pgvault.postgres.fingerprint import quote

# No index is believed, and no constraint: a planner that takes one for granted finds no row that breaks it.
SETTINGS: Mapping[str, str] = {
    **NO_INDEXES,
    "enable_nestloop": "off",  # without statistics it might be taken, and without an index it never ends
    "constraint_exclusion": "off",
    "enable_partition_pruning": "off",
    "work_mem": "64MB",
    "standard_conforming_strings": "on",
}
RULES_AT_ONCE = 500  # a result has 1664 columns at most


def ask_rules(table: Table, rules: Sequence[Rule]) -> str:
    """Return the query for the table's rows, and how many of them break each rule."""
    counts = [f"count(*) FILTER (WHERE {rule.broken})" for rule in rules]
    return f"SELECT {', '.join(['count(*)', *counts])} FROM {table.rows}"


def sample_rule(rule: Rule) -> str:
    """Return the query for some of the rows that break a rule."""
    return f"SELECT {_shown(_identity(rule.table))} FROM {rule.table.rows} WHERE {rule.broken} LIMIT {SAMPLE_ROWS}"


def ask_key(key: Key) -> str:
    """Return the query for the number of values that several rows have."""
    return f"SELECT count(*) FROM ({duplicates(key, 'count(*)')}) AS duplicates"


def sample_key(key: Key) -> str:
    """Return the query for some of those rows."""
    said = "concat(min(row_identity), ' and ', count(*) - 1, ' more')"
    return f"{duplicates(key, _shown(said), with_identity=True)} LIMIT {SAMPLE_ROWS}"


def duplicates(key: Key, wanted: str, *, with_identity: bool = False) -> str:
    """Return the query that gives `wanted` for each value that several rows have."""
    # OFFSET keeps the two apart: a planner that knows the key to be unique would leave some of its columns out.
    names = [f"part{number}" for number in range(1, len(key.expressions) + 1)]
    parts = [f"{expression} AS {name}" for expression, name in zip(key.expressions, names, strict=True)]
    parts += [f"{_identity(key.table)} AS row_identity"] if with_identity else []
    conditions = [] if key.predicate is None else [f"({key.predicate})"]
    conditions += [] if key.are_nulls_equal else [f"num_nulls({', '.join(key.expressions)}) = 0"]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    inner = f"SELECT {', '.join(parts)} FROM {key.table.rows}{where} OFFSET 0"
    return f"SELECT {wanted} FROM ({inner}) AS keys GROUP BY {', '.join(names)} HAVING count(*) > 1"


def ask_foreign_key(key: ForeignKey) -> str:
    """Return the query for the number of rows without a partner."""
    return f"SELECT count(*) FROM {orphans(key)}"


def sample_foreign_key(key: ForeignKey) -> str:
    """Return the query for some of those rows."""
    return f"SELECT {_shown(_identity(key.table, 'this'))} FROM {orphans(key)} LIMIT {SAMPLE_ROWS}"


def orphans(key: ForeignKey) -> str:
    """Return what follows FROM: the rows without a partner, as `this`."""
    pairs = zip(key.target_columns, key.operators, key.columns, key.collations, strict=True)
    joined = [f"that.{quote(there)} {operator} this.{quote(here)}{coll}" for there, operator, here, coll in pairs]
    some = " OR " if key.is_full else " AND "
    given = some.join(f"this.{quote(column)} IS DISTINCT FROM NULL" for column in key.columns)
    missing = f"that.{quote(key.target_columns[0])} IS NULL"
    return (
        f"{key.table.rows} AS this LEFT JOIN {key.target.rows} AS that ON {' AND '.join(joined)}"
        f" WHERE {missing} AND ({given})"
    )


def _identity(table: Table, alias: str | None = None) -> str:
    """Return SQL for what a row is called."""
    prefix = "" if alias is None else f"{alias}."
    if table.key:
        return f"concat_ws(', ', {', '.join(f'{_literal(name)} || {prefix}{quote(name)}::text' for name in table.key)})"
    # A row of a partitioned table without a primary key: where it lies, and in which partition.
    where = f"{prefix}tableoid::regclass::text || ' '" if table.is_partitioned else "''"
    return f"concat({where}, 'row at ', {prefix}ctid::text)"


def _shown(said: str) -> str:
    """Return SQL for a text as bytes, shortened: a row that is broken may hold what is no text."""
    return f"convert_to(left({said}, 500), getdatabaseencoding())"


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + " = '"

"""Which tables a check looked at, and whether there was anything in them: no rows prove nothing.

The plan names what it scans. Where it scans nothing, though a table was asked (a constraint answered, every partition
was pruned, a function did the reading), the locks that our own transaction holds by then name what was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgvault.checks.session import Session
from pgvault.checks.sql import calls

# Partitions count through their root: it is all one which of them a query is after.
ROOTS = """
SELECT DISTINCT n.nspname, r.relname, r.relkind = 'p'
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_class r ON r.oid = coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_namespace o ON o.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {which} ORDER BY 1, 2
"""
SCANNED = "(o.nspname::text, c.relname::text) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
LOCKED = """
c.relkind IN ('r', 'p', 'f', 'm') AND o.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.oid IN (
    SELECT relation FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation'
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
"""
CATALOGS = frozenset({"pg_catalog", "information_schema"})
FUNCTIONS = """
SELECT p.proname, coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = ANY (%s) AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, partitioned or not, or a materialized view."""

    schema: str
    name: str
    is_partitioned: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def scanned_tables(session: Session, scanned: Iterable[tuple[str, str]]) -> list[Table]:
    """Return the tables of a plan, temporary ones left out. Raises psycopg.Error."""
    pairs = sorted(scanned)
    if not pairs:
        return []
    schemas, names = ([pair[at] for pair in pairs] for at in (0, 1))
    rows = session.execute(ROOTS.format(which=SCANNED).encode(), [schemas, names]).fetchall()
    return [Table(*row) for row in rows]


def own_tables(tables: Sequence[Table]) -> Sequence[Table]:
    """Return those of the database itself; PostgreSQL's own, which never are empty, where there is nothing else."""
    return [table for table in tables if table.schema not in CATALOGS] or tables


def locked_tables(session: Session) -> list[Table]:
    """Return the tables that this transaction has asked for anything, whether or not it read them."""
    return [Table(*row) for row in session.execute(ROOTS.format(which=LOCKED).encode()).fetchall()]


def holds_rows(session: Session, tables: Sequence[Table]) -> bool | None:
    """Tell whether one of these tables has a row; None where that can not be said, for want of a grant or of time."""
    try:
        for table in tables:
            # A partitioned table has its rows in its partitions; any other's children are tables of their own.
            only = sql.SQL("" if table.is_partitioned else "ONLY ")
            question = sql.SQL("SELECT EXISTS (SELECT 1 FROM {only}{table})").format(
                only=only, table=sql.Identifier(table.schema, table.name)
            )
            row = session.execute(question).fetchone()
            if row is not None and row[0]:
                return True
    except psycopg.Error:
        return None
    return False


def called_functions(session: Session, texts: Iterable[str]) -> dict[str, str]:
    """Return the bodies of functions that are not PostgreSQL's own, by name: those called, and what they call."""
    wanted = {name for text in texts for name in calls(text)}
    known: dict[str, str] = {}
    asked: set[str] = set()
    while new := wanted - asked:
        asked |= new
        rows = session.execute(FUNCTIONS, [sorted(new)]).fetchall()
        for name, body in rows:
            known[name] = f"{known.get(name, '')}\n{body}"
            wanted |= calls(body)
    return known

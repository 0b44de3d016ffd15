"""Indexes that PostgreSQL itself does not believe, and constraints that it never checked.

An index is not valid after CREATE INDEX CONCURRENTLY failed, or was under way at the moment that was restored to.
REINDEX CONCURRENTLY works beside a valid index, under a name of its own (_ccnew, _ccold): that is a warning.
Constraints that are NOT VALID are told, nothing more; whether rows break them is another look (derived.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

from pgvault.checks.result import CheckResult, NotTested
from pgvault.drill.looks.sessions import DatabaseConnection, listed, look_at_each, seen
from pgvault.drill.restored import Restored
from pgvault.postgres.fingerprint import ask, text

PASSING = re.compile(r"_cc(new|old)\d*")  # at the end of a name
INDEXES = """
SELECT n.nspname::text, c.relname::text, t.relname::text, i.indisvalid, i.indisready, i.indislive
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class t ON t.oid = i.indrelid
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_temp' AND c.relpersistence <> 't'
   AND (n.nspname <> 'pg_toast' OR i.indrelid >= 16384)
 ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT CASE con.conrelid WHEN 0 THEN con.contypid::regtype::text ELSE con.conrelid::regclass::text END,
       con.conname::text, con.convalidated
  FROM pg_constraint con JOIN pg_namespace n ON n.oid = con.connamespace
 WHERE con.contype IN ('c', 'f', 'n') AND con.conparentid = 0
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY 1, 2
"""


def validity(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Look at what the catalog says of every index and every constraint."""
    yield from look_at_each(restored, "indexes", _indexes)
    yield from look_at_each(restored, "constraints", _constraints)


def _indexes(connection: DatabaseConnection, database: str) -> Iterator[CheckResult]:
    began = time.monotonic()
    rows = ask(connection, INDEXES)
    invalid: list[str] = []
    passing: list[str] = []
    for schema, name, table, is_valid, is_ready, is_live in rows:
        if is_valid and is_ready and is_live:
            continue
        state = "being dropped" if not is_live else "not ready" if not is_ready else "not valid"
        told = f"{text(schema)}.{text(name)} of {text(table)} is {state}"
        (passing if PASSING.search(text(name)) else invalid).append(told)
    if invalid:
        yield seen("invalid_indexes", database, invalid, listed(invalid), began=began)
    if passing:
        yield replace(seen("passing_indexes", database, passing, listed(passing), began=began), severity="warning")
    if valid := len(rows) - len(invalid) - len(passing):
        yield seen("indexes", database, (), f"{valid} of {len(rows)} indexes are valid", began=began)


def _constraints(connection: DatabaseConnection, database: str) -> Iterator[CheckResult]:
    began = time.monotonic()
    rows = ask(connection, CONSTRAINTS)
    names = [f"{text(of)}.{text(name)}" for of, name, is_validated in rows if not is_validated]
    if names:
        result = seen("unvalidated_constraints", database, names, f"NOT VALID: {listed(names)}", began=began)
        yield replace(result, severity="info")

"""What no look can see, though it is there: said by name, so that nobody takes it for tested.

Databases that accept no connections, and indexes of kinds that pg_amcheck passes over (it knows btrees alone).
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from pgvault.checks.result import CheckResult, NotTested
from pgvault.drill.looks.sessions import DatabaseConnection, listed, look_at_each
from pgvault.drill.restored import Restored
from pgvault.postgres.fingerprint import ask, text

NAME = "unseen"
CLOSED = """
SELECT datname FROM pg_database WHERE NOT (datallowconn AND datconnlimit <> -2) AND datname <> 'template0' ORDER BY 1
"""
OTHER_INDEXES = """
SELECT a.amname::text, array_agg(format('%I.%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'i' AND a.amname <> 'btree' AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
 GROUP BY a.amname ORDER BY a.amname
"""


def unseen(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Say what is there and was not looked into."""
    with psycopg.connect(restored.dsn, autocommit=True) as connection:
        for (name,) in connection.execute(CLOSED).fetchall():
            yield NotTested(f"database {name!r}, which accepts no connections")
    yield from look_at_each(restored, NAME, _indexes)


def _indexes(connection: DatabaseConnection, database: str) -> Iterator[NotTested]:
    for kind, names in ask(connection, OTHER_INDEXES):
        found = [text(name) for name in names] if isinstance(names, list) else []
        what = f"the structure of {len(found)} {text(kind)} indexes in database {database!r}"
        yield NotTested(f"{what}, which pg_amcheck does not know: {listed(found)}")

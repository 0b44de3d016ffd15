"""A cluster without a row is no proof: over nothing everything is true, and it may be the wrong server's backup.

Tables that came with an extension do not count: whoever installs it has them.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from pgvault.checks.result import CheckResult, Origin
from pgvault.drill.looks.sessions import LOCK_TIMEOUT
from pgvault.drill.restored import Restored
from pgvault.errors import DrillNotRun
from pgvault.postgres.fingerprint import ask, prepare, quote, text

TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
 ORDER BY c.relpages DESC, c.oid
"""
LARGE_OBJECTS = "pg_catalog.pg_largeobject_metadata"


def require_rows(restored: Restored, checks: list[CheckResult]) -> None:
    """Raise DrillNotRun where there is no row in any database, unless a check that was configured passed all the same.

    What failed comes first: a drill that found something wrong is not asked for rows.
    """
    is_told = any(check.passed and check.origin is Origin.CONFIGURED for check in checks)
    if is_told or any(check.failed and check.is_blocking for check in checks):
        return
    try:
        if any(_holds_rows(restored, database) for database in restored.databases):
            return
    except psycopg.Error:  # whatever can not be read is there
        return
    raise DrillNotRun(
        "no table of any database holds a row at that moment, so nothing was proven about data",
        hint="Is it the right server that is backed up? A check with allow_empty: true says that it may be empty.",
    )


def _holds_rows(restored: Restored, database: str) -> bool:
    with psycopg.connect(restored.dsn, dbname=database, autocommit=True) as connection:
        prepare(connection, lock_timeout=LOCK_TIMEOUT)
        return any(_is_there(connection, source) for source in _sources(connection))


def _sources(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    for schema, name in ask(connection, TABLES):
        yield f"ONLY {quote(text(schema))}.{quote(text(name))}"
    yield LARGE_OBJECTS


def _is_there(connection: psycopg.Connection[tuple[object, ...]], source: str) -> bool:
    return bool(ask(connection, f"SELECT FROM {source} LIMIT 1"))

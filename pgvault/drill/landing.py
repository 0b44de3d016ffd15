"""Between which commits a drill landed, told with the names that tables have in the restored server."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from pgvault.postgres.waldump import RelationFile
from pgvault.recovery.plan import RestorePlan
from pgvault.recovery.touched import Names, NextCommit, landing_line

TABLES = b"""
SELECT d.oid::bigint, pg_relation_filenode(c.oid)::bigint, n.nspname::text || '.' || c.relname::text
  FROM pg_database d, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE d.datname = current_database() AND c.oid >= 16384
   AND pg_relation_filenode(c.oid) = ANY (%s::bigint[]::oid[])
"""


def tell_landed(plan: RestorePlan, found: NextCommit | None, dsn: str, databases: Sequence[str]) -> str:
    """Return the line. Raises psycopg.Error when the restored server does not answer."""
    files = set() if found is None else found.changes.changed | found.changes.removed
    tables: dict[RelationFile, str] = {}
    for database in databases if files else ():
        with psycopg.connect(dsn, dbname=database, autocommit=True) as connection:
            rows = connection.execute(TABLES, [sorted(file.number for file in files)]).fetchall()
        tables |= {RelationFile(int(oid), int(number)): str(name) for oid, number, name in rows}
    return landing_line(plan, found, Names(tables))

"""Every database answers."""

from __future__ import annotations

from dataclasses import replace

import psycopg

from pgvault.checks.measure import run_check
from pgvault.checks.result import CheckResult, Origin
from pgvault.config import CheckConfig

# Not what an interrupted DROP DATABASE left (-2): nobody can connect to that at the source either.
DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY oid"


def connecting_databases(dsn: str) -> list[str]:
    """Return the names of the databases that accept connections. Raises psycopg.Error."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return [str(name) for (name,) in connection.execute(DATABASES).fetchall()]


def connects(dsn: str, databases: list[str]) -> list[CheckResult]:
    """Connect to every database; each is a check of its own."""
    results = []
    for name in databases:
        check = CheckConfig(name=f"connects:{name}", query="SELECT 0", measure="value", allow_empty=True)
        results.append(replace(run_check(dsn, check, database=name), origin=Origin.BUILT_IN))
    return results

"""The session of one check: a transaction that can only read, waits for nobody for long, and ends with us.

    BEGIN REPEATABLE READ, READ ONLY ─► limits, for this transaction alone ─► the check's statements ─► ROLLBACK

All statements of a check see one moment. The limits belong to the transaction, so that they hold behind a pooler, too.
A lock that somebody else holds is waited for `LOCK_TIMEOUT_SECONDS`: whoever waits for a lock makes others wait behind
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.string import TextLoader

from pgvault.checks.query import Query

APPLICATION_NAME = "pgvault checks"
LOCK_TIMEOUT_SECONDS = 5
IDLE_TIMEOUT_SECONDS = 60
CONNECT_SECONDS = 10
# A query that nobody waits for any more (pgvault was killed) ends by itself; servers elsewhere can not look.
ENDS_WITH_US = b"""
SELECT pg_catalog.set_config('client_connection_check_interval', '5s', true)
WHERE pg_catalog.version() ~ '(linux|darwin|bsd)'
"""
TIMES = ("date", "interval", "time", "timestamp", "timestamptz", "timetz")  # 'infinity' is no date of Python's

Session = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def reading(dsn: str, query: Query, *, database: str | None, timeout: timedelta) -> Iterator[Session]:
    """Open a session in that transaction; a statement of it may take `timeout`. Raises psycopg.Error."""
    parameters = conninfo_to_dict(dsn)
    parameters.setdefault("connect_timeout", CONNECT_SECONDS)
    if database is not None:
        parameters["dbname"] = database
    # The query is sent as UTF-8, also to a database in another encoding.
    parameters["client_encoding"] = "UTF8"
    with psycopg.connect(make_conninfo("", **parameters), autocommit=True) as session:
        for name in TIMES:
            session.adapters.register_loader(name, TextLoader)
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for name, value in {**_limits(timeout), **query.settings}.items():
            # A query: once it has run, the transaction can not be made to write any more.
            session.execute("SELECT set_config(%s, %s, true)", [name, value])
        session.execute(ENDS_WITH_US)
        try:
            yield session
        finally:
            if not session.closed:
                session.execute("ROLLBACK")


def _limits(timeout: timedelta) -> dict[str, str]:
    return {
        "application_name": APPLICATION_NAME,
        "statement_timeout": f"{max(1, round(timeout.total_seconds() * 1000))}ms",
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_SECONDS}s",
        "default_transaction_read_only": "on",
        "row_security": "off",  # an error, where a policy would hide rows
    }

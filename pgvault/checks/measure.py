"""Integrity queries: run one, measure what it returns, compare with its threshold.

    one row with one number     the number is the measure
    one row with one NULL       failed, unless the check says `null: pass`
    anything else               the number of rows is the measure (rows are what should not be there)

`measure: value` or `rows` overrules. Truth is no measure: whether `true` is good or bad only its author knows, so a
boolean fails, as do NaN, infinity and a text with several results. A check passes when its measure is at most its
threshold. A query that does not run (a table that is gone) fails: in a restored database that is a finding, not an
excuse. Sessions are read-only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg

from pgvault.checks.result import SAMPLE_ROWS, CheckResult, Origin, Verdict
from pgvault.config import CheckConfig

FETCH_ROWS = 1000
STATEMENT_TIMEOUT_SECONDS = 600
NULL = "NULL"


def run_check(dsn: str, check: CheckConfig, *, database: str) -> CheckResult:
    """Run one check in one database; never raises for what the query or the server says."""
    began = time.monotonic()
    try:
        # The query is sent as UTF-8, also to a database in another encoding.
        with psycopg.connect(dsn, dbname=database, autocommit=True, client_encoding="UTF8") as connection:
            connection.execute("SET default_transaction_read_only = on")
            connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'".encode())
            measured, sample, detail = _measure(connection, check)
    except psycopg.Error as error:
        measured, sample = None, ()
        detail = f"the query failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    is_null_passed = measured is None and detail == NULL and check.null == "pass"
    is_passed = is_null_passed or (measured is not None and measured <= check.threshold)
    return CheckResult(
        name=check.name,
        verdict=Verdict.PASSED if is_passed else Verdict.FAILED,
        measured=measured,
        threshold=check.threshold,
        severity=check.severity,
        detail=detail,
        seconds=time.monotonic() - began,
        database=database,
        sample=sample,
        origin=Origin.CONFIGURED,
    )


def _measure(connection: psycopg.Connection[Any], check: CheckConfig) -> tuple[float | None, tuple[str, ...], str]:
    cursor = connection.execute(check.query.encode())
    has_more = _next_result(cursor) if cursor.description is None else True
    if not has_more:
        return None, (), "the query returned nothing that could be measured"
    rows: Sequence[Any] = cursor.fetchmany(FETCH_ROWS)
    is_single = len(rows) == 1 and len(rows[0]) == 1
    value = rows[0][0] if is_single else None
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    is_value = is_single and (is_number or value is None or isinstance(value, bool))
    measured: float | None
    sample: tuple[str, ...] = ()
    if check.measure == "value" and not is_single:
        measured, detail = None, f"the query returned {_shape(rows)}, not one number"
    elif check.measure == "value" or (check.measure == "auto" and is_value):
        measured, detail = _number(value)
    else:
        sample = tuple(str(row)[:500] for row in rows[:SAMPLE_ROWS])
        count = len(rows)
        while more := cursor.fetchmany(FETCH_ROWS):
            count += len(more)
        measured, detail = float(count), f"returned {count} rows"
    if _next_result(cursor):
        return None, (), "the query returned several results: write it as one statement"
    return measured, sample, detail


def _number(value: object) -> tuple[float | None, str]:
    if value is None:
        return None, NULL
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None, f"the query returned {type(value).__name__}, not a number"
    measured = float(value)
    return (measured, f"returned {value}") if math.isfinite(measured) else (None, f"the query returned {value}")


def _shape(rows: Sequence[Any]) -> str:
    columns = len(rows[0]) if rows else 0
    return f"{len(rows)} rows" if len(rows) != 1 else f"a row of {columns} columns"


def _next_result(cursor: psycopg.Cursor[Any]) -> bool:
    """Go on to the next result that has rows: `SET …; SELECT …` is one query to its author."""
    while cursor.nextset():
        if cursor.description is not None:
            return True
    return False

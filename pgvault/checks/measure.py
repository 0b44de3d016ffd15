"""Integrity queries: run one, measure what it returns, compare with its threshold.

    one row with one number     the number is the measure
    one row with one NULL       failed, unless the check says `null: pass`
    anything else               the number of rows is the measure (rows are what should not be there)

`measure: value` or `rows` overrules. Truth is no measure: whether `true` is good or bad only its author knows, so a
boolean fails, as do NaN, infinity and a text with several results. A check passes when its measure is at most its
threshold, and any of the tables that it asked holds a row: of nothing but empty tables everything is true. A query that
does not run (a table that is gone) fails: in a restored database that is a finding, not an excuse. Not proven is what a
lock held up, and what reads the wall clock where the data are of another moment. Sessions are read-only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from pgvault.checks.answer import Answer, Planned, ask
from pgvault.checks.clock import CLOCK, Unproven, moment_of, reads_wall_clock
from pgvault.checks.conclude import NULL, Found, conclude
from pgvault.checks.crosssystem import run_cross_system
from pgvault.checks.query import NOW, Moment, Query
from pgvault.checks.result import CheckResult
from pgvault.checks.scanned import Table, called_functions, holds_rows, locked_tables, own_tables, scanned_tables
from pgvault.checks.session import Session, reading
from pgvault.checks.types import query_of
from pgvault.config import AnyCheck, CheckBase, CrossSystemCheck

NO_SUBJECT = "no rows to check: none has the values that it is about"
UNREAD = "; no row was read, a constraint or a partition's bound had the answer"
NO_TABLE = "the query scans no table, so it says nothing about the data"


def run_check(dsn: str, check: AnyCheck, *, database: str | None, moment: Moment = NOW) -> CheckResult:
    """Run one configured check in one database; never raises for what the query or the server says."""
    if isinstance(check, CrossSystemCheck):
        return run_cross_system(dsn, check, database=database, moment=moment)
    return run_query(dsn, check, query_of(check), database=database, moment=moment)


def run_query(dsn: str, check: CheckBase, query: Query, *, database: str | None, moment: Moment = NOW) -> CheckResult:
    """Run the query that a check of whatever type became; never raises for what the query or the server says."""

    def look() -> Found:
        with reading(dsn, query, database=database, timeout=check.timeout) as session:
            return _look(session, check, query, moment)

    return conclude(check, look, database=database, is_null_passed=query.null == "pass")


def _look(session: Session, check: CheckBase, query: Query, moment: Moment) -> Found:
    at = moment_of(session, moment)
    text = at.put_into(query.text)
    planned = Planned()

    def looked(statement: str) -> None:
        if at.is_past and reads_wall_clock(session, statement, planned):
            raise Unproven(CLOCK, [str(table) for table in scanned_tables(session, planned.scanned)])

    answers = ask(session, text, planned, looked)
    found = _measure(answers, check, query)
    scanned = scanned_tables(session, planned.scanned)
    tables = scanned or locked_tables(session)
    is_unread = tables and not scanned and not called_functions(session, [text, *planned.expressions])
    if is_unread and found.measured is not None:
        found = replace(found, detail=f"{found.detail}{UNREAD}")
    flaw = None
    if found.measured is not None or found.detail == NULL:
        flaw = None if check.allow_empty else _emptiness(session, text, planned, tables)
    if flaw is None and query.subject is not None and not check.allow_empty:
        (subject,) = ask(session, at.put_into(query.subject), planned, looked)
        flaw = None if subject.value is True else NO_SUBJECT
    return replace(found, tables=tuple(str(table) for table in tables), flaw=flaw)


def _emptiness(session: Session, text: str, planned: Planned, tables: Sequence[Table]) -> str | None:
    """Return why a check proves nothing, for want of rows; None where there are some, or where that is not known."""
    if tables:
        asked = own_tables(tables)
        names = ", ".join(map(str, asked))
        return f"no rows to check in {names}" if holds_rows(session, asked) is False else None
    # A function may read what no plan and no lock shows.
    return None if called_functions(session, [text, *planned.expressions]) else NO_TABLE


def _measure(answers: Sequence[Answer], check: CheckBase, query: Query) -> Found:
    if not answers:
        return Found(None, "the query returned nothing that could be measured")
    if len(answers) > 1:
        return Found(None, "the query returned several results: write it as one statement")
    (answer,) = answers
    value = answer.value
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    is_value = answer.is_single and (is_number or value is None or isinstance(value, bool))
    if query.measure == "value" and not answer.is_single:
        return Found(None, f"the query returned {_shape(answer)}, not one number")
    if query.measure == "value" or (query.measure == "auto" and is_value):
        return _number(value)
    sample = answer.sample(is_all=check.show == "all")
    hidden = "" if sample or not answer.row_count else "; none of their columns is a key (show: all keeps them)"
    return Found(answer.row_count, f"returned {_rows(answer.row_count)}{hidden}", sample)


def _number(value: object) -> Found:
    if value is None:
        return Found(None, NULL)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return Found(None, f"the query returned {type(value).__name__}, not a number")
    measured = float(value)
    return (
        Found(measured, f"returned {value}") if math.isfinite(measured) else Found(None, f"the query returned {value}")
    )


def _shape(answer: Answer) -> str:
    return _rows(answer.row_count) if answer.row_count != 1 else f"a row of {answer.column_count} columns"


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"

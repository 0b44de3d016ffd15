"""Compare what a restored database holds with what the backup says of it: one result a database, for the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg

from pgvault.checks.result import SAMPLE_ROWS, CheckResult, Verdict
from pgvault.errors import ServerUnfit, ServerUnreachable
from pgvault.logical.tables import Difference, DifferenceKind, compare_records, read_database
from pgvault.postgres.fingerprint import prepare
from pgvault.repository.tables import TableKind, TableRecord

LOCK_TIMEOUT = timedelta(seconds=60)  # nobody else is there


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison found."""

    check: CheckResult
    not_tested: tuple[str, ...]  # tables whose content could not be compared, with the reason


def compare_database(
    dsn: str, database: str, expected: Sequence[TableRecord], *, jobs: int, is_class: bool = False
) -> Compared:
    """Read every fingerprint of a restored database and compare; a server that does not answer is a finding."""
    began = time.monotonic()

    def connect() -> psycopg.Connection[tuple[object, ...]]:
        connection = psycopg.connect(dsn, dbname=database, autocommit=True)
        prepare(connection, lock_timeout=LOCK_TIMEOUT)
        return connection

    try:
        found = read_database(connect, jobs=jobs)
    except (psycopg.Error, ServerUnfit, ServerUnreachable) as error:
        detail = f"the restored database could not be read: {str(error).strip()}"
        return Compared(_result(database, None, detail, took=time.monotonic() - began), ())
    return judge(database, expected, found, took=time.monotonic() - began, is_class=is_class)


def judge(
    database: str, expected: Sequence[TableRecord], found: Sequence[TableRecord], *, took: float, is_class: bool = False
) -> Compared:
    """Say whether a restored database holds what the backup says. Only differences that are proven are findings.

    The backup of a data class (`is_class`) knows nothing of other tables: they are there, and have no rows.
    """
    differences = [each for each in compare_records(expected, found) if not (is_class and _is_empty_extra(each))]
    proven = [each for each in differences if each.is_proven]
    unknown = [each for each in differences if not each.is_proven]
    tables = sum(record.kind is TableKind.TABLE for record in expected)
    rows = sum(record.rows or 0 for record in expected if record.kind is TableKind.TABLE)
    detail = f"{tables} tables with {rows} rows compared"
    if unknown:
        detail += f", {len(unknown)} of them not by content"
    if proven:
        detail = f"{proven[0]}" + (f" (and {len(proven) - 1} more)" if len(proven) > 1 else "")
    # Large objects say nothing of tables; a database that has nothing else is looked at by them.
    known = [record for record in expected if record.kind is TableKind.TABLE] or expected
    is_blind = bool(unknown) and len([each for each in unknown if each.expected in known]) == len(known)
    if is_blind:
        detail = f"no table could be compared: {unknown[0]}"
    result = _result(database, None if is_blind else len(proven), detail, took=took, sample=proven)
    names = tuple(record.name for record in expected if record.kind is TableKind.TABLE)
    result = replace(result, tables=names)
    return Compared(result, tuple(f"content, in database {database!r}: {each}" for each in unknown))


def _is_empty_extra(difference: Difference) -> bool:
    return difference.kind is DifferenceKind.EXTRA and difference.found is not None and difference.found.rows == 0


def _result(
    database: str, measured: int | None, detail: str, *, took: float, sample: Sequence[Difference] = ()
) -> CheckResult:
    return CheckResult(
        name=f"fingerprints:{database}",
        verdict=Verdict.PASSED if measured == 0 else Verdict.FAILED,
        measured=measured,
        threshold=0,
        severity="critical",
        detail=detail,
        seconds=took,
        database=database,
        sample=tuple(str(each)[:500] for each in sample[:SAMPLE_ROWS]),
    )

"""From what a check found, or could not find, to its result: passed, failed, or not proven."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import errors

from pgvault.checks.clock import Unproven
from pgvault.checks.result import CheckResult, Origin, Verdict
from pgvault.checks.session import LOCK_TIMEOUT_SECONDS
from pgvault.config import CheckBase

NULL = "NULL"
QUOTED_VALUE = re.compile(r'"[^"]*"')
# Classes of errors whose messages quote data: data exceptions, broken constraints, what a function raises.
QUOTING_CLASSES = ("22", "23", "P0")


@dataclass(frozen=True, slots=True)
class Found:
    """What a check's queries returned and looked at, before it is judged."""

    measured: float | None
    detail: str
    sample: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    is_unproven: bool = False
    flaw: str | None = None  # why it proves nothing, whatever it measured


def conclude(
    check: CheckBase, look: Callable[[], Found], *, database: str | None, is_null_passed: bool = False
) -> CheckResult:
    """Take a look and judge what it found; never raises for what a query or a server says."""
    began = time.monotonic()
    try:
        found = look()
    except Unproven as error:
        found = Found(None, f"not proven: {error}", tables=error.tables, is_unproven=True)
    except errors.LockNotAvailable:
        found = Found(
            None, f"not proven: another session's lock held it up for {LOCK_TIMEOUT_SECONDS} s", is_unproven=True
        )
    except errors.SerializationFailure as error:
        found = Found(None, f"not proven: {_said(error, check)}", is_unproven=True)
    except errors.QueryCanceled:
        found = Found(
            None, f"the query was ended after {time.monotonic() - began:.0f} s; its timeout is {check.timeout}"
        )
    except psycopg.Error as error:
        found = Found(None, f"the query failed: {_said(error, check)}")
    return CheckResult(
        name=check.name,
        verdict=_judge(check, found, is_null_passed=is_null_passed),
        measured=found.measured,
        threshold=check.threshold,
        severity=check.severity,
        detail=found.detail if found.flaw is None else f"{found.flaw} ({found.detail})",
        seconds=time.monotonic() - began,
        database=database,
        sample=found.sample,
        origin=Origin.CONFIGURED,
        tables=found.tables,
    )


def _judge(check: CheckBase, found: Found, *, is_null_passed: bool) -> Verdict:
    if found.is_unproven:
        return Verdict.UNPROVEN
    is_null = is_null_passed and found.measured is None and found.detail == NULL
    is_within = found.measured is not None and found.measured <= check.threshold
    return Verdict.PASSED if found.flaw is None and (is_null or is_within) else Verdict.FAILED


def _said(error: psycopg.Error, check: CheckBase) -> str:
    """Return what the server says, less the data that it may quote."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    is_quoting = (error.sqlstate or "").startswith(QUOTING_CLASSES) and check.show != "all"
    return QUOTED_VALUE.sub('"…"', said) if is_quoting else said

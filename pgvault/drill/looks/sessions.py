"""How looks at every database are taken: one session each, and what goes wrong in it is a finding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import psycopg

from pgvault.checks.query import NO_INDEXES
from pgvault.checks.result import SAMPLE_ROWS, CheckResult, NotTested, Verdict
from pgvault.drill.restored import Restored
from pgvault.postgres.fingerprint import ask, prepare, said

LOCK_TIMEOUT = timedelta(seconds=60)  # nobody else is there

DatabaseConnection = psycopg.Connection[tuple[object, ...]]
DatabaseLook = Callable[[DatabaseConnection, str], Iterable[CheckResult | NotTested]]


def look_at_each(restored: Restored, name: str, look: DatabaseLook) -> Iterator[CheckResult | NotTested]:
    """Take a look at every database, in a session that believes no index; search_path is pg_catalog alone."""
    for database in restored.databases:
        began = time.monotonic()
        try:
            with psycopg.connect(restored.dsn, dbname=database, autocommit=True) as connection:
                prepare(connection, lock_timeout=LOCK_TIMEOUT)
                for setting, value in NO_INDEXES.items():
                    ask(connection, f"SELECT set_config('{setting}', '{value}', false)")
                yield from look(connection, database)
        except psycopg.Error as error:
            detail = f"it could not be looked at: {said(error)}"
            yield replace(seen(name, database, [detail], detail, began=began), measured=None, sample=())


def seen(name: str, database: str, offenders: Sequence[str], detail: str, *, began: float) -> CheckResult:
    """Return a result: passed without offenders; the first of them are kept."""
    return CheckResult(
        name=f"{name}:{database}",
        verdict=Verdict.FAILED if offenders else Verdict.PASSED,
        measured=len(offenders),
        threshold=0,
        severity="critical",
        detail=detail,
        seconds=time.monotonic() - began,
        database=database,
        sample=tuple(offenders[:SAMPLE_ROWS]),
    )


def listed(names: Sequence[str]) -> str:
    """Return the first few of them for people."""
    return ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")

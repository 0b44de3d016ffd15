"""Every constraint in the catalog holds: asked of the rows, whatever the indexes say (checks/derived.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg

from pgvault.checks.derived import derive
from pgvault.checks.result import CheckResult, NotTested, finding
from pgvault.drill.restored import Restored
from pgvault.errors import VerifyFailed
from pgvault.postgres.fingerprint import said

DERIVED_SECONDS = 4 * 3600  # for all databases; what is not asked by then is not proven


def derived(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Ask every constraint of every database."""
    if not restored.is_derived:
        yield NotTested("constraints as queries: drill.derived is off")
        return
    deadline = time.monotonic() + DERIVED_SECONDS
    for database in restored.databases:
        began = time.monotonic()
        try:
            yield from derive(restored.dsn, database, jobs=restored.jobs, deadline=deadline)
        except psycopg.Error as error:
            failure = VerifyFailed(f"the constraints could not be asked: {said(error)}")
            yield finding(f"constraints:{database}", failure, seconds=time.monotonic() - began)

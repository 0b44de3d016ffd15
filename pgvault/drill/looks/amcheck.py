"""Heaps and indexes are whole: pg_amcheck over every database, and for every row in its indexes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pgvault.checks.result import CheckResult, finding
from pgvault.drill.restored import OPTIONS, Restored
from pgvault.errors import PgvaultError, ProgramFailed
from pgvault.postgres.instance import SERVER_ENVIRONMENT
from pgvault.process import run

AMCHECK_SECONDS = 4 * 3600


def amcheck(restored: Restored) -> Iterator[CheckResult]:
    """Let pg_amcheck look at every heap and index of every database, and for every row in its indexes."""
    instance = restored.instance
    argv = [str(instance.programs.path("pg_amcheck")), "--all", "--install-missing", "--heapallindexed"]
    argv += ["--no-password", "-h", str(instance.socket_dir), "-p", str(instance.port)]
    argv += ["-U", restored.superuser, "--maintenance-db=template1", f"--jobs={restored.jobs}"]
    began = time.monotonic()
    error: PgvaultError | None = None
    try:
        command = instance.launcher.command(argv, env={**SERVER_ENVIRONMENT, "PGOPTIONS": OPTIONS})
        run(command.argv, timeout=AMCHECK_SECONDS, env=command.env)
    except ProgramFailed as failure:
        error = failure
    yield finding("pg_amcheck", error, seconds=time.monotonic() - began)

"""Heaps and indexes are whole: pg_amcheck over every database, and for every row in its indexes.

`heapallindexed` looks for each row of a heap in each of its indexes, which costs ten times what all else does that
pg_amcheck looks at (measured in 2026-11: a table of 472 MB with three indexes, 33 s and 3 s). It alone finds an index
that lost rows. `standard` leaves that out, and `off` everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pgvault.checks.result import CheckResult, NotTested, finding
from pgvault.drill.restored import OPTIONS, Restored
from pgvault.errors import PgvaultError, ProgramFailed
from pgvault.postgres.instance import SERVER_ENVIRONMENT
from pgvault.process import run

AMCHECK_SECONDS = 4 * 3600
OFF = NotTested("the structure of heaps and indexes (pg_amcheck): drill.amcheck is off")
STANDARD = NotTested("rows that an index lacks (pg_amcheck --heapallindexed): drill.amcheck is standard")


def amcheck(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Let pg_amcheck look at every heap and index of every database, as thoroughly as is wished."""
    if restored.amcheck == "off":
        yield OFF
        return
    instance = restored.instance
    argv = [str(instance.programs.path("pg_amcheck")), "--all", "--install-missing"]
    if restored.amcheck == "standard":
        yield STANDARD
    else:
        argv.append("--heapallindexed")
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

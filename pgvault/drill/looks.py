"""Looks at a restored server: every database answers, its files are whole, the configured checks pass.

Each look adds its results to the report, and none raises for what it finds. Nothing of the environment reaches these
sessions: PGHOSTADDR alone would send every look to production.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.config import CheckConfig
from pgvault.drill.checks import finding, run_check
from pgvault.drill.report import DrillReport
from pgvault.errors import PgvaultError, ProgramFailed
from pgvault.postgres.instance import SERVER_ENVIRONMENT, Instance
from pgvault.postgres.programs import Programs
from pgvault.process import run

AMCHECK_SECONDS = 4 * 3600

# Of sessions in the scratch. What ALTER DATABASE or ALTER ROLE set would win over the server's command line.
SESSION = {
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "default_tablespace": "",
    "role": "none",
    "lc_messages": "C",
}
OPTIONS = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
# Not what an interrupted DROP DATABASE left (-2): nobody can connect to that at the source either.
DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY oid"


def scratch_dsn(instance: Instance, superuser: str) -> str:
    """Return the connection string of the scratch's superuser, to template1: the one database that is always there."""
    return make_conninfo(instance.dsn, user=superuser, dbname="template1", hostaddr="", options=OPTIONS)


def open_databases(report: DrillReport, dsn: str) -> list[str]:
    """Connect to every database that accepts connections; each is a check of its own. Returns their names."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(DATABASES).fetchall()
    for (name,) in rows:
        check = CheckConfig(name=f"connects:{name}", query="SELECT 0", measure="value")
        report.checks.append(run_check(dsn, check, database=name))
    return [name for (name,) in rows]


def amcheck(report: DrillReport, programs: Programs, instance: Instance, *, superuser: str, jobs: int) -> None:
    """Let pg_amcheck look at every heap and index of every database, and for every row in its indexes."""
    argv = [str(programs.path("pg_amcheck")), "--all", "--install-missing", "--heapallindexed"]
    argv += ["--no-password", "-h", str(instance.socket_dir), "-p", str(instance.port)]
    argv += ["-U", superuser, "--maintenance-db=template1", f"--jobs={jobs}"]
    began = time.monotonic()
    error: PgvaultError | None = None
    try:
        run(argv, timeout=AMCHECK_SECONDS, env={**SERVER_ENVIRONMENT, "PGOPTIONS": OPTIONS})
    except ProgramFailed as failure:
        error = failure
    report.checks.append(finding("pg_amcheck", error, seconds=time.monotonic() - began))


def run_checks(report: DrillReport, dsn: str, checks: Sequence[CheckConfig], *, database: str) -> None:
    """Run the configured checks, in `database` where they name none."""
    for check in checks:
        report.checks.append(run_check(dsn, check, database=check.database or database))
    if not checks:
        report.not_tested.insert(0, "integrity queries: none are configured")


def default_database(wanted: str | None, databases: Sequence[str]) -> str:
    """Where checks run that name no database: `wanted`, else postgres, if there is one."""
    return wanted or ("postgres" if "postgres" in databases else databases[0])

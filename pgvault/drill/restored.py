"""A restored server that answers, and how it is asked: what every look at it is given.

Nothing of the environment reaches these sessions: PGHOSTADDR alone would send every look to production.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.conninfo import make_conninfo

from pgvault.postgres.instance import Instance
from pgvault.postgres.lsn import Lsn
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository

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
Amcheck = Literal["heapallindexed", "standard", "off"]
OPTIONS = " ".join(f"-c {name}={value}" for name, value in SESSION.items())


@dataclass(frozen=True, slots=True)
class Restored:
    """A scratch server that has recovered and answers, and what it was restored from."""

    repository: Repository
    cluster: str
    instance: Instance
    dsn: str  # of its superuser, to template1
    superuser: str
    databases: tuple[str, ...]  # that accept connections
    database: str  # of checks that name none
    manifest: Manifest | None  # None: a logical backup
    as_of: datetime | None  # the moment that was restored to; None: not known
    jobs: int
    is_blind: bool = False  # whether no other system may be asked
    is_derived: bool = True  # whether constraints are asked as queries
    amcheck: Amcheck = "heapallindexed"  # how thoroughly pg_amcheck looks
    reached_lsn: Lsn | None = None  # where recovery ended; None: not by WAL


def scratch_dsn(instance: Instance, superuser: str) -> str:
    """Return the connection string of the scratch's superuser, to template1: the one database that is always there."""
    ours = {"hostaddr": "", "client_encoding": "UTF8", "options": OPTIONS}  # of SQL_ASCII, text would come as bytes
    return make_conninfo(instance.dsn, user=superuser, dbname="template1", **ours)


def default_database(wanted: str | None, databases: Sequence[str]) -> str:
    """Where checks run that name no database: `wanted`, else postgres, if there is one."""
    return wanted or ("postgres" if "postgres" in databases else databases[0])

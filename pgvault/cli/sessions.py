"""Open a session with a configured cluster."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from functools import partial

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from pgvault.config import ClusterConfig
from pgvault.postgres.grants import replication_line
from pgvault.postgres.server import Session

# What libpq and setpriv need of our environment, beside PG*; the repository's key is not for them.
PASSED_ON = ("HOME", "KRB5CCNAME", "KRB5_CONFIG", "LD_LIBRARY_PATH", "PATH", "TZ", "USER")


def connect(cluster: ClusterConfig) -> Session:
    """Connect as the configuration says. Raises ServerUnreachable, KeyUnusable."""
    password = None if cluster.password is None else cluster.password.read().decode()
    return Session(cluster.dsn, password=password, is_remote=cluster.source == "stream")


def connect_primary(cluster: ClusterConfig) -> Callable[[], Session] | None:
    """Return what connects to the primary of a standby, None where no primary_dsn is configured."""
    primary = cluster.of_primary()
    return None if primary is None else partial(connect, primary)


def role_of(cluster: ClusterConfig) -> str:
    """Return the role that the dsn connects as: the one it names, else the operating system's user, as libpq does."""
    return _parameters(cluster).get("user") or getpass.getuser()


def admitting_line(cluster: ClusterConfig, role: str) -> str:
    """Return the line of pg_hba.conf that admits `role`'s replication on the way that the dsn takes."""
    given = _parameters(cluster)
    return replication_line(
        role,
        host=given.get("hostaddr") or given.get("host", ""),
        sslmode=given.get("sslmode", ""),
        has_password=cluster.password is not None,
    )


def _parameters(cluster: ClusterConfig) -> dict[str, str]:
    """Return what libpq makes of the dsn and of PGHOST, PGUSER and the like."""
    defaults = {each.keyword.decode(): each.val.decode() for each in pq.Conninfo.get_defaults() if each.val}
    return defaults | {name: str(value) for name, value in conninfo_to_dict(cluster.dsn).items()}


def libpq_environment() -> dict[str, str]:
    """Return what PostgreSQL's own programs need of our environment."""
    passed = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("PG")}
    return {name: value for name, value in passed.items() if not name.startswith("PGVAULT")}

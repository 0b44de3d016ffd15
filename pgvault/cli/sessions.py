"""Open a session with a configured cluster."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from functools import partial

from psycopg.conninfo import conninfo_to_dict

from pgvault.config import ClusterConfig
from pgvault.postgres.server import Session

# What libpq and setpriv need of our environment, beside PG*; the repository's key is not for them.
PASSED_ON = ("HOME", "KRB5CCNAME", "KRB5_CONFIG", "LD_LIBRARY_PATH", "PATH", "TZ", "USER")


def connect(cluster: ClusterConfig) -> Session:
    """Connect as the configuration says. Raises ServerUnreachable, KeyUnusable."""
    password = None if cluster.password is None else cluster.password.read().decode()
    return Session(cluster.dsn, password=password)


def connect_primary(cluster: ClusterConfig) -> Callable[[], Session] | None:
    """Return what connects to the primary of a standby, None where no primary_dsn is configured."""
    primary = cluster.of_primary()
    return None if primary is None else partial(connect, primary)


def role_of(cluster: ClusterConfig) -> str:
    """Return the role that the dsn connects as: the one it names, else the operating system's user, as libpq does."""
    named = conninfo_to_dict(cluster.dsn).get("user")
    return str(named) if named else getpass.getuser()


def libpq_environment() -> dict[str, str]:
    """Return what PostgreSQL's own programs need of our environment."""
    passed = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("PG")}
    return {name: value for name, value in passed.items() if not name.startswith("PGVAULT")}

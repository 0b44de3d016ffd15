"""Open a session with a configured cluster."""

from __future__ import annotations

import getpass

from psycopg.conninfo import conninfo_to_dict

from pgvault.config import ClusterConfig
from pgvault.postgres.server import Session


def connect(cluster: ClusterConfig) -> Session:
    """Connect as the configuration says. Raises ServerUnreachable, KeyUnusable."""
    password = None if cluster.password is None else cluster.password.read().decode()
    return Session(cluster.dsn, password=password)


def role_of(cluster: ClusterConfig) -> str:
    """Return the role that the dsn connects as: the one it names, else the operating system's user, as libpq does."""
    named = conninfo_to_dict(cluster.dsn).get("user")
    return str(named) if named else getpass.getuser()

"""Open a session with a configured cluster."""

from __future__ import annotations

from pgvault.config import ClusterConfig
from pgvault.postgres.server import Session


def connect(cluster: ClusterConfig) -> Session:
    """Connect as the configuration says. Raises ServerUnreachable, KeyUnusable."""
    password = None if cluster.password is None else cluster.password.read().decode()
    return Session(cluster.dsn, password=password)

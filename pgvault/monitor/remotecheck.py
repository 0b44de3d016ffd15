"""What `check` looks at where files come by the replication protocol: role, connection, a free WAL sender, what lacks.

A base backup itself is not begun: it would make the server checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgvault.config import ClusterConfig
from pgvault.errors import PgvaultError
from pgvault.monitor.streamcheck import check_replication, check_role
from pgvault.monitor.tried import Finding, tried
from pgvault.postgres.connection import Connection
from pgvault.postgres.grants import file_grants
from pgvault.postgres.replication import require_free_sender
from pgvault.postgres.server import ServerFacts
from pgvault.postgres.serverfiles import may_read_files, outside_settings


def remote_findings(connection: Connection, config: ClusterConfig, facts: ServerFacts) -> Iterator[Finding]:
    """See whether a base backup could begin. What the stream of WAL needs too is not asked twice."""
    if config.stream is None:
        yield tried("replication role", lambda: check_role(connection))
    yield tried("wal senders", lambda: check_senders(connection))
    if config.stream is None:
        yield tried("replication", lambda: check_replication(connection, config, facts))
    yield configuration_finding(connection, facts)


def check_senders(connection: Connection) -> str:
    """See that a base backup finds a WAL sender of its own. Raises ServerUnfit."""
    used, most = require_free_sender(connection)
    return f"{used} of {most} are in use, and a base backup takes one"


def configuration_finding(connection: Connection, facts: ServerFacts) -> Finding:
    """Say which configuration files a backup would not hold; it is whole without, and a restore makes minimal ones."""
    name = "configuration"
    try:
        outside = outside_settings(connection)
        if not outside or may_read_files(connection):
            return Finding(name, "lies in the data directory" if not outside else "outside the data directory, is read")
    except PgvaultError as error:
        return Finding(name, "", error)
    grants = "; ".join(file_grants(facts.role))
    return Finding(
        name,
        f"a backup will not hold {', '.join(outside)}",
        warning=f"Keep them by other means; or, as a superuser: {grants}; which lets the role read any file there.",
    )

"""How much there is to copy, by what the server says: an estimate, for whoever shows how far a backup is."""

from __future__ import annotations

from contextlib import suppress

from pgvault.errors import ServerUnfit
from pgvault.postgres.connection import Connection, read_number

# A database that a role may neither connect to nor look at is refused its size, with an error: it is not asked for.
QUERY = """
    SELECT CASE WHEN count(*) = count(size) THEN sum(size)::bigint END
    FROM (
        SELECT CASE
            WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') OR has_database_privilege(oid, 'CONNECT')
            THEN pg_database_size(oid)
        END AS size
        FROM pg_database
    ) AS looked
"""


def databases_bytes(connection: Connection) -> int | None:
    """Return the size of all databases; None where this role may not see all of them."""
    with suppress(ServerUnfit):  # nobody's backup fails for this
        (size,) = connection.row(QUERY)
        return None if size is None else read_number(size)
    return None

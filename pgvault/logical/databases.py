"""Which databases a logical backup holds."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pgvault.errors import ServerUnfit, UsageError
from pgvault.logical.request import LogicalRequest
from pgvault.postgres.connection import Connection, read_bytes, read_number, read_text

logger = logging.getLogger(__name__)

# Their providers keep them to themselves.
PROVIDERS = frozenset({"rdsadmin", "cloudsqladmin", "azure_maintenance", "azure_sys"})
TEMPLATES = frozenset({"template0", "template1"})
HALF_DROPPED = -2  # datconnlimit of what an interrupted DROP DATABASE left

QUERY = """
SELECT oid::bigint, datname::text, pg_encoding_to_char(encoding)::text, datallowconn, datconnlimit,
       has_database_privilege(oid, 'CONNECT')
  FROM pg_database ORDER BY oid
"""


@dataclass(frozen=True, slots=True)
class FoundDatabase:
    """A database of the server."""

    oid: int
    name: str
    encoding: str
    takes_connections: bool  # at all
    is_ours: bool  # whether our role may connect


def find_databases(connection: Connection) -> list[FoundDatabase]:
    """Return all databases that can be dumped at all, by oid. Raises ServerUnfit for a name that is not UTF-8."""
    found = []
    for oid, name, encoding, allows, limit, is_ours in connection.rows(QUERY):
        takes = bool(allows) and limit != HALF_DROPPED
        if takes:
            try:
                read_bytes(name).decode()
            except UnicodeDecodeError:
                raise ServerUnfit(
                    f"database {read_text(name)!r} has a name that is not UTF-8", hint="pg_dump can not be told of it."
                ) from None
        found.append(FoundDatabase(read_number(oid), read_text(name), read_text(encoding), takes, bool(is_ours)))
    return found


def choose_databases(found: Iterable[FoundDatabase], request: LogicalRequest) -> list[FoundDatabase]:
    """Return the databases to dump. Raises UsageError for a name that is not there, ServerUnfit for one we may not.

    A pattern of `exclude` or of a class that fits nothing is no error: databases come and go.
    """
    databases = list(found)
    chosen = _named(databases, request.databases) if request.databases is not None else _all(databases, request)
    wanted = None if request.data_class is None else request.data_class.databases
    if wanted is not None:
        chosen = [each for each in chosen if _fits(each.name, wanted)]
    denied = [each.name for each in chosen if not each.is_ours]
    if denied:
        raise ServerUnfit(
            f"the role may not connect to database {denied[0]!r}",
            hint=f"GRANT CONNECT ON DATABASE, or name it in logical.exclude: {', '.join(denied)}",
        )
    if not chosen:
        raise UsageError("there is no database to dump", hint="See logical.databases and logical.exclude.")
    return chosen


def _named(databases: list[FoundDatabase], names: tuple[str, ...]) -> list[FoundDatabase]:
    there = {each.name: each for each in databases if each.takes_connections}
    for name in names:
        if name not in there:
            raise UsageError(f"the server has no database {name!r} to dump", hint=f"It has: {', '.join(there)}")
    return [each for each in databases if each.name in names]


def _all(databases: list[FoundDatabase], request: LogicalRequest) -> list[FoundDatabase]:
    chosen = []
    for each in databases:
        if not each.takes_connections or each.name in TEMPLATES or _fits(each.name, request.exclude):
            continue
        if each.name in PROVIDERS and not each.is_ours:
            logger.info("database %s belongs to the provider and is passed over", each.name)
            continue
        chosen.append(each)
    return chosen


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

"""`check` of a cluster with `source: logical`: whether pg_dump can read all of it, from here, now.

repository opens · store keeps put-if-absent · server answers · a pg_dump for it is here · every database can be
connected to · every table and sequence in it can be read, whole · roles · room for the spool

Nothing is asked that needs more than CONNECT. That there is no point in time is a warning, and stays one: it is what
was chosen, and nobody may forget it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from psycopg import conninfo

from pgvault.amounts import say_bytes
from pgvault.errors import DiskFull, PgvaultError, ServerUnfit
from pgvault.logical.databases import FoundDatabase, choose_databases, find_databases
from pgvault.logical.request import LogicalRequest
from pgvault.logical.spool import open_spool
from pgvault.monitor.finding import span
from pgvault.monitor.storecheck import store_findings
from pgvault.monitor.tried import Finding, tried
from pgvault.postgres.connection import Connection, read_number, read_text
from pgvault.postgres.dumping import find_dump_programs
from pgvault.postgres.grants import quoted_name
from pgvault.repository.repository import Repository

NAMES_SHOWN = 3
# What pg_dump locks or reads: tables, partitioned ones, sequences; members of extensions, too.
READABLE = """
SELECT n.nspname::text, c.relname::text,
       c.relkind = 'S', row_security_active(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence IN ('p', 'u')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
   AND (row_security_active(c.oid) OR NOT has_schema_privilege(n.oid, 'USAGE')
        OR NOT CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                    ELSE has_table_privilege(c.oid, 'SELECT') END)
 ORDER BY 1, 2
"""
COUNT = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence IN ('p', 'u')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
"""
# pg_read_all_data does not mean them, and pg_dump stops at the first that it may not read.
LARGE_OBJECTS = """
SELECT count(*), min(oid)::bigint FROM pg_largeobject_metadata
 WHERE current_setting('lo_compat_privileges') = 'off' AND NOT pg_has_role(lomowner, 'USAGE')
   AND NOT EXISTS (SELECT FROM aclexplode(lomacl)
                    WHERE privilege_type = 'SELECT' AND (grantee = 0 OR pg_has_role(grantee, 'USAGE')))
"""


@dataclass(frozen=True, slots=True)
class LogicalCluster:
    """What is to be looked at, as it is configured."""

    request: LogicalRequest
    schedule: str | None  # when backups are taken, in cron's words
    rpo: timedelta | None  # the objective


def check_logical(cluster: LogicalCluster, *, open_repository: Callable[[], Repository]) -> list[Finding]:
    """Try everything that a logical backup needs, in order, and stop at the first thing that the rest depends on."""
    findings: list[Finding] = []
    request = cluster.request
    try:
        repository = open_repository()
        findings.append(Finding("repository", f"opens ({repository.deciding.store.url})"))
        findings += store_findings(repository)
        findings.append(_point_in_time(cluster))
        with Connection(request.dsn, password=request.password) as connection:
            findings += _server_findings(connection, request)
        findings.append(tried("spool", lambda: _spool(request)))
    except PgvaultError as error:
        findings.append(Finding("repository" if not findings else "server", "", error))
    return findings


def _point_in_time(cluster: LogicalCluster) -> Finding:
    """Say what this kind of backup can not do."""
    when = "no schedule is configured" if cluster.schedule is None else f"scheduled {cluster.schedule!r}"
    promise = "" if cluster.rpo is None else f"; the objective is {span(cluster.rpo)}"
    return Finding(
        "point in time",
        f"source is logical: no physical backup and no WAL here, so only the moment of a backup can be restored, and "
        f"all commits since the last one would be lost ({when}{promise})",
        warning="Where the server gives file access or replication, source: local protects every commit.",
    )


def _server_findings(connection: Connection, request: LogicalRequest) -> Iterator[Finding]:
    settings = connection.settings(("server_version", "server_version_num"))
    major = int(settings["server_version_num"]) // 10_000
    role = read_text(connection.row("SELECT current_user::text")[0])
    yield Finding("server", f"PostgreSQL {settings['server_version']}, as role '{role}'")
    yield tried("pg_dump", lambda: _programs(major))
    yield _globals(connection)
    try:
        found = find_databases(connection)
        chosen = choose_databases(found, request)
    except PgvaultError as error:
        yield Finding("databases", "", error)
        return
    yield Finding(
        "databases", f"{len(chosen)} to dump: {_some([each.name for each in chosen])}{_left_out(found, chosen)}"
    )
    for database in chosen:
        yield tried(f"database {database.name}", partial(_tables, request, database.name, role))


def _programs(major: int) -> str:
    programs = find_dump_programs(major)
    programs.path("pg_dumpall")
    programs.path("pg_restore")
    newer = "" if programs.major == major else f"; what it writes may not load into PostgreSQL {major}"
    return f"{programs.minor_text} in '{programs.bin}'{newer}"


def _globals(connection: Connection) -> Finding:
    (may_read,) = connection.row("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")
    if may_read:
        return Finding("roles", "are dumped with their passwords, as hashes")
    return Finding(
        "roles",
        "are dumped without their passwords: the role may not read pg_authid",
        warning="After a restore set them anew: ALTER ROLE … PASSWORD. Managed servers show them to nobody.",
    )


def _left_out(found: list[FoundDatabase], chosen: list[FoundDatabase]) -> str:
    names = [each.name for each in found if each not in chosen and each.name not in ("template0", "template1")]
    return f"; not: {_some(names)}" if names else ""


def _tables(request: LogicalRequest, database: str, role: str) -> str:
    """Connect to a database and see that nothing in it is kept from us. Raises ServerUnfit."""
    dsn = conninfo.make_conninfo(request.dsn, dbname=database)
    with Connection(dsn, password=request.password) as connection:
        hidden = connection.rows(READABLE)
        (count,) = connection.row(COUNT)
        kept, first = connection.row(LARGE_OBJECTS)
    if not hidden and kept:
        raise ServerUnfit(
            f"role '{role}' can not read {read_number(kept)} large objects of database '{database}', such as {first}",
            hint=f"GRANT SELECT ON LARGE OBJECT {first} TO {quoted_name(role)}; or dump with another role.",
        )
    if not hidden:
        return f"all {read_number(count)} tables can be read"
    secured = [row for row in hidden if row[3]]
    names = [f"{read_text(schema)}.{read_text(name)}" for schema, name, _, _ in hidden]
    sequences = sum(bool(is_sequence) for _, _, is_sequence, _ in hidden)
    statements = [f"GRANT pg_read_all_data TO {quoted_name(role)}"] if len(secured) < len(hidden) else []
    statements += [f"ALTER ROLE {quoted_name(role)} BYPASSRLS"] if secured else []
    policies = f", {len(secured)} of them for row security" if secured else ""
    raise ServerUnfit(
        f"role '{role}' can not read {len(hidden) - sequences} tables and {sequences} sequences of database "
        f"'{database}'{policies}: {_some(names)}",
        hint=f"As its owner, or who may: {'; '.join(statements)}; or dump with another role.",
    )


def _spool(request: LogicalRequest) -> str:
    place = (request.spool or Path(tempfile.gettempdir())).absolute()
    with open_spool(request.spool):
        free = shutil.disk_usage(place).free
    if free < request.spool_limit:
        raise DiskFull(
            f"'{place}' has {say_bytes(free)} free, and the spool may hold {say_bytes(request.spool_limit)}",
            hint="Set logical.spool to another place, or logical.spool_limit to less.",
        )
    return f"'{place}' has {say_bytes(free)} free for at most {say_bytes(request.spool_limit)}"


def _some(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

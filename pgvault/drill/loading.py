"""Load what a logical backup holds into an empty scratch server, and say what went wrong in PostgreSQL's words.

A schema backup is proven by this alone, before it counts: `prove_loads`. A drill restores, goes on and compares.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.drill.empty import (
    bootstrap_name,
    loading_dsn,
    make_empty,
    make_tablespaces,
    nearest_programs,
    start_empty,
)
from pgvault.drill.isolation import BEST, IsolationWish, isolate
from pgvault.drill.lacks import lack_of
from pgvault.drill.room import keeping_room
from pgvault.drill.scratch import Scratch, find_place, make_scratch, remove_scratch
from pgvault.drill.stage import EMPTY_BYTES, RESERVE, end_server
from pgvault.errors import DrillFailed, DrillNotRun, PgvaultError, ProgramFailed
from pgvault.logical.restore import LogicalRestored, restore_into
from pgvault.logical.restoreplan import LogicalOrder
from pgvault.logical.roles import restore_roles
from pgvault.logical.schema import Definitions
from pgvault.postgres.fingerprint import encoded, quote, said
from pgvault.postgres.instance import SERVER_ENVIRONMENT, Instance
from pgvault.postgres.programs import Programs
from pgvault.process import run
from pgvault.progress import Progress
from pgvault.repository.logical import LogicalDatabase, LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.restore.place import require_room

PROGRAMS = ("initdb", "pg_restore", "psql")
LOADING_SECONDS = 4 * 3600.0


def loading_programs(major: int) -> Programs:
    """Return the programs to load a backup of that major with: its own, else newer ones. Raises ProgramMissing."""
    programs = nearest_programs(major)
    for name in PROGRAMS:
        programs.path(name)
    return programs


def loading_order(scratch: Scratch, instance: Instance, superuser: str, *, jobs: int) -> LogicalOrder:
    """Return the order to restore all of a backup into an empty server, whatever lies on disk inside the scratch."""
    dsn = loading_dsn(instance, superuser)
    return LogicalOrder(dsn=dsn, jobs=jobs, is_created=True, is_compared=False, spool=scratch.root)


def load(
    repository: Repository, manifest: LogicalManifest, instance: Instance, order: LogicalOrder, *, progress: Progress
) -> LogicalRestored:
    """Restore into `instance`. Raises DrillNotRun where this host lacks what the backup needs."""
    try:
        return restore_into(repository, manifest, order, progress=progress)
    except PgvaultError as error:
        if (lack := lack_of(f"{error}\n{instance.log_text()}")) is not None:
            raise DrillNotRun(f"{lack}: {error}", hint="Install it on this host.") from error
        raise


def prove_loads(definitions: Definitions, *, scratch: Path | None, isolation: IsolationWish = BEST) -> None:
    """Load definitions into a scratch server that is gone afterwards.

    Raises DrillFailed with what PostgreSQL said; DrillNotRun, DiskFull, ProgramMissing where this host can not tell.
    """
    place = find_place(scratch)
    require_room({place: EMPTY_BYTES}, reserve=RESERVE)
    superuser = bootstrap_name(definitions.role_statements)
    made = make_scratch(place)
    try:
        isolated = isolate(isolation, made.root, definitions.postgres_major, find=loading_programs)
        inside = replace(made, launcher=isolated.launcher)
        instance = make_empty(inside, isolated.programs, superuser)
        try:
            with keeping_room(made.root, RESERVE, instance.kill):
                start_empty(instance, superuser)
                _load_roles(instance, superuser, definitions.role_statements.decode("utf-8", "surrogateescape"))
                for database, sql in definitions.databases:
                    _load_database(inside, instance, loading_dsn(instance, superuser), database=database, sql=sql)
        finally:
            end_server(instance)
    finally:
        remove_scratch(made)


def _load_roles(instance: Instance, superuser: str, role_statements: str) -> None:
    make_tablespaces(instance, superuser, role_statements)
    with psycopg.connect(loading_dsn(instance, superuser), autocommit=True, client_encoding="UTF8") as connection:

        def execute(statement: str) -> str | None:
            try:
                connection.execute(encoded(statement))
            except psycopg.Error as error:
                return said(error)
            return None

        done = restore_roles(role_statements, {superuser}, execute, is_superuser=True)
    if done.notes:
        raise DrillFailed(f"the roles do not load into an empty server: {done.notes[0]}")


def _load_database(scratch: Scratch, instance: Instance, dsn: str, *, database: LogicalDatabase, sql: bytes) -> None:
    """Make a database and let psql load its definitions. Raises DrillFailed, DrillNotRun."""
    with psycopg.connect(dsn, autocommit=True, client_encoding="UTF8") as connection:
        create = f"CREATE DATABASE {quote(database.name)} TEMPLATE template0 ENCODING '{database.encoding}'"
        connection.execute(encoded(create))
    path = scratch.root / f"{database.oid}.sql"
    path.write_bytes(sql)
    scratch.give(path)
    argv: list[str | Path] = [
        instance.programs.path("psql"),
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
    ]
    argv += [f"--file={path}", f"--dbname={make_conninfo(dsn, dbname=database.name)}"]
    try:
        command = instance.launcher.command(argv, env=SERVER_ENVIRONMENT)
        run(command.argv, timeout=LOADING_SECONDS, env=command.env)
    except ProgramFailed as error:
        if (lack := lack_of(f"{error}\n{instance.log_text()}")) is not None:
            raise DrillNotRun(
                f"the definitions of database {database.name!r} can not be tried here: {lack}",
                hint="Install it on this host, or keep schemas unproven: logical: {load_schema: false}",
            ) from error
        raise DrillFailed(
            f"the definitions of database {database.name!r} do not load into an empty server: {error}",
            hint="No schema backup was kept. A restore of this database would fail, too.",
        ) from error

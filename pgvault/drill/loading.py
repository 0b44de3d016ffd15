"""Load a backup's definitions and rows into an empty scratch server, and say what went wrong in whose words.

A schema backup is proven by this alone, before it counts: `prove_loads`. A drill goes on and compares.
"""

from __future__ import annotations

from pathlib import Path

from pgvault.drill.empty import bootstrap_name, loading_dsn, make_empty, nearest_programs, start_empty
from pgvault.drill.lacks import lack_of
from pgvault.drill.room import keeping_room
from pgvault.drill.scratch import Scratch, find_place, make_scratch, remove_scratch
from pgvault.drill.stage import EMPTY_BYTES, RESERVE, end_server
from pgvault.errors import DrillNotRun, PgvaultError
from pgvault.logical.content import find_record, read_whole, records_of
from pgvault.logical.restore import LogicalRestored, restore_into
from pgvault.logical.restoreplan import LogicalOrder
from pgvault.postgres.instance import Instance
from pgvault.postgres.programs import Programs
from pgvault.progress import Progress
from pgvault.repository.logical import GLOBALS, LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.restore.place import require_room

PROGRAMS = ("initdb", "pg_restore", "psql")


def loading_programs(manifest: LogicalManifest) -> Programs:
    """Return the programs to load a backup with: of its major, else newer ones. Raises ProgramMissing."""
    programs = nearest_programs(manifest.postgres_major)
    for name in PROGRAMS:
        programs.path(name)
    return programs


def superuser_of(repository: Repository, manifest: LogicalManifest) -> str:
    """Return what the scratch's superuser has to be called. Raises ObjectMissing, ObjectCorrupt."""
    if not manifest.has_globals:
        return bootstrap_name(b"")
    record = find_record(records_of(repository, manifest), GLOBALS, manifest)
    return bootstrap_name(read_whole(repository, manifest, record))


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


def prove_loads(repository: Repository, manifest: LogicalManifest, *, scratch: Path | None, progress: Progress) -> None:
    """Load a backup without rows into a scratch server that is gone afterwards.

    Raises DrillNotRun, DiskFull, ProgramMissing where this host can not tell; else what PostgreSQL said.
    """
    place = find_place(scratch)
    programs = loading_programs(manifest)
    require_room({place: EMPTY_BYTES}, reserve=RESERVE)
    superuser = superuser_of(repository, manifest)
    made = make_scratch(place)
    try:
        instance = make_empty(made, programs, superuser)
        try:
            with keeping_room(made.root, RESERVE, instance):
                start_empty(instance, superuser)
                order = loading_order(made, instance, superuser, jobs=1)
                load(repository, manifest, instance, order, progress=progress)
        finally:
            end_server(instance)
    finally:
        remove_scratch(made)

"""Extract tables at a moment: the whole cluster is restored into a scratch server, and only they leave it.

    is the name free? ─► plan ─► the price, told ─► scratch server ─► rows into the target, or pg_dump into a file

There is no cheaper way to a moment between two backups: WAL changes pages, and pages belong to the whole cluster. (The
rows of a logical backup come alone: `restore --logical --table`.) So what it costs is said before it starts.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.drill.bringing import Bringing, Brought, Planned, bring_up
from pgvault.drill.isolation import looking_into_wal
from pgvault.drill.scratch import max_wal_bytes
from pgvault.errors import ObjectMissing, Refused, ServerUnfit, UsageError
from pgvault.extract.load import Loaded, load, require_free
from pgvault.extract.names import Name, Session, Source, default_name, find_source, read_name
from pgvault.extract.twin import make_twin
from pgvault.logical.target import LOCK_TIMEOUT, Target
from pgvault.postgres.fingerprint import prepare, said
from pgvault.postgres.instance import SERVER_ENVIRONMENT
from pgvault.process import run
from pgvault.progress import Progress
from pgvault.recovery.gather import gathering
from pgvault.recovery.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.repository.repository import Repository

DUMP_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Into:
    """Another server: a new table for each."""

    target: Target
    names: tuple[str, ...] = ()  # as SQL writes them, one for each table; empty: theirs, with _restored


@dataclass(frozen=True, slots=True)
class File:
    """A file for pg_restore."""

    path: Path  # absent


@dataclass(frozen=True, slots=True)
class ExtractOrder:
    """What to extract, and where to."""

    cluster: str
    request: RestoreRequest
    tables: tuple[str, ...]  # as SQL writes them
    database: str
    destination: Into | File
    bringing: Bringing


@dataclass(frozen=True, slots=True)
class Extracted:
    """What is there now."""

    plan: RestorePlan
    tables: tuple[Loaded, ...]  # in the target; none in a file
    file_bytes: int | None
    isolation: str
    notes: tuple[str, ...]
    seconds: float


def plan_extract(repository: Repository, order: ExtractOrder) -> tuple[Planned, tuple[str, ...]]:
    """Plan the restore that it takes, and look whether the destination can take anything; nothing is written.

    Returns the plan and what people should know. Raises what plan_restore raises, Refused, UsageError,
    ServerUnreachable.
    """
    _require_sense(order)
    label, target = order.request.backup_label, order.request.target
    with (
        looking_into_wal(order.bringing.isolation, order.bringing.place) as workplace,
        gathering(repository, order.cluster, label, workplace=workplace, target=target) as gathered,
    ):
        wal_bytes = max_wal_bytes(gathered.facts.inventory.segment_size)
        plan = plan_restore(gathered.facts, replace(order.request, max_wal_bytes=wal_bytes))
    return Planned(repository, gathered.manifest(plan.backup_label), plan), (*gathered.notes, *plan.notes)


def extract(
    repository: Repository,
    order: ExtractOrder,
    *,
    confirm: Callable[[Planned, tuple[str, ...]], None],
    progress: Progress,
) -> Extracted:
    """Extract the tables, once `confirm` has shown the price. What is not whole is not there.

    Raises what plan_extract and bring_up raise; ObjectMissing for a table or database that was not there at that
    moment; ServerUnfit.
    """
    planned, notes = plan_extract(repository, order)
    confirm(planned, notes)
    began = time.monotonic()
    with bring_up(planned, order.bringing, command="extract", progress=progress) as brought:
        notes = (*notes, *brought.notes)
        with _session(brought, order.database) as session:
            sources = [find_source(session, table) for table in order.tables]
            progress.phase("extract")
            if isinstance(order.destination, Into):
                loaded, told = _into(brought, session, sources, order)
                size = None
            else:
                loaded, told, size = (), (), _dump(brought, sources, order, order.destination.path)
    return Extracted(planned.plan, loaded, size, brought.isolation, (*notes, *told), time.monotonic() - began)


def _require_sense(order: ExtractOrder) -> None:
    """Raise before anything is paid for."""
    if not order.tables:
        raise UsageError("no table is named", hint="Name one: --table public.orders")
    if isinstance(order.destination, File):
        path = order.destination.path
        if path.exists() or path.is_symlink():
            raise Refused(f"'{path}' exists, and is left alone", hint="Choose another --file.")
        if not path.parent.is_dir():
            raise UsageError(f"'{path.parent}' is no directory")
        return
    into = order.destination
    if into.names and len(into.names) != len(order.tables):
        raise UsageError(
            f"{len(order.tables)} tables are to be extracted, and {len(into.names)} new names are given",
            hint="Give --as once for each table, or not at all.",
        )
    with into.target.session(_database_of(order)) as session:
        wanted = [name for _, name in _new_names(session, order)]
        if len(set(wanted)) < len(wanted):
            raise UsageError("two tables would have one name in the target", hint="Name them with --as.")
        for name in wanted:
            require_free(session, name)


def _new_names(session: Session, order: ExtractOrder) -> Iterator[tuple[Name, Name]]:
    """Yield what each table is called, and what it will be called."""
    assert isinstance(order.destination, Into)
    given = order.destination.names or (None,) * len(order.tables)
    for table, wanted in zip(order.tables, given, strict=True):
        name = read_name(session, table, schema="public")
        yield name, default_name(name) if wanted is None else read_name(session, wanted, schema=name.schema)


def _database_of(order: ExtractOrder) -> str:
    """Where the tables go: the database that the target's DSN names, else one of the same name."""
    assert isinstance(order.destination, Into)
    return order.destination.target.named_database or order.database


@contextmanager
def _session(brought: Brought, database: str) -> Iterator[Session]:
    """A session with one database of the scratch, that may write."""
    try:
        session: Session = psycopg.connect(brought.dsn, dbname=database, autocommit=True)
    except psycopg.OperationalError as error:
        raise ObjectMissing(
            f"database {database!r} can not be opened at that moment: {said(error)}", hint="Name another: --database"
        ) from error
    try:
        prepare(session, lock_timeout=LOCK_TIMEOUT)
        session.execute(b"SET default_transaction_read_only = off")
        yield session
    except psycopg.Error as error:
        raise ServerUnfit(f"the scratch server refuses: {said(error)}") from error
    finally:
        session.close()


def _into(
    brought: Brought, session: Session, sources: list[Source], order: ExtractOrder
) -> tuple[tuple[Loaded, ...], tuple[str, ...]]:
    """Make all tables in one transaction."""
    assert isinstance(order.destination, Into)
    notes: list[str] = []
    loaded: list[Loaded] = []
    target = order.destination.target.fingerprinting(_database_of(order))
    try:
        new_names = [name for _, name in _new_names(target, order)]
        target.execute(b"SET default_transaction_read_only = off")
        with target.transaction():
            for source, name in zip(sources, new_names, strict=True):
                dsn = make_conninfo(brought.dsn, dbname=order.database)
                twin = make_twin(session, brought.instance, dsn, source=source, name=name)
                loaded.append(load(session, target, twin))
                notes += [f"{source.name}: {note}" for note in twin.notes]
    except psycopg.Error as error:
        raise ServerUnfit(f"the target refuses: {said(error)}", hint="Nothing was changed.") from error
    finally:
        target.close()
    return tuple(loaded), tuple(notes)


def _dump(brought: Brought, sources: list[Source], order: ExtractOrder, path: Path) -> int:
    """Let pg_dump write the tables, partitions and all, in its custom format; return the size."""
    instance = brought.instance
    inside = brought.scratch.root / "extract.dump"
    inside.touch(mode=0o600)  # who runs pg_dump may make no file there
    brought.scratch.give(inside)
    argv: list[str | Path] = [instance.programs.path("pg_dump"), "--format=custom", "--no-password", f"--file={inside}"]
    argv += [f"--table={name.quoted}" for source in sources for name in (source.name, *source.below)]
    argv += [f"--dbname={make_conninfo(brought.dsn, dbname=order.database)}"]
    command = instance.launcher.command(argv, env=SERVER_ENVIRONMENT)
    run(command.argv, timeout=DUMP_SECONDS, env=command.env)
    part = path.with_name(f".{path.name}.{brought.scratch.id}")
    try:
        with (
            inside.open("rb") as written,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        ):
            shutil.copyfileobj(written, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # never over what somebody put there meanwhile
    except FileExistsError as error:
        raise Refused(f"'{path}' exists, and is left alone", hint="Choose another --file.") from error
    finally:
        part.unlink(missing_ok=True)
    return path.stat().st_size

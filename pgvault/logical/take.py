"""Take a logical backup: every database in a snapshot of its own, and what belongs to all of them.

    lease ─► globals ─► each database: dump.py ─► refs ─► lease still ours? ─► root = commit

Until the root is put nothing is listed; when anything fails before, an *aborted* record takes the root's place. The
spool and pg_dump end with us, however we end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from pgvault import __version__
from pgvault.anomaly.kind import kind_of
from pgvault.anomaly.measuring import measure
from pgvault.backup.alone import LOGICAL, being_alone
from pgvault.backup.committing import abort_after, commit_checked, require_root
from pgvault.backup.copying import Copier
from pgvault.backup.reading import ReadingRules
from pgvault.errors import UsageError
from pgvault.instants import Clock
from pgvault.logical.databases import FoundDatabase, choose_databases, find_databases
from pgvault.logical.dump import Dumping, dump_database, dump_globals
from pgvault.logical.packing import Packer
from pgvault.logical.request import LogicalRequest
from pgvault.logical.server import LogicalServer, find_server, require_same_system
from pgvault.logical.spool import open_spool
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import Session
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import Lease
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

# Nothing of a dump is a page of a relation, and nothing is decided by blocks.
RULES = ReadingRules(Lsn(0), check_pages=False, relseg_size=1, block_key=None)


@dataclass(frozen=True, slots=True)
class LogicalRun:
    """A logical backup under way, of whatever type."""

    repository: Repository
    label: str
    lease: Lease
    dumping: Dumping
    databases: tuple[FoundDatabase, ...]  # to be dumped, by oid
    started_at: datetime  # server clock

    @property
    def server(self) -> LogicalServer:
        return self.dumping.server


def take_logical(
    repository: Repository, request: LogicalRequest, *, clock: Clock, progress: Progress
) -> LogicalManifest:
    """Take a logical backup and return its committed root.

    Raises ServerUnreachable, ServerUnfit, AlreadyRunning, ProgramMissing, ProgramFailed, DiskFull, OtherCluster,
    UsageError, or what the store raises; then nothing is listed.
    """
    with logical_run(repository, request, clock=clock, progress=progress) as run:
        run.dumping.packer.add(GLOBALS, dump_globals(run.dumping))
        dumped = []
        for database in run.databases:
            progress.phase(f"dumping {database.name}")
            dumped.append(dump_database(run.dumping, database))
        if request.data_class is not None and not any(each.table_count for each in dumped):
            patterns = ", ".join(each.text for each in request.data_class.tables)
            raise UsageError(
                f"no table fits class {request.data_class.name!r}: {patterns}",
                hint="Patterns are of schema.table, as in public.accounts or app.*",
            )
        return commit_run(run, dumped)


@contextmanager
def logical_run(
    repository: Repository, request: LogicalRequest, *, clock: Clock, progress: Progress
) -> Iterator[LogicalRun]:
    """Begin a backup: find the server, be alone, make a spool; an error in the `with` aborts the label."""
    with Session(request.dsn, password=request.password) as session:
        server = find_server(session, request)
        databases = choose_databases(find_databases(session), request)
        require_same_system(repository, server)
        label = layout.make_label(clock.now(), os.urandom(2))
        copier = Copier(repository, request.cluster, label, rules=RULES, progress=progress)
        claim = Claim(request.cluster, label)
        with (
            being_alone(repository, session, LOGICAL, claim=claim, terms=request.terms) as lease,
            open_spool(request.spool) as spool,
        ):
            try:
                with Packer(copier, jobs=request.jobs, limit=request.spool_limit) as packer:
                    dumping = Dumping(server, spool, packer)
                    yield LogicalRun(repository, label, lease, dumping, tuple(databases), session.clock())
            except BaseException as error:
                abort_after(error, repository, request.cluster, label)
                raise


def commit_run(run: LogicalRun, dumped: Iterable[LogicalDatabase], *, is_loaded: bool | None = None) -> LogicalManifest:
    """Store what is left and the root; return it. Raises what the store raises, ObjectCorrupt."""
    server, packer = run.server, run.dumping.packer
    request = server.request
    copied = packer.finish()
    objects = (*copied.packs, *copied.parts)
    refs = put_refs(run.repository, layout.refs(request.cluster, run.label), objects)
    manifest = LogicalManifest(
        label=run.label,
        type=request.type,
        cluster=request.cluster,
        system_identifier=server.system_identifier,
        started_at=run.started_at,
        stopped_at=server.session.clock(),
        version_num=server.version_num,
        dump_version=server.programs.minor_text,
        class_name=None if request.data_class is None else request.data_class.name,
        databases=tuple(dumped),
        has_globals=True,
        has_passwords=server.sees_passwords,
        total_bytes=copied.total_bytes,
        stored_bytes=sum(stored.length for stored in (*objects, refs)),
        file_count=copied.file_count,
        packs=copied.packs,
        parts=copied.parts,
        refs=refs,
        written_by=f"pgvault {__version__}",
        is_loaded=is_loaded,
    )
    kind = kind_of(manifest, request.databases)
    manifest = replace(manifest, measures=measure(run.repository, manifest, request.anomaly, kind=kind))
    commit_checked(run.repository, manifest, lease=run.lease)
    require_root(run.repository, manifest)
    logger.info(
        "committed %s backup %s, %d bytes in %d files; the spool held %d bytes at most, pg_dump waited %.1f s for it",
        manifest.type,
        manifest.label,
        manifest.total_bytes,
        manifest.file_count,
        packer.peak_bytes,
        packer.stopped_seconds,
    )
    return manifest

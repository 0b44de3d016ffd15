"""Take a full physical backup of a cluster, from a source (source.py).

    lease ─► prove archiving ─► start ─► copy ─► pg_control ─► stop
          ─► inventory ─► wait for WAL start..stop in the repository ─► refs ─► measures ─► lease still ours?
          ─► root = commit ─► watermark

One session starts and stops the backup and is never replaced; when it is lost, there is no backup (pitfall 15). Until
the root is put nothing is listed; when anything fails before, an *aborted* record takes the root's place, so that
this label can never come true behind our back.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from pgvault import __version__
from pgvault.anomaly.measuring import measure
from pgvault.backup.alone import PHYSICAL, being_alone
from pgvault.backup.batches import make_batches
from pgvault.backup.committing import abort_after, commit_checked, require_root
from pgvault.backup.copying import Copier, CopyResult
from pgvault.backup.inventory import take_inventory
from pgvault.backup.local import LocalSource
from pgvault.backup.reading import ReadingRules
from pgvault.backup.remote import RemoteSource
from pgvault.backup.source import Source, Started, check_ended, check_server, postgres_facts
from pgvault.config.anomaly import AnomalyConfig
from pgvault.errors import ArchiveNotWorking, ObjectMissing, PgvaultError
from pgvault.instants import Clock
from pgvault.postgres.backuplabel import BackupLabel
from pgvault.postgres.basebackup import BaseBackupOrder
from pgvault.postgres.replication import ServerAddress
from pgvault.postgres.server import ServerFacts, Session, StoppedBackup, Watermark
from pgvault.postgres.sizes import databases_bytes
from pgvault.postgres.standby import knowing_primary
from pgvault.postgres.walname import TimelineHistoryFile, segments_between
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.blockmap import block_key
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import USUAL_TERMS, Lease, Terms
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.walobjects import read_wal_bytes
from pgvault.repository.watermark import StoredWatermark, put_watermark
from pgvault.wal.arrival import ArchivingServer, finish_segment, prove_archiving, wait_for_segments
from pgvault.wal.push import push_wal
from pgvault.wal.walfile import WalOwner

logger = logging.getLogger(__name__)

PING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RemoteOrder:
    """How to reach the server once more, for what it sends."""

    dsn: str
    password: str | None = field(default=None, repr=False)
    max_rate: int | None = None  # bytes a second


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What to back up, and how hard to try."""

    cluster: str
    data_directory: Path | None  # where it lies for us; None: where the server says
    jobs: int  # worker threads
    archive_wait: timedelta  # how long WAL may take to arrive
    is_untested_major_allowed: bool = False
    stream_slot: str | None = None  # of `pgvault wal stream`, which brings the WAL; None: the server archives
    terms: Terms = USUAL_TERMS  # of the lease
    anomaly: AnomalyConfig = field(default_factory=AnomalyConfig)  # by which later ones are compared with it
    remote: RemoteOrder | None = None  # by the replication protocol, from any host; None: files on this one
    # Of a standby: the way to where its WAL is switched. None: whatever finishes the last segment is waited for.
    connect_primary: Callable[[], Session] | None = None


@dataclass(slots=True)
class _Run:
    """One backup under way."""

    label: str
    lease: Lease
    server: ArchivingServer
    source: Source
    request: BackupRequest
    progress: Progress
    _looked_at: float = -math.inf

    def look_after(self) -> None:
        """See, now and then, that session and lease are still ours. Raises ServerUnreachable, AlreadyRunning."""
        now = self.server.clock.monotonic()
        if now - self._looked_at > PING_SECONDS:
            self.session.ping()
            self.lease.require_not_lost()
            self._looked_at = self.server.clock.monotonic()

    @property
    def repository(self) -> Repository:
        return self.server.repository

    @property
    def session(self) -> Session:
        return self.server.session

    @property
    def facts(self) -> ServerFacts:
        return self.server.facts


def take_backup(
    repository: Repository, session: Session, request: BackupRequest, *, clock: Clock, progress: Progress
) -> Manifest:
    """Take a backup and return its committed root.

    Raises ServerUnfit, MajorUnsupported, OtherCluster, ArchiveNotWorking, SourceUnreadable, AlreadyRunning, or what the
    store raises; then nothing is listed.
    """
    facts = session.facts()
    with knowing_primary(facts, request.connect_primary) as primary:
        check_server(
            facts,
            is_untested_major_allowed=request.is_untested_major_allowed,
            is_streamed=request.stream_slot is not None,
            primary=None if primary is None else primary.facts,
        )
        server = ArchivingServer(
            repository, request.cluster, session, facts, request.archive_wait, clock, request.stream_slot, primary
        )
        label = layout.make_label(clock.now(), os.urandom(2))
        claim = Claim(request.cluster, label)
        with (
            closing(_open_source(session, facts, request)) as source,
            being_alone(repository, session, PHYSICAL, claim=claim, terms=request.terms) as lease,
        ):
            return _take(_Run(label, lease, server, source, request, progress))


def _open_source(session: Session, facts: ServerFacts, request: BackupRequest) -> Source:
    remote = request.remote
    if remote is None:
        return LocalSource.of(session, facts, request.data_directory)
    address = ServerAddress.of(session, remote.dsn, password=remote.password)
    return RemoteSource(session, BaseBackupOrder(address, remote.max_rate))


def _take(run: _Run) -> Manifest:
    repository, cluster, facts = run.repository, run.request.cluster, run.facts
    system = System(facts.system_identifier, facts.major)
    require_system(repository, cluster, system, now=run.server.clock.now())
    run.progress.phase("archiving")
    prove_archiving(run.server)
    try:
        manifest, stopped = _copy_and_stop(run)
        manifest = replace(manifest, measures=measure(repository, manifest, run.request.anomaly))
        commit_checked(repository, manifest, lease=run.lease)
    except BaseException as error:
        abort_after(error, repository, cluster, run.label)
        raise
    require_root(repository, manifest)
    _leave_last_watermarks(run.server, stopped)
    logger.info("committed backup %s, %d bytes in %d files", run.label, manifest.total_bytes, manifest.file_count)
    return manifest


def leave_watermark(server: ArchivingServer, *, source: str) -> None:
    """Note the server's time and WAL position, so that a moment without commits is provable later.

    A standby knows neither: where its primary is not known, nothing is noted.
    """
    if (writer := server.writer) is not None:
        _store_watermark(server, writer.idle_watermark(), source=source)


def _store_watermark(server: ArchivingServer, mark: Watermark, *, source: str) -> None:
    system = server.facts.system_identifier
    stored = StoredWatermark(system, mark.server_at, mark.lsn, mark.timeline, mark.is_idle, source, mark.next_xid)
    put_watermark(server.repository, server.cluster, stored)


def _leave_last_watermarks(server: ArchivingServer, stopped: Watermark | None) -> None:
    """Leave watermarks behind a backup that is committed already: without them it is no less a backup.

    That of the stop lies in WAL that is archived. Whatever came since, be it a page of the catalog that was tidied up
    when the inventory was read, lies in WAL that on an idle server is archived much later.
    """
    try:
        if stopped is not None:
            _store_watermark(server, stopped, source="backup")
        leave_watermark(server, source="backup")
    except PgvaultError as error:
        logger.warning("no watermark was left behind the backup: %s", error)


def _copy_and_stop(run: _Run) -> tuple[Manifest, Watermark | None]:
    started_at = run.session.clock()
    started = run.source.start(f"pgvault {run.label}", run.look_after)
    run.progress.phase("copying", databases_bytes(run.session))
    copied = _copy(run, started)
    ended = run.source.stop()
    stopped_at = run.session.latest_clock()
    mark = _stop_mark(run.server)
    inventory = take_inventory(run.repository, run.session, ended.before, cluster=run.request.cluster, label=run.label)
    facts, stopped = started.facts, ended.stopped
    positions = BackupLabel.parse(stopped.label_file)
    check_ended(ended, positions, in_recovery=run.facts.in_recovery)
    run.progress.phase("waiting for WAL")
    wal = _needed_wal(run, positions, stopped)
    objects = (*copied.packs, *copied.parts, *copied.maps, *inventory)
    refs = put_refs(run.repository, layout.refs(run.request.cluster, run.label), (*objects, *wal))
    manifest = Manifest(
        label=run.label,
        type="full",
        cluster=run.request.cluster,
        source=run.source.kind,
        system_identifier=facts.system_identifier,
        timeline=positions.timeline,
        start_lsn=positions.start_lsn,
        checkpoint_lsn=positions.checkpoint_lsn,
        stop_lsn=stopped.stop_lsn,
        started_at=started_at,
        stopped_at=stopped_at,
        time_zone=facts.timezone,
        log_time_zone=facts.log_timezone,
        postgres=postgres_facts(facts, ended.control),
        owner=ended.owner,
        databases=facts.databases,
        tablespaces={oid: space.location for oid, space in facts.tablespaces.items()},
        backup_label=stopped.label_file,
        tablespace_map=stopped.tablespace_map,
        total_bytes=copied.total_bytes,
        stored_bytes=sum(stored.length for stored in (*objects, refs)),
        file_count=copied.file_count,
        page_errors=copied.page_errors,
        packs=copied.packs,
        parts=copied.parts,
        maps=copied.maps,
        wal=wal,
        refs=refs,
        written_by=f"pgvault {__version__}",
        inventory=inventory,
    )
    return manifest, mark


def _stop_mark(server: ArchivingServer) -> Watermark | None:
    """Return a watermark of right behind the stop, before the segment is finished in which it lies."""
    if not server.facts.in_recovery:
        return server.session.idle_watermark()
    try:
        return None if server.writer is None else server.writer.idle_watermark()
    except PgvaultError as error:
        logger.warning("the primary is not asked for a watermark: %s", error)
        return None


def _copy(run: _Run, started: Started) -> CopyResult:
    """Copy everything; pg_control strictly last (pitfall 7)."""
    repository = run.repository
    key = block_key(repository.keys.active, repository.id)
    pages = started.layout
    rules = ReadingRules(started.start_lsn, pages.has_data_checksums, pages.relseg_size, key)
    copier = Copier(repository, run.request.cluster, run.label, rules=rules, progress=run.progress)
    jobs = run.request.jobs
    batches = make_batches(run.source.pieces(), limit=run.source.batch_bytes)
    for records in copier.copy(batches, jobs=jobs, ahead=run.source.ahead(jobs)):
        run.source.copied(records)
        run.look_after()
    last = make_batches([run.source.control()], first=copier.batch_count)
    for records in copier.copy(last, jobs=1):
        run.source.copied(records)
    return copier.finish()


def _needed_wal(run: _Run, positions: BackupLabel, stopped: StoppedBackup) -> tuple[Stored, ...]:
    """Wait for the segments start..stop and see to the history file of their timeline."""
    finish_segment(run.server)
    size = run.facts.wal_segment_size
    segments = segments_between(positions.timeline, positions.start_lsn, stopped.stop_lsn, size)
    stored = wait_for_segments(run.server, segments)
    if positions.timeline == 1:
        return stored
    return (*stored, _history(run, positions.timeline))


def _history(run: _Run, timeline: int) -> Stored:
    """Return the archived history file, pushing it when it was written before pgvault archived here."""
    name = TimelineHistoryFile(timeline).name
    system = run.facts.system_identifier
    try:
        wal, _ = read_wal_bytes(run.repository, run.request.cluster, system, name)
    except ObjectMissing:
        owner = WalOwner(system, run.facts.major, run.facts.wal_segment_size)
        with TemporaryDirectory(prefix="pgvault-") as scratch:
            path = run.source.history_file(timeline, Path(scratch))
            if path is None:
                raise ArchiveNotWorking(f"history file {name} is neither archived nor in pg_wal") from None
            push_wal(run.repository, run.request.cluster, path, clock=run.server.clock, owner=owner)
        wal, _ = read_wal_bytes(run.repository, run.request.cluster, system, name)
    return wal.stored

"""`verify`: read back every object of every backup and the WAL between, and check all of it.

    physical: objects (backups.py) ─► WAL start..stop      logical: objects ─► files of each database (logical.py)
    then, per system and timeline, every archived segment from the oldest backup on: opens, is itself, none missing
    and every streamed tail of a segment that is not archived whole: opens, and agrees with the others

A problem does not end the run: everything is looked at, all problems are returned. Nothing to look at is a problem.
WAL is asked for only where a physical backup needs it: logical backups alone are whole without any.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreUnreachable, WalGap
from pgvault.pooling import map_bounded
from pgvault.postgres.walheader import check_segment, read_long_header
from pgvault.postgres.walname import WalSegment
from pgvault.progress import Progress
from pgvault.recovery.path import cover, find_path
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog, read_root
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System
from pgvault.repository.tails import chain, covered_to, read_promised, read_tail
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.repository.walobjects import read_wal
from pgvault.verify.backups import BackupReader
from pgvault.verify.logical import verify_content
from pgvault.verify.report import Findings, VerifyReport
from pgvault.wal.arrival import read_segment


class Verifier:
    """One run over one cluster."""

    def __init__(self, repository: Repository, cluster: str, *, jobs: int, progress: Progress) -> None:
        self._repository = repository
        self._cluster = cluster
        self._jobs = jobs
        self._findings = Findings(progress)
        self._backups = BackupReader(repository, self._findings, jobs)

    @property
    def report(self) -> VerifyReport:
        """What was found so far."""
        return self._findings.report

    def run(self) -> VerifyReport:
        """Look at everything; raises only what ends all looking (a store that does not answer)."""
        catalog = read_catalog(self._repository, self._cluster)
        for entry in catalog.unreadable:
            self._findings.note(f"backup {entry.label}", entry.error)
        if not catalog.backups and not catalog.logical:
            missing = ObjectMissing(f"cluster {self._cluster!r} has no backup that opens: there is nothing to verify")
            self._findings.note("catalog", missing)
        for manifest in catalog.backups:
            self._verify_physical(manifest)
        for logical in catalog.logical:
            self._verify_logical(logical)
        for system in dict.fromkeys(manifest.system_identifier for manifest in catalog.backups):
            of_system = [manifest for manifest in catalog.backups if manifest.system_identifier == system]
            self._findings.tried(f"WAL of system {system}", partial(self._verify_wal, of_system))
        for label in catalog.unfinished:  # last, so that a backup that runs beside us had its time to commit
            self._findings.tried(f"backup {label}", partial(self._verify_unfinished, label))
        return self.report

    def _verify_physical(self, manifest: Manifest) -> None:
        what = f"backup {manifest.label}"
        self._findings.tried(what, partial(_require_good_pages, manifest))
        self._backups.read_back(manifest, wal=manifest.wal)
        for stored in manifest.wal:
            self._findings.tried(what, partial(self._verify_needed_wal, manifest, stored))

    def _verify_logical(self, manifest: LogicalManifest) -> None:
        self._backups.read_back(manifest)
        noted = {str(problem.error) for problem in self.report.problems}
        for error in verify_content(self._repository, manifest):
            if str(error) not in noted:
                self._findings.note(f"backup {manifest.label}", error)

    def _verify_unfinished(self, label: str) -> None:
        """The list of what a backup needs is put last but one: a label that has it should have a root."""
        path = layout.refs(self._cluster, label)
        try:
            self._repository.deciding.store.size(path)
        except ObjectMissing:
            return
        try:
            read_root(self._repository, self._cluster, label)
        except ObjectMissing as error:
            raise ObjectMissing(
                f"{layout.manifest(self._cluster, label)!r} is absent, and all else of that backup is there: deleted, "
                "unless the backup was killed in the moment of its commit"
            ) from error

    def _verify_needed_wal(self, manifest: Manifest, stored: Stored) -> None:
        name = stored.path.rpartition("/")[2]
        wal, frames = read_wal(self._repository, self._cluster, manifest.system_identifier, name)
        if wal.stored.sha256 != stored.sha256:
            raise ObjectCorrupt(f"WAL file {name} is not the one the backup was committed with")
        for _ in frames:
            pass

    def _verify_wal(self, backups: list[Manifest]) -> None:
        """Walk every timeline from the oldest backup that leads to it, to its end."""
        newest = backups[-1]
        size = newest.wal_segment_size
        inventory = read_inventory(
            self._repository,
            self._cluster,
            newest.system_identifier,
            segment_size=size,
            passed_over=lambda name, error: self._findings.note(f"WAL {name}", error),
        )
        segments: set[WalSegment] = set()
        for timeline in sorted({segment.timeline for segment in inventory.segments}):
            self._findings.tried(f"timeline {timeline}", partial(self._walk, timeline, backups, inventory, segments))
        self._findings.progress.phase("WAL", len(segments) * size)
        system = System(newest.system_identifier, newest.postgres_major)
        in_order = sorted(segments, key=lambda s: (s.timeline, s.number))
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="verify") as pool:
            for segment, found in map_bounded(
                pool, lambda one: (one, self._look_into_segment(one, system, inventory)), in_order
            ):
                if isinstance(found, PgvaultError):
                    self._findings.note(f"WAL {segment.name}", found)
                else:
                    self.report.segment_count += 1
                    self._findings.count(found, advance=size)
        for segment in sorted(inventory.all_tails):
            if segment in inventory.segments:
                self.report.notes.append(f"WAL segment {segment.name} is archived, and its tails are still there")
            else:
                self._findings.tried(f"WAL {segment.name}", partial(self._verify_tails, segment, system, inventory))

    def _walk(self, timeline: int, backups: list[Manifest], inventory: WalInventory, segments: set[WalSegment]) -> None:
        """Collect what is archived on the way to a timeline; a hole with WAL behind it is a problem."""
        path = find_path(timeline, inventory)
        start = min((backup.start_lsn for backup in backups if path.holds(backup)), default=None)
        if start is None:
            return
        last = max((s.number for s in inventory.segments if path.has(s)), default=-1)
        while start.value // path.segment_size <= last:
            coverage = cover(path, start, archived=inventory.segments)
            segments.update(coverage.segments)
            if coverage.missing.number <= last:
                gap = WalGap(f"segment {coverage.missing.name} is missing, and WAL goes on behind it")
                self._findings.note(f"WAL {coverage.missing.name}", gap)
            start = coverage.missing.end_lsn

    def _verify_tails(self, segment: WalSegment, system: System, inventory: WalInventory) -> None:
        """Open every tail of a segment. A hole between tails is no damage: what lies behind it is of no use.

        A stream at work removes tails once their bytes are elsewhere; so one that has gone is looked for there.
        """
        repository, cluster, identifier = self._repository, self._cluster, system.system_identifier
        spans = inventory.all_tails[segment]
        links = chain(spans)
        self.report.tail_count += len(spans)
        for span in set(spans) - set(links):
            with suppress(ObjectMissing):
                read_tail(repository, cluster, identifier, segment, span=span)
        if max(span.end for span in spans) > covered_to(links):
            self.report.notes.append(f"tails of WAL segment {segment.name} lie behind a hole, of use to nobody")
        if not links:
            return
        content = read_promised(repository, cluster, identifier, segment, links)
        if segment in inventory.tails:  # else the first page's header is not there yet
            history = inventory.histories.get(segment.timeline)
            header = read_long_header(content)
            check_segment(header, segment, system_identifier=identifier, major=system.major, history=history)

    def _look_into_segment(self, segment: WalSegment, system: System, inventory: WalInventory) -> int | PgvaultError:
        history = inventory.histories.get(segment.timeline)
        try:
            wal = read_segment(self._repository, self._cluster, segment, system=system, history=history)
        except StoreUnreachable:
            raise
        except PgvaultError as error:
            return error
        return len(wal.body)


def _require_good_pages(manifest: Manifest) -> None:
    """Raise ObjectCorrupt when pages were damaged at the source: what is stored is whole, and no whole cluster."""
    errors = manifest.page_errors
    if errors.count:
        raise ObjectCorrupt(f"{errors.count} pages had wrong checksums when they were read, first: {errors.first[0]}")

"""`verify`: read back every object of every backup and the WAL between, and check all of it.

    root ─► refs (digests agree) ─► parts (extents cover files) ─► packs (every extent's CRC) ─► maps ─► WAL start..stop
    then, per system and timeline, every archived segment from the oldest backup on: opens, is itself, none missing

A problem does not end the run: everything is looked at, all problems are returned. Nothing to look at is a problem.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from awscrt.checksums import combine_crc32c

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, VerifyFailed, WalGap
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.postgres.walheader import check_segment, read_long_header
from pgvault.postgres.walname import WalSegment
from pgvault.progress import Progress
from pgvault.repository.catalog import read_catalog
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored, read_frames
from pgvault.repository.packs import OpenedPack, PackRun, pack_runs
from pgvault.repository.refs import decode_refs
from pgvault.repository.repository import Repository
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.repository.walobjects import read_wal_bytes
from pgvault.restore.path import RecoveryPath, cover, find_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not whole."""

    what: str  # "backup LABEL", "WAL NAME"
    error: PgvaultError


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, and what was wrong with it."""

    backups: list[str] = field(default_factory=list)  # labels that were read back
    object_count: int = 0
    stored_bytes: int = 0
    segment_count: int = 0
    problems: list[Problem] = field(default_factory=list)

    def require_whole(self) -> None:
        """Raise VerifyFailed when there is any problem."""
        if self.problems:
            first = self.problems[0]
            raise VerifyFailed(
                f"{len(self.problems)} problems; first, {first.what}: {first.error}",
                hint="What is damaged is not deleted. Take a new backup now; then look at the store.",
            )


class Verifier:
    """One run over one cluster."""

    def __init__(self, repository: Repository, cluster: str, *, jobs: int, progress: Progress) -> None:
        self._repository = repository
        self._cluster = cluster
        self._jobs = jobs
        self._progress = progress
        self.report = VerifyReport()

    def run(self) -> VerifyReport:
        """Look at everything; raises only what ends all looking (a store that does not answer)."""
        catalog = read_catalog(self._repository, self._cluster)
        for entry in catalog.unreadable:
            self.report.problems.append(Problem(f"backup {entry.label}", entry.error))
        if not catalog.backups:
            missing = ObjectMissing(f"cluster {self._cluster!r} has no backup that opens: there is nothing to verify")
            self.report.problems.append(Problem("catalog", missing))
        for manifest in catalog.backups:
            self._verify_backup(manifest)
        for system in dict.fromkeys(manifest.system_identifier for manifest in catalog.backups):
            of_system = [manifest for manifest in catalog.backups if manifest.system_identifier == system]
            self._try(f"WAL of system {system}", partial(self._verify_wal, of_system))
        return self.report

    def _try(self, what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except (ObjectMissing, ObjectCorrupt, WalGap) as error:
            logger.warning("%s: %s", what, error)
            self.report.problems.append(Problem(what, error))

    def _verify_backup(self, manifest: Manifest) -> None:
        what = f"backup {manifest.label}"
        self._progress.phase(what, manifest.stored_bytes)
        self.report.backups.append(manifest.label)
        self._try(what, partial(self._verify_refs, manifest))
        self._try(what, partial(self._verify_files, manifest))
        for stored in manifest.maps:
            self._try(what, partial(self._open, stored, Kind.MAP))
        for stored in manifest.wal:
            self._try(what, partial(self._verify_needed_wal, manifest, stored))

    def _verify_refs(self, manifest: Manifest) -> None:
        """The clear list must be the one the root was made with, and name just what the root names."""
        path = manifest.refs.path
        raw = self._repository.deciding.store.get(path)
        named = decode_refs(raw, where=path)
        needed = (*manifest.packs, *manifest.parts, *manifest.maps, *manifest.wal)
        if named != {stored.path: stored.sha256 for stored in needed}:
            raise ObjectCorrupt(f"{path!r} does not list what the backup's root lists")
        self._count(len(raw))

    def _verify_files(self, manifest: Manifest) -> None:
        """Every pack is opened and every extent compared; packs that no extent names are opened as well."""
        seen: set[int] = set()
        for stored in manifest.parts:
            self._count(stored.length)
        runs = pack_runs(_checked(read_records(self._repository, manifest), manifest.label))
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="verify") as pool:
            for run, error in map_bounded(pool, lambda run: (run, self._verify_run(manifest, run)), runs):
                seen.add(run.pack)
                if error is not None:
                    self.report.problems.append(Problem(f"backup {manifest.label}", error))
        for number in sorted(set(range(len(manifest.packs))) - seen):
            self._open(manifest.packs[number], Kind.PACK)

    def _verify_run(self, manifest: Manifest, run: PackRun) -> PgvaultError | None:
        if run.pack >= len(manifest.packs):
            return ObjectCorrupt(f"the file list of {manifest.label} names pack {run.pack}, which its root does not")
        stored = manifest.packs[run.pack]
        try:
            opened = OpenedPack(self._repository, stored)
            for placed in run.extents:
                for _ in opened.read(placed.extent):
                    pass
        except (ObjectMissing, ObjectCorrupt) as error:
            return error
        self._count(stored.length)
        return None

    def _verify_needed_wal(self, manifest: Manifest, stored: Stored) -> None:
        name = stored.path.rpartition("/")[2]
        wal, _ = read_wal_bytes(self._repository, self._cluster, manifest.system_identifier, name)
        if wal.stored.sha256 != stored.sha256:
            raise ObjectCorrupt(f"WAL file {name} is not the one the backup was committed with")

    def _verify_wal(self, backups: list[Manifest]) -> None:
        """Walk every timeline from the oldest backup that leads to it, to its end."""
        newest = backups[-1]
        size = newest.wal_segment_size
        inventory = read_inventory(self._repository, self._cluster, newest.system_identifier, segment_size=size)
        segments: set[WalSegment] = set()
        for path in _paths(inventory):
            held = [backup for backup in backups if path.holds(backup)]
            if held:
                segments.update(self._walk(path, min(held, key=lambda b: b.start_lsn), inventory))
        majors = {backup.system_identifier: backup.postgres_major for backup in backups}
        self._progress.phase("WAL", len(segments) * size)
        for segment in sorted(segments, key=lambda s: (s.timeline, s.number)):
            self._try(f"WAL {segment.name}", partial(self._verify_segment, segment, inventory, majors))
            self._progress.advance(size)

    def _walk(self, path: RecoveryPath, oldest: Manifest, inventory: WalInventory) -> Iterator[WalSegment]:
        """Yield what is archived on a path; a hole with WAL behind it is a problem."""
        last = max((s.number for s in inventory.segments if path.has(s)), default=-1)
        start = oldest.start_lsn
        while start.value // path.segment_size <= last:
            coverage = cover(path, start, archived=inventory.segments)
            yield from coverage.segments
            if coverage.missing.number <= last:
                gap = WalGap(f"segment {coverage.missing.name} is missing, and WAL goes on behind it")
                self.report.problems.append(Problem(f"WAL {coverage.missing.name}", gap))
            start = coverage.missing.end_lsn

    def _verify_segment(self, segment: WalSegment, inventory: WalInventory, majors: dict[int, int]) -> None:
        system = inventory.system_identifier
        wal, content = read_wal_bytes(self._repository, self._cluster, system, segment.name)
        if len(content) != segment.size:
            raise ObjectCorrupt(f"WAL segment {segment.name} has {len(content)} bytes, not {segment.size}")
        history = inventory.histories.get(segment.timeline)
        header = read_long_header(content)
        check_segment(header, segment, system_identifier=system, major=majors[system], history=history)
        self.report.segment_count += 1
        self._count(wal.stored.length)

    def _open(self, stored: Stored, kind: Kind) -> None:
        for _ in read_frames(self._repository, stored.path, kind, expected=stored):
            pass
        self._count(stored.length)

    def _count(self, stored_bytes: int) -> None:
        self.report.object_count += 1
        self.report.stored_bytes += stored_bytes
        self._progress.advance(stored_bytes)


def _checked(records: Iterator[FileRecord], label: str) -> Iterator[FileRecord]:
    """Pass records through; the CRC of each whole file must be that of its extents joined."""
    for record in records:
        crc = 0
        for extent in record.extents:
            crc = combine_crc32c(crc, extent.crc32c, extent.length) if extent.file_offset else extent.crc32c
        if crc != record.crc32c:
            raise ObjectCorrupt(f"file list of {label}: the CRC of {record.path!r} is not that of its extents")
        yield record


def _paths(inventory: WalInventory) -> Iterator[RecoveryPath]:
    for timeline in sorted({segment.timeline for segment in inventory.segments}):
        yield find_path(timeline, inventory)

"""`verify`: read back every object of every backup and the WAL between, and check all of it.

    root ─► refs (digests agree) ─► parts (extents cover files) ─► packs (every extent's CRC) ─► maps ─► WAL start..stop
    then, per system and timeline, every archived segment from the oldest backup on: opens, is itself, none missing
    and every streamed tail of a segment that is not archived whole: opens, and agrees with the others

A problem does not end the run: everything is looked at, all problems are returned. Nothing to look at is a problem.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreUnreachable, VerifyFailed, WalGap
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.postgres.walheader import check_segment, read_long_header
from pgvault.postgres.walname import WalSegment
from pgvault.progress import Progress
from pgvault.recovery.path import cover, find_path
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog, read_root
from pgvault.repository.checksums import check_sum
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored, read_frames
from pgvault.repository.packs import OpenedPack, PackRun, pack_runs
from pgvault.repository.refs import decode_refs
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System
from pgvault.repository.tails import chain, covered_to, read_promised, read_tail
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.repository.walobjects import read_wal
from pgvault.wal.arrival import read_segment

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
    tail_count: int = 0
    notes: list[str] = field(default_factory=list)  # what is whole, and somebody may wonder at
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
            self._note(f"backup {entry.label}", entry.error)
        if not catalog.backups:
            missing = ObjectMissing(f"cluster {self._cluster!r} has no backup that opens: there is nothing to verify")
            self._note("catalog", missing)
        for manifest in catalog.backups:
            self._verify_backup(manifest)
        for system in dict.fromkeys(manifest.system_identifier for manifest in catalog.backups):
            of_system = [manifest for manifest in catalog.backups if manifest.system_identifier == system]
            self._try(f"WAL of system {system}", partial(self._verify_wal, of_system))
        for label in catalog.unfinished:  # last, so that a backup that runs beside us had its time to commit
            self._try(f"backup {label}", partial(self._verify_unfinished, label))
        return self.report

    def _try(self, what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except StoreUnreachable:
            raise  # whatever else is asked would not be answered either
        except PgvaultError as error:
            self._note(what, error)

    def _note(self, what: str, error: PgvaultError) -> None:
        logger.warning("%s: %s", what, error)
        self.report.problems.append(Problem(what, error))

    def _verify_backup(self, manifest: Manifest) -> None:
        what = f"backup {manifest.label}"
        self._progress.phase(what, manifest.stored_bytes)
        self.report.backups.append(manifest.label)
        self._try(what, partial(_require_good_pages, manifest))
        self._try(what, partial(self._verify_refs, manifest))
        seen: set[int] = set()
        self._try(what, partial(self._verify_files, manifest, seen))
        for number, stored in enumerate(manifest.packs):  # that no list names, or behind the place where one broke
            if number not in seen:
                self._try(what, partial(self._open, stored, Kind.PACK))
        for stored in manifest.maps:
            self._try(what, partial(self._open, stored, Kind.MAP))
        for stored in manifest.wal:
            self._try(what, partial(self._verify_needed_wal, manifest, stored))

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

    def _verify_refs(self, manifest: Manifest) -> None:
        """The clear list must be the one the root was made with, and name just what the root names."""
        path = manifest.refs.path
        raw = self._repository.deciding.store.get(path)
        if hashlib.sha256(raw).digest() != manifest.refs.sha256:
            raise ObjectCorrupt(f"object {path!r} is not the one its backup was made with")
        named = decode_refs(raw, where=path)
        needed = (*manifest.packs, *manifest.parts, *manifest.maps, *manifest.wal)
        if named != {stored.path: stored.sha256 for stored in needed}:
            raise ObjectCorrupt(f"{path!r} does not list what the backup's root lists")
        self._count(len(raw))

    def _verify_files(self, manifest: Manifest, seen: set[int]) -> None:
        """Every pack that a list names is opened and every extent compared; notes in `seen` which were."""
        runs = pack_runs(_checked(self._records(manifest)))
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="verify") as pool:
            for run, error in map_bounded(pool, lambda run: (run, self._look_into_pack(manifest, run)), runs):
                if error is not None:
                    self._note(f"backup {manifest.label}", error)
                elif run.pack not in seen:
                    self._count(manifest.packs[run.pack].length)
                seen.add(run.pack)

    def _records(self, manifest: Manifest) -> Iterator[FileRecord]:
        for part in manifest.parts:
            yield from read_records(self._repository, replace(manifest, parts=(part,)))
            self._count(part.length)

    def _look_into_pack(self, manifest: Manifest, run: PackRun) -> PgvaultError | None:
        if run.pack >= len(manifest.packs):
            return ObjectCorrupt(f"the file list of {manifest.label} names pack {run.pack}, which its root does not")
        try:
            opened = OpenedPack(self._repository, manifest.packs[run.pack])
            for placed in run.extents:
                for _ in opened.read(placed.extent):
                    pass
        except StoreUnreachable:
            raise
        except PgvaultError as error:
            return error
        return None

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
            passed_over=lambda name, error: self._note(f"WAL {name}", error),
        )
        segments: set[WalSegment] = set()
        for timeline in sorted({segment.timeline for segment in inventory.segments}):
            self._try(f"timeline {timeline}", partial(self._walk, timeline, backups, inventory, segments))
        self._progress.phase("WAL", len(segments) * size)
        system = System(newest.system_identifier, newest.postgres_major)
        in_order = sorted(segments, key=lambda s: (s.timeline, s.number))
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="verify") as pool:
            for segment, found in map_bounded(
                pool, lambda one: (one, self._look_into_segment(one, system, inventory)), in_order
            ):
                if isinstance(found, PgvaultError):
                    self._note(f"WAL {segment.name}", found)
                else:
                    self.report.segment_count += 1
                    self._count(found, advance=size)
        for segment in sorted(inventory.all_tails):
            if segment in inventory.segments:
                self.report.notes.append(f"WAL segment {segment.name} is archived, and its tails are still there")
            else:
                self._try(f"WAL {segment.name}", partial(self._verify_tails, segment, system, inventory))

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
                self._note(f"WAL {coverage.missing.name}", gap)
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

    def _open(self, stored: Stored, kind: Kind) -> None:
        for _ in read_frames(self._repository, stored.path, kind, expected=stored):
            pass
        self._count(stored.length)

    def _count(self, stored_bytes: int, *, advance: int | None = None) -> None:
        self.report.object_count += 1
        self.report.stored_bytes += stored_bytes
        self._progress.advance(stored_bytes if advance is None else advance)


def _checked(records: Iterator[FileRecord]) -> Iterator[FileRecord]:
    """Pass records through, each looked at as a restore looks at it. Raises ObjectCorrupt."""
    for record in records:
        check_sum(record)
        yield record


def _require_good_pages(manifest: Manifest) -> None:
    """Raise ObjectCorrupt when pages were damaged at the source: what is stored is whole, and no whole cluster."""
    errors = manifest.page_errors
    if errors.count:
        raise ObjectCorrupt(f"{errors.count} pages had wrong checksums when they were read, first: {errors.first[0]}")

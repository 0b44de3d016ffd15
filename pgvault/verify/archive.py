"""Read back the archived WAL of one system: per timeline every segment from the oldest backup on, and streamed tails.

A hole with WAL behind it is a problem; a hole between tails is none. With a selection only a share of the segments, or
those pushed of late, are opened; holes are looked for in all names nevertheless.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from pgvault.errors import ObjectMissing, PgvaultError, StoreUnreachable, WalGap
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walheader import check_segment, read_long_header
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.expired import Expired
from pgvault.recovery.path import cover, find_path
from pgvault.repository import layout
from pgvault.repository.gaps import read_gaps
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System
from pgvault.repository.tails import chain, covered_to, read_promised, read_tail
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.repository.walinfo import read_info
from pgvault.verify.report import Findings, Suspect
from pgvault.verify.selection import Selection
from pgvault.wal.arrival import read_segment

# Segments are pushed in their order, but several at a time, and after a failure again: so far before the first that
# was pushed since a moment there may be another one.
STEP_BACK = 64


@dataclass(frozen=True, slots=True)
class ArchiveReader:
    """Reads back WAL."""

    repository: Repository
    cluster: str
    findings: Findings
    jobs: int
    selection: Selection = field(default_factory=Selection)
    every_copy: Repository | None = None  # whose records explain a hole: a copy may hear of an expiry last

    def read_back(self, backups: Sequence[Manifest]) -> None:
        """Walk every timeline from the oldest of these backups, all of one system, that leads to it, to its end."""
        newest = backups[-1]
        size = newest.wal_segment_size
        inventory = read_inventory(
            self.repository,
            self.cluster,
            newest.system_identifier,
            segment_size=size,
            passed_over=lambda name, error: self.findings.note(f"WAL {name}", error, [self._suspect(newest, name)]),
        )
        system = System(newest.system_identifier, newest.postgres_major)
        reach: set[WalSegment] = set()
        for timeline in sorted({segment.timeline for segment in inventory.segments}):
            self.findings.tried(f"timeline {timeline}", partial(self._walk, timeline, backups, inventory, reach))
        chosen = self._choose(sorted(reach, key=lambda s: (s.timeline, s.number)), system)
        self.findings.report.left_out_count += len(reach) - len(chosen)
        self.findings.progress.phase("WAL", len(chosen) * size)
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="verify") as pool:
            looked = map_bounded(pool, lambda one: (one, self._look_into(one, system, inventory)), chosen)
            for segment, found in looked:
                if isinstance(found, PgvaultError):
                    self.findings.note(f"WAL {segment.name}", found, [self._suspect(newest, segment.name)])
                else:
                    self.findings.report.segment_count += 1
                    self.findings.count(found, advance=size)
        for segment in sorted(inventory.all_tails):
            if segment in inventory.segments:
                self.findings.report.notes.append(
                    f"WAL segment {segment.name} is archived, and its tails are still there"
                )
                continue
            look = partial(self._verify_tails, segment, system, inventory)
            self.findings.tried(f"WAL {segment.name}", look, *self._tail_suspects(segment, inventory))

    def _choose(self, segments: list[WalSegment], system: System) -> list[WalSegment]:
        """Return those of the way's segments that are opened."""
        if self.selection.since is None:
            return self.selection.draw(f"WAL of {system.system_identifier}", segments)
        chosen: list[WalSegment] = []
        for timeline in sorted({segment.timeline for segment in segments}):
            of_timeline = [segment for segment in segments if segment.timeline == timeline]
            first = bisect_left(of_timeline, self.selection.since, key=partial(self._pushed_at, system))
            chosen += of_timeline[max(first - STEP_BACK, 0) if first < len(of_timeline) else first :]
        return self.selection.draw(f"WAL of {system.system_identifier}", chosen)

    def _pushed_at(self, system: System, segment: WalSegment) -> datetime:
        """When a segment was pushed; one that does not say counts as pushed just now, so that it is looked at."""
        try:
            return read_info(self.repository, self.cluster, system.system_identifier, segment.name).pushed_at
        except StoreUnreachable:
            raise
        except PgvaultError:
            assert self.selection.since is not None
            return self.selection.since

    def _walk(
        self, timeline: int, backups: Sequence[Manifest], inventory: WalInventory, reach: set[WalSegment]
    ) -> None:
        """Collect what is archived on the way to a timeline; a hole with WAL behind it is a problem.

        But for one that retention made.
        """
        path = find_path(timeline, inventory)
        start = min((backup.start_lsn for backup in backups if path.holds(backup)), default=None)
        if start is None:
            return
        last = max((s.number for s in inventory.segments if path.has(s)), default=-1)
        expired = Expired.of(
            path, read_gaps(self.every_copy or self.repository, self.cluster, inventory.system_identifier)
        )
        while start.value // path.segment_size <= last:
            coverage = cover(path, start, archived=inventory.segments)
            reach.update(coverage.segments)
            start = coverage.missing.end_lsn
            expired_to = expired.last_from(coverage.missing.number)
            if expired_to is not None:
                start = Lsn((expired_to + 1) * path.segment_size)
            elif coverage.missing.number <= last:
                name = coverage.missing.name
                gap = WalGap(f"segment {name} is missing, and WAL goes on behind it")
                self.findings.note(f"WAL {name}", gap, [self._suspect(backups[-1], name)])

    def _verify_tails(self, segment: WalSegment, system: System, inventory: WalInventory) -> None:
        """Open every tail of a segment. A hole between tails is no damage: what lies behind it is of no use.

        A stream at work removes tails once their bytes are elsewhere; so one that has gone is looked for there.
        """
        repository, cluster, identifier = self.repository, self.cluster, system.system_identifier
        spans = inventory.all_tails[segment]
        links = chain(spans)
        self.findings.report.tail_count += len(spans)
        for span in set(spans) - set(links):
            with suppress(ObjectMissing):
                read_tail(repository, cluster, identifier, segment, span=span)
        if max(span.end for span in spans) > covered_to(links):
            self.findings.report.notes.append(
                f"tails of WAL segment {segment.name} lie behind a hole, of use to nobody"
            )
        if not links:
            return
        content = read_promised(repository, cluster, identifier, segment, links)
        if segment in inventory.tails:  # else the first page's header is not there yet
            history = inventory.histories.get(segment.timeline)
            header = read_long_header(content)
            check_segment(header, segment, system_identifier=identifier, major=system.major, history=history)

    def _look_into(self, segment: WalSegment, system: System, inventory: WalInventory) -> int | PgvaultError:
        history = inventory.histories.get(segment.timeline)
        try:
            wal = read_segment(self.repository, self.cluster, segment, system=system, history=history)
        except StoreUnreachable:
            raise
        except PgvaultError as error:
            return error
        return len(wal.body)

    def _suspect(self, backup: Manifest, name: str) -> Suspect:
        return Suspect(layout.wal_file(self.cluster, backup.system_identifier, name), Kind.WAL)

    def _tail_suspects(self, segment: WalSegment, inventory: WalInventory) -> list[Suspect]:
        identifier = inventory.system_identifier
        return [
            Suspect(layout.tail(self.cluster, identifier, segment.name, start=span.start, end=span.end), Kind.TAIL)
            for span in inventory.all_tails[segment]
        ]

"""Gather what planning needs to know: roots, names of WAL files, watermarks, and a reader of archived WAL.

Only one system of a cluster can be planned for at a time: that of the wanted backup, else that of the newest one.
The reader fetches segments into a private directory, checks them as `wal fetch` does, and asks pg_waldump of the
backup's own major. Where that program is missing, only targets that need no look into WAL can be planned
(`--immediate`): nothing is guessed, and the error says so.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, ProgramMissing, TargetTooEarly
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.programs import Programs, find_programs
from pgvault.postgres.waldump import Changes, TransactionRecord, changes, record_starts, restore_points, transactions
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.facts import RestoreFacts, RestorePoint, WalReader
from pgvault.recovery.proofs import read_proofs
from pgvault.recovery.target import ImmediateTarget, LastGoodTarget, Target
from pgvault.repository.catalog import read_catalog
from pgvault.repository.gaps import read_gaps
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.tails import Span, covered_to
from pgvault.repository.walindex import read_inventory
from pgvault.repository.watermark import read_watermarks
from pgvault.wal.fetch import read_checked, read_streamed

SEGMENTS_KEPT = 4  # on disk; planning mostly goes back and forth between neighbours
CLOCK_SLACK = timedelta(days=1)  # watermarks are named by a clock that may have been set back


@dataclass(frozen=True, slots=True)
class Gathered:
    """The facts, and the roots they were taken from."""

    facts: RestoreFacts
    manifests: Mapping[str, Manifest]  # by label; of the same system
    notes: tuple[str, ...]  # what could not be read, for people

    def manifest(self, label: str) -> Manifest:
        """Return the root of a backup that was planned with."""
        return self.manifests[label]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where, and with which programs, WAL is looked into."""

    directory: Path | None = None  # of the private one; None: the system's own for temporary files
    find: Callable[[int], Programs] = find_programs  # of a major; raises ProgramMissing


HERE = Workplace()


@contextmanager
def gathering(
    repository: Repository,
    cluster: str,
    label: str | None,
    *,
    workplace: Workplace = HERE,
    target: Target | None = None,
) -> Iterator[Gathered]:
    """Gather the facts about a cluster; the reader in them works until this context ends.

    For `--immediate` as `target` a missing pg_waldump is a note, for `last-good` what drills proved is read.
    Raises TargetTooEarly without any backup, ObjectMissing for an unknown `label`, and what the store raises.
    """
    catalog = read_catalog(repository, cluster)
    chosen = None if label is None else catalog.find(label)
    if not catalog.backups:
        broken = f"; {len(catalog.unreadable)} can not be read" if catalog.unreadable else ""
        if catalog.logical:
            raise TargetTooEarly(
                f"cluster {cluster!r} has logical backups only{broken}: no WAL goes with them",
                hint="To the moment of one: pgvault restore --logical latest",
            )
        raise TargetTooEarly(f"cluster {cluster!r} has no backup{broken}", hint="See: pgvault list")
    newest = chosen or max(catalog.backups, key=lambda backup: backup.stopped_at)
    backups = [backup for backup in catalog.backups if backup.system_identifier == newest.system_identifier]
    system = newest.system_identifier
    notes = [f"backup {entry.label} can not be read: {entry.error}" for entry in catalog.unreadable]

    def passed_over(name: str, error: PgvaultError) -> None:
        notes.append(f"WAL file {name} can not be read: {error}")

    size = newest.wal_segment_size
    inventory = read_inventory(repository, cluster, system, segment_size=size, passed_over=passed_over)
    since = min(backup.started_at for backup in backups) - CLOCK_SLACK
    watermarks = read_watermarks(repository, cluster, system, since=since)
    if len(backups) < len(catalog.backups):
        notes.append(f"cluster {cluster!r} has had several systems; this is about {system}")
    with tempfile.TemporaryDirectory(prefix="pgvault-", dir=workplace.directory) as directory:
        private = Workplace(Path(directory), workplace.find)
        reader: WalReader = ArchivedWal(repository, cluster, newest, private, tails=inventory.tail_spans)
        if isinstance(target, ImmediateTarget) and not has_waldump(newest.postgres_major, workplace):
            reader = UnreadWal()
            notes.append(f"how far the WAL reaches is not known: no pg_waldump of PostgreSQL {newest.postgres_major}")
        proofs = read_proofs(repository, cluster, system) if isinstance(target, LastGoodTarget) else ()
        facts = RestoreFacts(backups, inventory, watermarks, reader, read_gaps(repository, cluster, system), proofs)
        yield Gathered(facts, {backup.label: backup for backup in backups}, tuple(notes))


def has_waldump(major: int, workplace: Workplace = HERE) -> bool:
    """Tell whether WAL of that major can be looked into here."""
    try:
        workplace.find(major).path("pg_waldump")
    except ProgramMissing:
        return False
    return True


class UnreadWal:
    """A WalReader that saw nothing: only for a target that no record decides."""

    def transactions(self, segment: WalSegment, following: WalSegment | None) -> Sequence[TransactionRecord]:  # noqa: ARG002
        """See WalReader."""
        return ()

    def restore_points(self, segment: WalSegment, following: WalSegment | None) -> Sequence[RestorePoint]:  # noqa: ARG002
        """See WalReader."""
        return ()

    def last_record(self, segments: Sequence[WalSegment]) -> Lsn | None:  # noqa: ARG002
        """See WalReader."""
        return None

    def first_record(self, segments: Sequence[WalSegment], lsn: Lsn) -> tuple[Lsn, Lsn] | None:  # noqa: ARG002
        """See WalReader."""
        return None

    def changes(self, segments: Sequence[WalSegment], ended_by: Lsn) -> Changes:  # noqa: ARG002
        """See WalReader."""
        return Changes(frozenset(), frozenset())


class ArchivedWal:
    """Reads records out of archived segments; a WalReader."""

    def __init__(
        self,
        repository: Repository,
        cluster: str,
        backup: Manifest,
        workplace: Workplace,
        *,
        tails: Mapping[WalSegment, Sequence[Span]],
    ) -> None:
        """Segments in `tails` are put together from these. The workplace's directory is ours alone."""
        assert workplace.directory is not None
        self._tails = tails
        self._repository = repository
        self._cluster = cluster
        self._system = backup.system_identifier
        self._major = backup.postgres_major
        self._directory = workplace.directory
        self._find = workplace.find
        self._kept: dict[WalSegment, Path] = {}  # the one used last is last
        self._runs = 0

    def transactions(self, segment: WalSegment, following: WalSegment | None) -> Sequence[TransactionRecord]:
        """See WalReader."""
        programs = self._programs()
        run = self._pair(segment, following)
        directory, names = self._run(run)
        found = transactions(programs, directory, names, cut_at=self._cut(run))
        return [record for record in found if segment.holds(record.lsn)]

    def restore_points(self, segment: WalSegment, following: WalSegment | None) -> Sequence[RestorePoint]:
        """See WalReader."""
        programs = self._programs()
        run = self._pair(segment, following)
        directory, names = self._run(run)
        found = restore_points(programs, directory, names, cut_at=self._cut(run))
        return [RestorePoint(lsn, name) for lsn, name in found if segment.holds(lsn)]

    def last_record(self, segments: Sequence[WalSegment]) -> Lsn | None:
        """See WalReader. A record may be longer than a segment: look on until one begins in a later segment."""
        programs = self._programs()
        count = 1
        while True:
            count = min(count * 2, len(segments))
            starts = self._starts(programs, segments[:count])
            here = [lsn for lsn in starts if segments[0].holds(lsn)]
            if count == len(segments) or len(here) < len(starts):
                return max(here, default=None)

    def first_record(self, segments: Sequence[WalSegment], lsn: Lsn) -> tuple[Lsn, Lsn] | None:
        """See WalReader. The record may be longer than many segments, and so may the one that `lsn` is in."""
        programs = self._programs()
        count = 1
        while True:
            starts = self._starts(programs, segments[:count])
            found = [start for start in starts if start >= lsn]
            if found:
                return found[0], found[1] if len(found) > 1 else segments[count - 1].end_lsn
            if count == len(segments):
                return None
            count = min(count * 2, len(segments))

    def changes(self, segments: Sequence[WalSegment], ended_by: Lsn) -> Changes:
        """See WalReader."""
        directory, names = self._run(segments)
        return changes(self._programs(), directory, names, ended_by=ended_by, cut_at=self._cut(segments))

    def _pair(self, segment: WalSegment, following: WalSegment | None) -> list[WalSegment]:
        """Return a segment with the one behind it, unless that is damaged: recovery can not read on into it either."""
        if following is None:
            return [segment]
        try:
            self._fetch(following)
        except (ObjectCorrupt, ObjectMissing):
            return [segment]
        return [segment, following]

    def _starts(self, programs: Programs, run: Sequence[WalSegment]) -> list[Lsn]:
        return record_starts(programs, *self._run(run), cut_at=self._cut(run))

    def _cut(self, run: Sequence[WalSegment]) -> Lsn | None:
        """Where a run ends that ends in tails."""
        spans = self._tails.get(run[-1])
        return run[-1].start_lsn + covered_to(spans) if spans else None

    def _programs(self) -> Programs:
        try:
            programs = self._find(self._major)
            programs.path("pg_waldump")
        except ProgramMissing as error:
            raise ProgramMissing(
                f"planning needs pg_waldump of PostgreSQL {self._major}, and it is not on this machine: without it "
                "nobody knows whether the target can be reached",
                hint=f"{error.hint} Without it, --immediate restores a backup as it is.",
            ) from error
        return programs

    def _run(self, segments: Sequence[WalSegment]) -> tuple[Path, list[str]]:
        """Lay segments side by side as a run of one timeline, as pg_waldump wants it; return directory and names.

        Where the way leads into a newer timeline, its segment begins with a copy of what the older one wrote: under
        the older one's name it continues the run.
        """
        self._runs += 1
        directory = self._directory / f"run-{self._runs}"
        directory.mkdir(mode=0o700)
        names = []
        for segment in segments:
            alias = WalSegment(segments[0].timeline, segment.number, segment.size).name
            os.link(self._fetch(segment), directory / alias)
            names.append(alias)
        if self._runs > 1:
            _remove(self._directory / f"run-{self._runs - 1}")
        return directory, names

    def _fetch(self, segment: WalSegment) -> Path:
        path = self._kept.pop(segment, None)
        if path is None:
            while len(self._kept) >= SEGMENTS_KEPT:
                self._kept.pop(next(iter(self._kept))).unlink()
            path = self._directory / segment.name
            path.write_bytes(self._read(segment))
        self._kept[segment] = path
        return path

    def _read(self, segment: WalSegment) -> bytes:
        try:
            if segment in self._tails:
                return read_streamed(
                    self._repository, self._cluster, self._system, segment=segment, spans=self._tails[segment]
                )
            return read_checked(
                self._repository, self._cluster, self._system, name=segment.name, segment_size=segment.size
            )
        except ObjectMissing as error:  # it was listed a moment ago
            raise ObjectCorrupt(f"WAL segment {segment.name!r} was listed and is not there") from error


def _remove(directory: Path) -> None:
    """Remove a directory of links that we made."""
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()

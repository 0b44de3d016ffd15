"""Which WAL files of a system are stored, run by run: what `pgvault wal list` shows.

    timeline  run                                            a run: segments of one timeline without a hole
    1         0000000100000000000000{03..05}  3 segments     each is asked for the time of its last push only
    2         0000000200000000000000{05..06}  2 segments

From names and one small read a run (at most systemwindow.MOST_READS); that a segment opens, verify says. What can be
restored with them is the recovery window's to tell: a run that no backup leads to is of no use to a restore.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, UsageError, WrongKey
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import SegmentFile, WalSegment, parse_timeline, parse_wal_name
from pgvault.recovery.stretches import Run, find_runs
from pgvault.recovery.systemwindow import MOST_READS, read_each, read_window
from pgvault.recovery.window import RecoveryWindow
from pgvault.repository import layout
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.walindex import read_inventory
from pgvault.repository.walinfo import read_info


@dataclass(frozen=True, slots=True)
class ArchivedRun:
    """Whole segments of one timeline without a hole."""

    first: WalSegment
    last: WalSegment
    stored_bytes: int
    pushed_at: datetime | None = None  # of the last one, by the pushing host's clock; None: not read

    @property
    def count(self) -> int:
        """How many segments it has."""
        return self.last.number - self.first.number + 1


@dataclass(frozen=True, slots=True)
class ArchivedTail:
    """The streamed tails of a segment."""

    segment: WalSegment
    end_lsn: Lsn | None  # up to which nothing is missing; None: of no use, or the segment is archived whole
    object_count: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class ArchivedSystem:
    """All WAL files of one system."""

    system_identifier: int
    segment_size: int  # bytes
    runs: tuple[ArchivedRun, ...]  # by timeline and number
    tails: tuple[ArchivedTail, ...]
    others: tuple[str, ...]  # names of .partial, .backup and .history files
    window: RecoveryWindow | None  # None: no backup of it is left


@dataclass(slots=True)
class _Files:
    """A listing of one system, as it is read."""

    segments: dict[str, int] = field(default_factory=dict)  # name to stored bytes
    tails: dict[str, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )  # name of the segment to stored bytes
    others: list[str] = field(default_factory=list)


def read_archived(
    repository: Repository,
    cluster: str,
    backups: Sequence[Manifest],
    *,
    passed_over: Callable[[str, PgvaultError], None],
) -> Iterator[ArchivedSystem]:
    """Yield each system of a cluster of which WAL is stored, or a backup; `passed_over`: histories that do not open."""
    stored = repository.reader.names(layout.wals(cluster))
    systems = {backup.system_identifier for backup in backups} | {int(name) for name in stored if name.isdecimal()}
    for system in sorted(systems):
        own = [backup for backup in backups if backup.system_identifier == system]
        yield _read_system(repository, cluster, system, own, passed_over)


def only_timeline(system: ArchivedSystem, timeline: int) -> ArchivedSystem:
    """Return what is of one timeline."""
    window = system.window
    return replace(
        system,
        runs=tuple(run for run in system.runs if run.first.timeline == timeline),
        tails=tuple(tail for tail in system.tails if tail.segment.timeline == timeline),
        others=tuple(name for name in system.others if parse_timeline(name[:8]) == timeline),
        window=None
        if window is None
        else replace(
            window,
            ranges=tuple(each for each in window.ranges if each.timeline == timeline),
            gaps=tuple(gap for gap in window.gaps if gap.timeline == timeline),
        ),
    )


def _read_system(
    repository: Repository,
    cluster: str,
    system: int,
    backups: Sequence[Manifest],
    passed_over: Callable[[str, PgvaultError], None],
) -> ArchivedSystem:
    files = _list_files(repository, cluster, system)
    size = backups[0].wal_segment_size if backups else segment_size_of(repository, cluster, system, files.segments)
    if backups:
        read = read_window(repository, cluster, backups, passed_over=passed_over)
        inventory, window = read.inventory, read.window
    else:
        inventory = read_inventory(repository, cluster, system, segment_size=size, passed_over=passed_over)
        window = None
    runs = list(_runs(files.segments, find_runs(inventory.segments), size))
    newest = sorted((run.last for run in runs), key=lambda last: (last.number, last.timeline), reverse=True)
    pushed = read_each(newest, lambda last: read_info(repository, cluster, system, last.name).pushed_at)
    tails = (
        ArchivedTail(segment, inventory.tails.get(segment), len(sizes), sum(sizes))
        for segment, sizes in ((WalSegment.parse(name, size), sizes) for name, sizes in sorted(files.tails.items()))
    )
    return ArchivedSystem(
        system,
        size,
        tuple(replace(run, pushed_at=pushed.get(run.last)) for run in runs),
        tuple(tails),
        tuple(sorted(files.others)),
        window,
    )


def _list_files(repository: Repository, cluster: str, system: int) -> _Files:
    """List a system's files; names that are none of ours are left out (read_inventory warns of them)."""
    found = _Files()
    for entry in repository.reader.entries(layout.wal(cluster, system)):
        directory, _, name = entry.key.rpartition("/")
        if directory.endswith(layout.TAIL):
            found.tails[directory.rpartition("/")[2].removesuffix(layout.TAIL)].append(entry.size)
            continue
        try:
            file = parse_wal_name(name)
        except UsageError:
            continue
        if isinstance(file, SegmentFile):
            found.segments[name] = entry.size
        else:
            found.others.append(name)
    return found


def segment_size_of(repository: Repository, cluster: str, system: int, names: Iterable[str]) -> int:
    """Return the size of segments where no backup tells: each is as long as all. Raises why the last does not open."""
    failed: PgvaultError | None = None
    for name in islice(sorted(names), MOST_READS):
        try:
            return read_info(repository, cluster, system, name).length
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey) as error:
            failed = error
    if failed is not None:
        raise failed
    return WalSegment(1, 0).size  # nothing is placed by it


def _runs(sizes: Mapping[str, int], runs: Mapping[int, Sequence[Run]], segment_size: int) -> Iterator[ArchivedRun]:
    for timeline, found in runs.items():
        for run in found:
            segments = (WalSegment(timeline, number, segment_size) for number in range(run.first, run.last + 1))
            stored = sum(sizes[segment.name] for segment in segments)
            yield ArchivedRun(
                WalSegment(timeline, run.first, segment_size), WalSegment(timeline, run.last, segment_size), stored
            )

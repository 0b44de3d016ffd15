"""Plan a restore: from facts to settings, segments and a forecast, without changing anything.

    facts + request ─► timeline ─► backup ─► covered WAL ─► stop ─► RestorePlan

The plan says everything before a byte of the backup is fetched, and whether it can work is decided here, so that
PostgreSQL's "recovery ended before configured recovery target was reached" never reaches anyone. The timeline is
always a number: `latest` would follow whatever branch a stray copy archived. `latest` as a target becomes the LSN
of the last archived record, since without a target PostgreSQL takes every failure to fetch for the end.
`last-good` becomes the position that a drill proved, reached from the backup by which it was proven, if it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pgvault.errors import (
    ObjectCorrupt,
    ObjectMissing,
    OtherCluster,
    PgvaultError,
    TargetInvalid,
    TargetTooEarly,
    TargetTooLate,
    WalGap,
    did_you_mean,
)
from pgvault.instants import iso, parse_instant
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment, segments_between
from pgvault.postgres.walrange import SegmentRange, make_ranges
from pgvault.recovery.covered import CoveredWal, RememberingReader
from pgvault.recovery.facts import Backup, Inventory, RestoreFacts, Transaction
from pgvault.recovery.lastgood import find_last_good
from pgvault.recovery.outside import with_neighbours
from pgvault.recovery.path import RecoveryPath, cover, find_path, leading_timelines, other_ends, require_holding
from pgvault.recovery.stop import Candidate, Stop, find_stop, is_too_new
from pgvault.recovery.target import (
    ImmediateTarget,
    LastGoodTarget,
    LatestTarget,
    NameTarget,
    Target,
    TargetOptions,
    TimeTarget,
    XidTarget,
)
from pgvault.repository.tails import Span

GIB = 1 << 30
MAX_WAL_BYTES = GIB  # PostgreSQL's default of max_wal_size


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What the operator wants."""

    target: Target
    options: TargetOptions = field(default_factory=TargetOptions)
    backup_label: str | None = None  # None: the newest that reaches the target
    max_wal_bytes: int = MAX_WAL_BYTES  # max_wal_size of the server that recovers


@dataclass(frozen=True, slots=True)
class Reading:
    """What a time without an offset means in another zone."""

    zone_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """A restore that can work."""

    backup_label: str
    system_identifier: int
    target: Target
    timeline: int  # recovery_target_timeline
    settings: Mapping[str, str]  # recovery_target…; restore_command is the caller's
    segments: tuple[SegmentRange, ...]  # what recovery may fetch, in order, nothing else
    tails: Mapping[WalSegment, tuple[Span, ...]]  # those of `segments` that are put together, and from what
    histories: tuple[int, ...]  # timelines whose history files it may fetch
    taken: tuple[int, ...]  # later timelines whose history does not open: promotion must not take their numbers
    stop: Stop
    furthest_lsn: Lsn | None  # where the last covered record starts; None: that WAL can not be read
    wal_end_lsn: Lsn  # the first byte that is not covered
    fetch_bytes: int  # of the backup as stored, and of whole segments
    disk_bytes: int  # of the backup, of the WAL that lies in pg_wal at a time, and of what replay may add
    other_readings: tuple[Reading, ...]  # of a naive time in the cluster's own zones; ask when there are any
    notes: tuple[str, ...]

    @property
    def end_lsn(self) -> Lsn:
        """Where the server is expected to stand: at the record it stops before, else behind the one it reaches."""
        return self.stop.before or self.stop.at_least

    @property
    def last_commit(self) -> Transaction | None:
        """The last commit that is replayed, where that is known."""
        return self.stop.last_commit

    @property
    def next_commit(self) -> Transaction | None:
        """The commit or abort that is not, where that is known."""
        return self.stop.next


def plan_restore(facts: RestoreFacts, request: RestoreRequest) -> RestorePlan:
    """Return the plan, or say why there is none.

    Raises TargetTooEarly, TargetTooLate, WalGap, TargetInvalid (also for a target that two timelines answer
    differently) or OtherCluster.
    """
    _require_one_system(facts)
    if not facts.backups:
        raise TargetTooEarly("there is no backup to restore", hint="Take one with pgvault backup.")
    facts = replace(facts, reader=RememberingReader(facts.reader))
    if isinstance(request.target, LastGoodTarget):
        return _plan_last_good(facts, request)
    return _plan(facts, request)


def _plan_last_good(facts: RestoreFacts, request: RestoreRequest) -> RestorePlan:
    timelines = _timelines(facts, request)
    target, notes = find_last_good(facts, timelines)
    # It lies on the way to each of them, so any will do; and a backup that is named must not choose another.
    request = replace(request, target=target, options=replace(request.options, timeline=timelines[0]))
    try:
        plan = _plan(facts, replace(request, backup_label=request.backup_label or target.label))
    except PgvaultError:
        if request.backup_label is not None:
            raise
        plan = _plan(facts, request)  # that backup has expired, or its WAL: another one leads to the same position
    return replace(plan, notes=(*notes, *plan.notes))


def _plan(facts: RestoreFacts, request: RestoreRequest) -> RestorePlan:
    timelines = _timelines(facts, request)
    if len(timelines) == 1:
        plan = _plan_on(facts, request, timeline=timelines[0])
    else:
        plan = _undisputed(facts, request, timelines)
    if request.options.timeline is None and not isinstance(request.target, ImmediateTarget):
        _require_known_way(facts, request, plan)
    return plan


def _timelines(facts: RestoreFacts, request: RestoreRequest) -> tuple[int, ...]:
    """Return the timelines to try: one, unless the story goes on with several."""
    labelled = _labelled(facts, request.backup_label)
    if isinstance(request.target, ImmediateTarget):
        backup = labelled or max(facts.backups, key=lambda backup: backup.stopped_at)
        if request.options.timeline not in {None, backup.timeline}:
            raise TargetInvalid(
                f"backup {backup.label!r} ends on timeline {backup.timeline}, not {request.options.timeline}",
                hint="Leave out --timeline with --immediate.",
            )
        return (backup.timeline,)
    if request.options.timeline is not None:
        return (request.options.timeline,)
    return leading_timelines(facts.inventory, [labelled] if labelled else facts.backups)


def _undisputed(facts: RestoreFacts, request: RestoreRequest, timelines: Sequence[int]) -> RestorePlan:
    """Plan on every timeline; the answer counts if it is the same, before they part. Raises TargetInvalid."""
    plans: dict[int, RestorePlan] = {}
    for timeline in timelines:
        try:
            plans[timeline] = _plan_on(facts, request, timeline=timeline)
        except PgvaultError:
            continue  # that timeline has no answer; if none has, the likeliest one's reason is told below
    if not plans:
        return _plan_on(facts, request, timeline=timelines[0])
    # Where they stop before they part, it does not matter which way the story went on.
    ends = {
        (plan.end_lsn, plan.stop.at_least, find_path(way, facts.inventory).timeline_of(plan.end_lsn))
        for way, plan in plans.items()
    }
    if len(plans) == len(timelines) and len(ends) == 1:
        return plans[timelines[0]]
    said = " and ".join(f"timeline {timeline}" for timeline in sorted(timelines))
    raise TargetInvalid(
        f"{request.target} is not one moment: {said} both went on from the same backup",
        hint="Say which with --timeline; pgvault list shows where they part.",
    )


def _require_known_way(facts: RestoreFacts, request: RestoreRequest, plan: RestorePlan) -> None:
    """Raise where the plan may miss how the story went on: on a timeline with WAL whose history is damaged.

    As in `leading_timelines`, the newest backup tells: a timeline with a lower number never had it.
    """
    labelled = _labelled(facts, request.backup_label)
    newest = labelled or max(facts.backups, key=lambda backup: (backup.stopped_at, backup.stop_lsn))
    history = find_path(plan.timeline, facts.inventory).history
    for timeline, error in facts.inventory.unreadable.items():
        if timeline < newest.timeline or history.holds_timeline(timeline):
            continue
        listed = (*facts.inventory.segments, *facts.inventory.tails)
        starts = [segment.start_lsn for segment in listed if segment.timeline == timeline]
        if starts and (isinstance(request.target, LatestTarget) or plan.end_lsn > min(starts)):
            raise type(error)(
                f"{request.target} may lie on timeline {timeline}, and nobody knows where that begins: {error}",
                hint=f"To go on without it, say so: --timeline {plan.timeline}.",
            ) from error


def _plan_on(facts: RestoreFacts, request: RestoreRequest, *, timeline: int) -> RestorePlan:
    try:
        path = find_path(timeline, facts.inventory)
    except WalGap as error:
        raise with_neighbours(error, facts, request.target, timeline=timeline) from error
    labelled = _labelled(facts, request.backup_label)
    if labelled:
        require_holding(path, labelled)
    backups = [labelled] if labelled else [backup for backup in facts.backups if path.holds(backup)]
    # Not by name and not by time first: clocks are set back.
    backups.sort(key=lambda backup: (backup.stop_lsn, backup.stopped_at), reverse=True)
    inventory = facts.inventory
    for backup in backups:
        if is_too_new(backup, request.target):
            continue
        covered = cover(path, backup.start_lsn, archived=inventory.segments, tails=inventory.tails)
        wal = CoveredWal(covered, backup.start_lsn, facts.reader)
        candidate = Candidate(backup, path, wal, facts.watermarks)
        try:
            stop = find_stop(candidate, request.target, is_inclusive=request.options.is_inclusive)
        except (TargetTooLate, WalGap) as error:
            raise with_neighbours(error, facts, request.target, timeline=timeline, tried=backup.label) from error
        if stop is not None:
            return _assemble(facts, request, candidate=candidate, stop=stop)
    raise with_neighbours(
        _not_from(backups, request.target, timeline=timeline), facts, request.target, timeline=timeline
    )


def _assemble(facts: RestoreFacts, request: RestoreRequest, *, candidate: Candidate, stop: Stop) -> RestorePlan:
    backup, path, wal = candidate.backup, candidate.path, candidate.wal
    inventory = facts.inventory
    # One segment more than the end: the record there may go on in the next, and PostgreSQL reads ahead.
    # Up to the end of the record that recovery stops at, which may be segments behind its start; and none more, since
    # PostgreSQL reads ahead, and must not stumble over what it does not need.
    segments = wal.segments[: wal.index(_reads_to(candidate, stop) + -1) + 1]
    furthest_lsn, furthest_notes = _furthest(candidate)
    readings = _other_readings(request.target, backup)
    return RestorePlan(
        backup_label=backup.label,
        system_identifier=backup.system_identifier,
        target=request.target,
        timeline=path.timeline,
        settings={
            **stop.settings,
            "recovery_target_timeline": str(path.timeline),
            "recovery_target_action": str(request.options.action),
        },
        segments=make_ranges(segments),
        tails={tail: inventory.tail_spans[tail] for tail in segments[-1:] if tail == wal.coverage.tail},
        # Histories of higher timelines too: promotion takes the first number without one, and must not take
        # a number that somebody else's WAL has.
        histories=tuple(
            timeline
            for timeline in sorted(inventory.histories)
            if timeline > path.timeline or path.history.holds_timeline(timeline)
        ),
        taken=tuple(timeline for timeline in sorted(inventory.unreadable) if timeline > path.timeline),
        stop=stop,
        furthest_lsn=furthest_lsn,
        wal_end_lsn=wal.coverage.end_lsn,
        fetch_bytes=backup.stored_bytes + len(segments) * inventory.segment_size,
        disk_bytes=_disk_bytes(backup, len(segments), inventory, max_wal_bytes=request.max_wal_bytes),
        other_readings=readings,
        notes=(
            *stop.notes,
            *_tail_notes(wal, segments),
            *furthest_notes,
            *_reading_notes(request.target, readings),
            *_timeline_notes(inventory, path),
        ),
    )


def _not_from(backups: Sequence[Backup], target: Target, *, timeline: int) -> PgvaultError:
    """Say that no backup is old enough, or that what was looked for is nowhere."""
    if not backups:
        return TargetTooEarly(f"no backup lies on the way to timeline {timeline}")
    oldest = backups[-1]
    if isinstance(target, XidTarget | NameTarget):
        return TargetInvalid(
            f"{target} does not occur in the archived WAL behind backup {oldest.label!r} ({oldest.stop_lsn})",
            hint="It may be misspelt, older than that backup, or not archived yet.",
        )
    return TargetTooEarly(f"{target} lies before the end of the oldest backup that could reach it, {oldest.label!r}")


def _require_one_system(facts: RestoreFacts) -> None:
    for backup in facts.backups:
        if backup.system_identifier != facts.inventory.system_identifier:
            raise OtherCluster(
                f"backup {backup.label!r} is of system {backup.system_identifier}, the WAL of system"
                f" {facts.inventory.system_identifier}"
            )


def _labelled(facts: RestoreFacts, label: str | None) -> Backup | None:
    if label is None:
        return None
    for backup in facts.backups:
        if backup.label == label:
            return backup
    meant = did_you_mean(label, (backup.label for backup in facts.backups))
    raise TargetInvalid(f"there is no backup {label!r}", hint=f"{meant}pgvault list shows them.")


def _reads_to(candidate: Candidate, stop: Stop) -> Lsn:
    """Where the WAL that recovery has to read ends, or little behind that."""
    if stop.reads_to is not None:
        return stop.reads_to
    found = candidate.wal.record_at(stop.before or stop.at_least)
    return candidate.wal.coverage.end_lsn if found is None else found[1]


def _furthest(candidate: Candidate) -> tuple[Lsn | None, tuple[str, ...]]:
    """Where the last covered record starts; it is only told, so the target does not fail with it."""
    try:
        return candidate.wal.end_of_records() or candidate.backup.stop_lsn, ()
    except (ObjectCorrupt, ObjectMissing) as error:
        return None, (f"how far the WAL reaches is not known: {error}",)


def _disk_bytes(backup: Backup, segment_count: int, inventory: Inventory, *, max_wal_bytes: int) -> int:
    """Bytes that the restored server takes until it is promoted.

    WAL from the backup's start to its stop is put into pg_wal at once. What is fetched behind it stays until a
    restartpoint: at most about twice max_wal_size, where the source made checkpoints as often as that. By how much
    replay makes relations grow nobody knows; hardly by more than there is WAL, and mostly by little of the cluster.
    """
    size = inventory.segment_size
    own = sum(each.size for each in segments_between(backup.timeline, backup.start_lsn, backup.stop_lsn, size))
    replayed = max(0, segment_count * size - own)
    growth = min(replayed, max(GIB, backup.total_bytes // 5))
    return backup.total_bytes + own + min(replayed, 2 * max_wal_bytes) + growth


def _other_readings(target: Target, backup: Backup) -> tuple[Reading, ...]:
    """What a naive time means in the zones of the cluster, where that is another instant."""
    if not isinstance(target, TimeTarget) or target.zone_name is None:
        return ()
    readings: list[Reading] = []
    for zone_name in dict.fromkeys((backup.time_zone, backup.log_time_zone)):
        try:
            at = parse_instant(target.text, zone=zone_name, now=target.at)
        except TargetInvalid:
            continue  # PostgreSQL knows zones that we do not, and there the time may be none or two
        if at != target.at:
            readings.append(Reading(zone_name, at))
    return tuple(readings)


def _reading_notes(target: Target, readings: Sequence[Reading]) -> Iterator[str]:
    if isinstance(target, TimeTarget) and target.zone_name is not None:
        yield f"{target.text} read in {target.zone_name} is {iso(target.at)}"
    for reading in readings:
        yield f"in the cluster's own time zone {reading.zone_name} it would be {iso(reading.at)}"


def _tail_notes(wal: CoveredWal, segments: Sequence[WalSegment]) -> Iterator[str]:
    tail = wal.coverage.tail
    if tail is not None and tail in segments:
        yield f"WAL segment {tail.name} is not archived whole: it was streamed up to LSN {wal.coverage.end_lsn}"


def _timeline_notes(inventory: Inventory, path: RecoveryPath) -> Iterator[str]:
    for timeline in other_ends(inventory, path):
        yield f"timeline {timeline} has WAL too, and is not followed; --timeline {timeline} would"

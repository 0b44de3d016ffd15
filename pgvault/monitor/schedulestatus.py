"""Tell what is scheduled and when it comes next, and how often a backup came of a slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgvault.config import ClusterConfig
from pgvault.errors import ObjectCorrupt, ObjectMissing
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, moment, ok, unjudged, warn
from pgvault.monitor.slots import AgePromise, Tally, begun_at, count_since, grace_of, tally
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog
from pgvault.repository.fields import read_instant
from pgvault.repository.logical import LogicalType
from pgvault.repository.objects import read_json
from pgvault.repository.repository import Repository
from pgvault.schedule import CronSchedule

SCHEDULE = "schedule"
RATE = "success_rate"
FAILED_SHOWN = 5  # the newest
COUNTED = ("backup", "logical")  # and classes; a schema backup is stored only when something changed


@dataclass(frozen=True, slots=True)
class Kept:
    """What retention keeps of one kind of backup for certain; None, None: all of them."""

    days: int | None
    count: int | None


def scheduled(config: ClusterConfig) -> dict[str, str | None]:
    """Return every job of a cluster by name with its cron expression; data classes that have one are jobs too."""
    classes = {f"class {name}": of.backup for name, of in config.classes.items() if of.backup is not None}
    return {**config.schedule.jobs, **classes}


def protecting_job(config: ClusterConfig) -> str:
    """The job whose backups protect the cluster; with `source: logical` it may be called either way."""
    is_logical = config.source == "logical" and config.schedule.logical is not None
    return "logical" if is_logical else "backup"


def promised_age(config: ClusterConfig, *, zone: str) -> AgePromise:
    """Return what says when the newest backup of a cluster is too old."""
    cron = scheduled(config)[protecting_job(config)]
    schedule = None if cron is None else CronSchedule(cron, zone)
    return AgePromise(config.objectives.backup_age, schedule, grace_of(config.objectives))


def tell_schedule(config: ClusterConfig, *, zone: str, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each job that is scheduled, and for backups also when they are not."""
    protecting = protecting_job(config)
    for kind, cron in scheduled(config).items():
        if cron is None:
            if kind == protecting:
                figures: Figures = {"kind": kind, "cron": None, "last_slot_at": None, "next_slot_at": None}
                yield unjudged(SCHEDULE, f"{kind}: not scheduled here", figures)
            continue
        schedule = CronSchedule(cron, zone)
        last, coming = schedule.previous_slot(now), schedule.next_slot(now)
        figures = {
            "kind": kind,
            "cron": cron,
            "last_slot_at": None if last is None else iso(last),
            "next_slot_at": None if coming is None else iso(coming),
        }
        said = "never" if coming is None else moment(coming)
        yield ok(SCHEDULE, f"{kind}: {cron} ({zone}), next {said}", figures)


def tell_rates(
    config: ClusterConfig, catalog: Catalog, first: datetime | None, *, zone: str, now: datetime
) -> Iterator[Finding]:
    """Yield the success rate of each kind of backup that is scheduled; `first` is what `first_recorded` says."""
    protecting = protecting_job(config)
    for kind, cron in scheduled(config).items():
        if cron is None or not (kind in COUNTED or kind.startswith("class ")):
            continue
        began = beginnings(catalog, kind, is_logical=config.source == "logical")
        known = [*began, *([first] if first is not None and (kind == protecting or not began) else [])]
        counted = None
        if known:
            kept = kept_for_certain(config, kind)
            since = count_since(now, known_since=min(known), days=kept.days, count=kept.count, began=began)
            counted = tally(CronSchedule(cron, zone), began, since=since, now=now, grace=grace_of(config.objectives))
        yield judge_rate(kind, counted, limit=config.objectives.success_rate)


def beginnings(catalog: Catalog, kind: str, *, is_logical: bool = False) -> list[datetime]:
    """Return when committed backups of a kind began; those of all tables count for every class."""
    if kind == "backup" and not is_logical:
        return [begun_at(each.label, each.started_at) for each in catalog.backups]
    classes = (None, kind.removeprefix("class ")) if kind.startswith("class ") else (None,)
    return [
        begun_at(each.label, each.started_at)
        for each in catalog.logical
        if each.type is LogicalType.LOGICAL and each.class_name in classes
    ]


def kept_for_certain(config: ClusterConfig, kind: str) -> Kept:
    """Return what retention keeps whatever else it may remove; days of a class count for its own backups."""
    rules = config.retention
    if kind.startswith("class "):
        keep = config.classes[kind.removeprefix("class ")].keep
        if keep is not None:
            return Kept(keep.days, None)
    if rules is None:
        return Kept(None, None)
    if (kind != "backup" or config.source == "logical") and rules.logical is not None:
        return Kept(rules.logical.days, rules.logical.count)
    return Kept(rules.days, rules.full)


def judge_rate(kind: str, counted: Tally | None, *, limit: float | None) -> Finding:
    """Tell a success rate; whether it is enough is judged as an objective, beside the others."""
    done, failed, pending = _lengths(counted)
    figures: Figures = {
        "kind": kind,
        "since_at": None if counted is None else iso(counted.since),
        "slots": done + failed,
        "done": done,
        "failed": failed,
        "pending": pending,
        "rate": None if counted is None else counted.rate,
        "is_last_done": None if counted is None else counted.is_last_done,
        "failed_at": "" if counted is None else ",".join(map(iso, counted.failed[: -FAILED_SHOWN - 1 : -1])),
        "limit": limit,
    }
    if counted is None:
        return warn(RATE, f"{kind}: unknown, since nothing of this cluster is stored yet", figures)
    if counted.rate is None:
        waiting = " (one may yet be done)" if pending else ""
        return warn(RATE, f"{kind}: unknown, since no slot is over since {moment(counted.since)}{waiting}", figures)
    said = f"{kind}: {percent(counted.rate)}, {done} of {done + failed} slots since {moment(counted.since)}"
    if failed:
        said += f"; without a backup: {_shown(counted.failed)}"
    return ok(RATE, said, figures)


def percent(share: float) -> str:
    """A share in words, never rounded up to all: 100 %, 99.9 %, 93.3 %."""
    floored = int(share * 10_000 + 1e-9) / 100
    return f"{floored:g} %"


def _lengths(counted: Tally | None) -> tuple[int, int, int]:
    return (0, 0, 0) if counted is None else (len(counted.done), len(counted.failed), len(counted.pending))


def _shown(failed: Sequence[datetime]) -> str:
    newest = [f"{slot:%Y-%m-%d %H:%M}" for slot in failed[: -FAILED_SHOWN - 1 : -1]]
    more = len(failed) - len(newest)
    return ", ".join(newest) + " UTC" + (f" and {more} more" if more else "")


def first_recorded(repository: Repository, cluster: str) -> datetime | None:
    """Return when the cluster's first system was recorded: by its first WAL or backup.

    Raises ObjectCorrupt, and what reading a store raises.
    """
    path = layout.first_system(cluster)
    try:
        document = read_json(repository, path, Kind.SYSTEM)
    except ObjectMissing:
        return None
    try:
        return read_instant(document["recorded_at"])
    except (KeyError, ValueError) as error:
        raise ObjectCorrupt(f"system record {path!r} is malformed") from error

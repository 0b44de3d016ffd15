"""A whole restore, as one call: gather, plan, look at the place, ask, apply, and end it as was asked for.

prepare    facts ─► plan ─► site, checked        nothing is written; this is all that --dry-run does
restore    prepare ─► confirm ─► pin ─► apply ─► finish? ─► adopt? ─► swap into place?

While it runs retention removes nothing of what it reads. What is left ready for a server that recovers later stays
pinned for three days: by then it should be started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pgvault.errors import UsageError
from pgvault.instants import Clock
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.gather import gathering
from pgvault.recovery.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.recovery.target import Action, TimeTarget
from pgvault.recovery.touched import tell_landing
from pgvault.repository import layout
from pgvault.repository.frozen import find_frozen, require_readable
from pgvault.repository.leaseentry import Claim
from pgvault.repository.manifest import Manifest
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.restore.adopt import Adopted, adopt
from pgvault.restore.apply import Applied, Fetching, Site, apply_plan, check_site
from pgvault.restore.archiving import keep_copy
from pgvault.restore.files import Effort
from pgvault.restore.finish import Finished, finish_restore
from pgvault.restore.inplace import Swap, carry_out, plan_swap
from pgvault.restore.tablespaces import place_tablespaces
from pgvault.stores.open import FILE, parse_file_url


class Ending(StrEnum):
    """What is left in the end."""

    READY = "ready"  # a directory that recovers when a server is started on it
    FINISHED = "finished"  # recovered and promoted already
    ADOPTED = "adopted"  # that, and the cluster goes on from here


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What to restore, and where to."""

    cluster: str
    request: RestoreRequest
    fetching: Fetching
    directory: Path | None = None  # None: a fresh one in `fresh_in`; in place: the live one
    fresh_in: Path = field(default_factory=Path)
    live_data: Path | None = None  # the cluster's own data directory, where it is on this machine
    tablespaces: Mapping[str, Path] = field(default_factory=dict)  # old path → new directory
    config_dir: Path | None = None
    ending: Ending = Ending.READY
    is_in_place: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A restore that can work, at a place that can take it."""

    plan: RestorePlan
    manifest: Manifest
    site: Site
    swap: Swap | None
    notes: tuple[str, ...]
    landing: str  # between which commits, and what the next one does


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    prepared: Prepared
    applied: Applied
    finished: Finished | None
    adopted: Adopted | None
    aside: Path | None  # where the old directory is now

    @property
    def directory(self) -> Path:
        """The restored data directory."""
        return self.prepared.site.final

    @property
    def lsn(self) -> Lsn:
        """Where recovery ended, or will end."""
        return self.prepared.plan.end_lsn if self.finished is None else self.finished.lsn

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that people should know, in order."""
        adopted = () if self.adopted is None else self.adopted.notes
        return (*self.prepared.notes, *self.applied.notes, *adopted)


def prepare(repository: Repository, order: RestoreOrder, *, clock: Clock) -> Prepared:
    """Plan the restore and look at where it shall go; nothing is written.

    Raises what plan_restore raises, and DirectoryNotEmpty, ClusterRunning, Refused, DiskFull, UsageError.
    """
    require_sense(order)
    label = order.request.backup_label
    with gathering(repository, order.cluster, label, target=order.request.target) as gathered:
        plan = plan_restore(gathered.facts, order.request)
        manifest = gathered.manifest(plan.backup_label)
        landing = tell_landing(repository, gathered.facts, plan, manifest)
    swap = None
    if order.is_in_place:
        swap = plan_swap(_live(order), manifest, now=clock.now())
    elsewhere = order.directory or fresh_directory(order, plan, now=clock.now())
    data = elsewhere.absolute() if swap is None else swap.staging
    tablespaces = place_tablespaces(manifest, order.tablespaces)
    config_dir = None if order.config_dir is None else order.config_dir.absolute()
    site = Site(data, tablespaces, config_dir, None if swap is None else swap.data)
    check_site(repository, manifest, plan, site, forbidden=forbidden_places(repository, order))
    notes = (*gathered.notes, *plan.notes, *_thaw_notes(repository, manifest))
    return Prepared(plan, manifest, site, swap, notes, landing)


def _thaw_notes(repository: Repository, manifest: Manifest) -> Iterator[str]:
    """Say where the backup must be thawed before it can be read, and how long that takes."""
    for stored in manifest.packs[-1:]:
        frozen, _ = find_frozen(repository, stored.path)
        yield from (f"backup {manifest.label}: {each}. {each.hint}" for each in frozen)


def restore(
    repository: Repository,
    order: RestoreOrder,
    *,
    effort: Effort,
    clock: Clock,
    confirm: Callable[[Prepared], None] = lambda _: None,
) -> Restored:
    """Restore a cluster. `confirm` sees everything that is going to happen before it does, and may raise.

    Raises what `prepare`, `apply_plan`, `finish_restore` and `adopt` raise.
    """
    effort.progress.phase("planning")
    prepared = prepare(repository, order, clock=clock)
    confirm(prepared)
    site, manifest, plan = prepared.site, prepared.manifest, prepared.plan
    for stored in manifest.packs[-1:]:
        require_readable(repository, stored.path)
    with pin(repository, claim_of(manifest), command="restore") as pinned:
        applied = apply_plan(repository, manifest, plan, site, how=(order.fetching, effort))
        keep_copy(site.data, site.marks)
        finished = adopted = None
        if order.ending is not Ending.READY:
            finished = finish_restore(site, manifest, plan, progress=effort.progress)
        if order.ending is Ending.ADOPTED:
            adopted = adopt(repository, order.cluster, site.data, clock=clock, marks=site.marks)
        if prepared.swap is not None:
            carry_out(prepared.swap)
        if order.ending is Ending.READY:
            pinned.leave()  # its server fetches WAL when it is started
    return Restored(prepared, applied, finished, adopted, None if prepared.swap is None else prepared.swap.aside)


def claim_of(manifest: Manifest) -> Claim:
    """Return what a restore of a backup needs to stay: it, and all WAL behind its start."""
    return Claim(manifest.cluster, labels=(manifest.label,), wal_from={manifest.system_identifier: manifest.start_lsn})


def require_sense(order: RestoreOrder) -> None:
    """Raise UsageError for options that exclude each other."""
    if order.ending is not Ending.READY and order.request.options.action is not Action.PROMOTE:
        raise UsageError(
            f"the action {order.request.options.action} leaves recovery unfinished",
            hint="Leave out --finish and --adopt, or --action.",
        )
    if order.is_in_place:
        _live(order)


def forbidden_places(repository: Repository, order: RestoreOrder) -> dict[str, Path]:
    """Return directories that a restore must have nothing to do with, by what they are."""
    places = {
        f"copy {copy.name!r} of the repository": parse_file_url(copy.store.url)
        for copy in repository.copies
        if copy.store.url.startswith(FILE)
    }
    if order.live_data is not None and not order.is_in_place:
        places["the cluster's data directory"] = order.live_data
    return places


def fresh_directory(order: RestoreOrder, plan: RestorePlan, *, now: datetime) -> Path:
    """Return a directory that does not exist, named after the cluster and the moment restored."""
    if isinstance(plan.target, TimeTarget):
        at = plan.target.at
    else:
        at = now if plan.last_commit is None else plan.last_commit.at
    name = f"{order.cluster}-{layout.stamp(at)}"
    candidates = (order.fresh_in / (name if n == 1 else f"{name}-{n}") for n in range(1, 1000))
    return next(path for path in candidates if not path.exists() and not path.is_symlink())


def _live(order: RestoreOrder) -> Path:
    directory = order.directory or order.live_data
    if directory is None:
        raise UsageError(
            "--in-place does not know which directory",
            hint="Name it, or set data_directory in the configuration.",
        )
    return directory

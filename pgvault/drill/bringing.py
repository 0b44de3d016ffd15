"""Bring a planned restore up as a scratch server: its files, then its WAL, to the target, promoted.

    plan ─► restore_files ─► recover ─► a server that answers; reached, as planned, or an error

A drill measures each step; `bring_up` is the whole way for those who want the server alone. Nothing here looks at what
was restored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pgvault.drill.isolation import BEST, IsolationWish, isolate
from pgvault.drill.replaying import replay
from pgvault.drill.restored import scratch_dsn
from pgvault.drill.room import keeping_room
from pgvault.drill.scratch import Scratch, make_instance, server_settings
from pgvault.drill.stage import RESERVE, ending, scratch_at
from pgvault.drill.walservice import WalService
from pgvault.postgres.instance import Instance
from pgvault.progress import Progress
from pgvault.recovery.plan import RestorePlan
from pgvault.repository.manifest import Manifest
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.restore.apply import Fetching, Site, apply_plan, check_site
from pgvault.restore.archiving import replace_auto_conf
from pgvault.restore.configfiles import standby_minima
from pgvault.restore.files import Effort
from pgvault.restore.guard import restore_command
from pgvault.restore.reached import Reached, read_reached, require_reached, with_last_commit
from pgvault.restore.replayed import wal_bytes
from pgvault.restore.run import claim_of
from pgvault.restore.settings import render_auto_conf
from pgvault.wal.fetchplan import FetchPlan


@dataclass(frozen=True, slots=True)
class Planned:
    """What is restored."""

    repository: Repository
    manifest: Manifest
    plan: RestorePlan


@dataclass(frozen=True, slots=True)
class Bringing:
    """How a scratch server is brought up."""

    place: Path  # where scratch directories are made
    timeout: timedelta  # for recovery
    jobs: int
    isolation: IsolationWish = BEST


@dataclass(frozen=True, slots=True)
class Brought:
    """A scratch server that answers."""

    scratch: Scratch
    instance: Instance
    dsn: str  # of its superuser, to template1
    reached: Reached
    isolation: str  # what keeps it apart, for people
    notes: tuple[str, ...]


@contextmanager
def bring_up(planned: Planned, how: Bringing, *, command: str, progress: Progress) -> Iterator[Brought]:
    """Restore into a scratch server, which is ended and removed with the context.

    Raises what a restore raises; DiskFull, DrillNotRun where this host can not, RecoveryFailed.
    """
    manifest = planned.manifest
    # What could not be removed is in the log already, which is where whoever wants the server alone looks.
    with pin(planned.repository, claim_of(manifest), command=command), scratch_at(how.place, tell=_pass_over) as made:
        isolated = isolate(how.isolation, made.root, manifest.postgres_major)
        scratch = replace(made, launcher=isolated.launcher)
        instance = make_instance(scratch, isolated.programs)
        with ending(instance), keeping_room(scratch.root, RESERVE, instance.kill):
            progress.phase("fetch")
            fetch_plan = restore_files(planned, scratch, jobs=how.jobs, progress=progress)
            programs = isolated.programs
            with WalService(planned.repository, fetch_plan, scratch, programs=programs, progress=progress) as service:
                progress.phase("replay", wal_bytes(planned.plan.segments))
                notes = recover(planned, scratch, instance, service, timeout=how.timeout)
                dsn = scratch_dsn(instance, manifest.postgres.superuser)
                reached = prove_reached(planned, scratch, dsn)
            yield Brought(scratch, instance, dsn, reached, isolated.told, notes)


def _pass_over(_: str) -> None:
    """Tell nobody."""


def restore_files(planned: Planned, scratch: Scratch, *, jobs: int, progress: Progress) -> FetchPlan:
    """Put the backup's files into the scratch; tablespaces lie in it, too. Returns what recovery may fetch."""
    manifest, plan = planned.manifest, planned.plan
    outside = [oid for oid, path in manifest.tablespaces.items() if path.startswith("/")]
    site = Site(scratch.data, {oid: scratch.tablespaces / str(oid) for oid in outside}, reserve=RESERVE)
    check_site(planned.repository, manifest, plan, site, forbidden={})
    effort = Effort(jobs, progress, is_durable=False)
    applied = apply_plan(planned.repository, manifest, plan, site, how=(Fetching(("/nonexistent",), {}), effort))
    scratch.give_all()
    return applied.fetch_plan


def recover(
    planned: Planned, scratch: Scratch, instance: Instance, service: WalService, *, timeout: timedelta
) -> tuple[str, ...]:
    """Start the server with our settings alone, and wait for its promotion; returns what people should know."""
    # Not behind what the backup held: one value that PostgreSQL does not know here would keep it from starting.
    settings = {
        **planned.plan.settings,
        "recovery_target_action": "promote",
        "restore_command": restore_command(service.client_words),
    }
    minima = standby_minima(planned.manifest)
    replace_auto_conf(scratch.data, render_auto_conf(b"", settings, at_least=minima))
    started = server_settings(planned.manifest.wal_segment_size)
    made = replay(instance, started, service, scratch, timeout=timeout)
    return tuple(f"WAL makes a tablespace at '{path}': replayed inside of the scratch" for path in made)


def prove_reached(planned: Planned, scratch: Scratch, dsn: str) -> Reached:
    """Return where recovery ended. Raises RecoveryFailed where that is not what was planned."""
    reached = read_reached(dsn, scratch.data)
    stop_lsn = planned.manifest.stop_lsn
    require_reached(reached.lsn, reached.from_timeline, planned.plan, stop_lsn=stop_lsn)
    return with_last_commit(reached, planned.plan.last_commit)

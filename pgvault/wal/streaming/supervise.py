"""Receive WAL without end: the supervisor of pg_receivewal, for systemd.

    main thread     ask the server ─► plan where to begin ─► pg_receivewal ─► it ended: why? ─► from the beginning
    uploads         finished segments and history files to the repository, several at a time
    tails           what is unfinished, every few seconds, and at once when pg_receivewal has ended
    healer          a full backup after a gap
    beacon          makes an idle server commit

Every start asks anew (server, slot, repository, spool), so that whatever happened meanwhile, kill -9 of anything, a
failover, a lost slot, is seen as a fact: what is missing is fetched while the server has it, and else recorded as a
gap, loudly. What passes is waited for, without end; only what an operator must settle before the first byte ends us.

What this does not promise: that the spool's disk is as safe as the repository. The slot lets go of what is flushed
here; when spool and server are lost together, what was not uploaded is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Protocol

from pgvault.errors import (
    AlreadyRunning,
    DiskFull,
    OtherCluster,
    PgvaultError,
    ProgramMissing,
    ServerUnreachable,
    StoreUnreachable,
)
from pgvault.instants import Clock
from pgvault.postgres.connection import Connection
from pgvault.postgres.programs import find_programs, newest_programs
from pgvault.postgres.walname import WalSegment
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.wal.streaming.archive import ArchiveView, Outlet, TailOutlet
from pgvault.wal.streaming.heal import BackupCommand, Healer
from pgvault.wal.streaming.outage import Backoff, Condition, Crew
from pgvault.wal.streaming.receiver import Receiver, end_orphan, start_receiver
from pgvault.wal.streaming.room import fullness, shortage
from pgvault.wal.streaming.source import Source, ask_source
from pgvault.wal.streaming.spooldir import SpoolDirectory, locked_spool
from pgvault.wal.streaming.start import StartPlan, plan_start
from pgvault.wal.streaming.uploads import TailKeeper, Uploads
from pgvault.wal.tail import TailWriter
from pgvault.wal.walfile import WalOwner

logger = logging.getLogger(__name__)

PASSING = (ServerUnreachable, StoreUnreachable, AlreadyRunning)
POLL_SECONDS = 0.1
ROOM_SECONDS = 1.0  # between two looks at how full the spool is
STEADY_SECONDS = 10.0  # a receiver that lived so long was no failed attempt
STOP_SECONDS = 4.0  # for the last uploads, once pg_receivewal has ended


class Background(Protocol):
    """Something that runs beside the stream, such as the beacon."""

    def run(self, stop: Event) -> None:
        """Work until `stop` is set."""


@dataclass(frozen=True, slots=True)
class StreamOrder:
    """What to stream, and how."""

    cluster: str
    dsn: str
    password: str | None = field(repr=False)
    slot: str
    spool: Path
    every: timedelta  # between two tails
    jobs: int  # uploads at a time
    environment: Mapping[str, str]  # for pg_receivewal


@dataclass(slots=True)
class _Stages:
    """What works on one system's spool."""

    source: Source
    directory: SpoolDirectory
    uploads: Uploads
    tails: TailKeeper


class Stream:
    """One cluster's stream."""

    def __init__(
        self,
        repository: Repository,
        order: StreamOrder,
        connect: Callable[[], Connection],
        *,
        clock: Clock,
        healing: BackupCommand | None,
    ) -> None:
        """`healing`: how to take a full backup after a gap; None: gaps are only recorded."""
        self._repository = repository
        self._order = order
        self._connect = connect
        self._clock = clock
        self._healing = healing
        self._archive = ArchiveView(repository, order.cluster, clock=clock)
        self._store = Condition(logger, "the repository")
        self._waiting = Condition(logger, "streaming waits")
        self._crew = Crew()
        self._closing = Event()  # pg_receivewal has ended for good: store what is there and stop
        self._healer: Healer | None = None
        self._stages: _Stages | None = None

    def run(self, stop: Event, *, beside: Background | None = None) -> None:
        """Stream until `stop` is set, then store what has come. To be called by the main thread.

        Raises what an operator must settle: AlreadyRunning for the spool, ServerUnfit, OtherCluster, ProgramMissing, …
        """
        with locked_spool(self._order.spool):
            if end_orphan(self._order.spool):
                logger.warning("ended a pg_receivewal that an earlier stream had left behind")
            if beside is not None:
                self._crew.start_endless(lambda: beside.run(stop), name="stream-beside")
            try:
                self._follow(stop)
            finally:
                stop.set()
                self._closing.set()
                self._finish()

    def _follow(self, stop: Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            self._crew.check()
            try:
                self._see_room()
                receiver = self._begin()
            except PgvaultError as error:
                if self._stages is None and not isinstance(error, PASSING):
                    raise  # nothing was streamed yet: let the operator see it at once
                hint = f" ({error.hint})" if error.hint else ""
                self._waiting.fails(f"{error}{hint}", kind=f"{type(error).__name__}")
                stop.wait(backoff.next())
                continue
            self._attend(receiver, stop)
            if time.monotonic() - receiver.started_at > STEADY_SECONDS:
                backoff.reset()
            if not stop.is_set():
                stop.wait(backoff.next())

    def _begin(self) -> Receiver:
        """Ask, plan, prepare and start pg_receivewal."""
        order = self._order
        with self._connect() as connection:
            source = ask_source(connection, order.dsn, order.slot, password=order.password)
        program = find_receiver(source.major)
        stages = self._stage(source)
        stages.directory.clear_odd()
        known = self._archive.look(source)
        plan = plan_start(known.facts(source, stages.directory.listing().files), can_send=source.can_send)
        if plan.is_ahead_of(source.current_lsn):
            raise _behind(source, plan)
        self._record(source, plan)
        stages.directory.prepare(plan)
        stages.tails.expect(plan.begin)
        receiver = start_receiver(
            program, source.address, order.slot, directory=stages.directory.path, environment=order.environment
        )
        kind = "standby" if source.is_standby else "primary"
        logger.info(
            "streaming from %s, a %s on timeline %d that stands at %s, since %s",
            source.address,
            kind,
            source.history.timeline,
            source.current_lsn,
            plan.begin.name,
        )
        self._waiting.works("no more")
        return receiver

    def _see_room(self) -> None:
        """Raise DiskFull while the spool may take no more: until the repository has what is there."""
        stages = self._stages
        if stages is None:
            return
        source = stages.source
        why = shortage(
            self._order.spool,
            waiting=len(stages.uploads.waiting()),
            segment_size=source.segment_size,
            data=source.data_directory,
        )
        if why is not None:
            hint = "The slot keeps what comes meanwhile, up to max_slot_wal_keep_size: let the repository answer."
            raise DiskFull(why, hint=hint)

    def _attend(self, receiver: Receiver, stop: Event) -> None:
        """Stay until the receiver ends, or let it end."""
        room_seen_at = receiver.started_at
        while not stop.wait(POLL_SECONDS):
            try:
                self._crew.check()
                if time.monotonic() - room_seen_at > ROOM_SECONDS:
                    room_seen_at = time.monotonic()
                    self._see_room()
            except DiskFull:
                break  # said, and waited for, before the next start
            except BaseException:
                receiver.stop()
                raise
            if receiver.has_ended():
                self._tell_end(receiver)
                return
        receiver.stop()

    def _tell_end(self, receiver: Receiver) -> None:
        said = [receiver.last_words()]
        if self._stages is not None:
            self._stages.tails.wake.set()  # the server may be gone for good: what has come is all there is
            full = fullness(self._order.spool, segment_size=self._stages.source.segment_size)
            said += [] if full is None else [full]  # where it could not even write why it ended
        logger.warning("pg_receivewal ended, it said: %s", "; ".join(said))

    def _stage(self, source: Source) -> _Stages:
        """Return what works on this system's spool, started the first time."""
        if self._stages is not None and self._stages.source.system_identifier == source.system_identifier:
            return self._stages
        if self._stages is not None:
            raise OtherCluster(
                f"the server is system {source.system_identifier}, streaming began with "
                f"{self._stages.source.system_identifier}",
                hint="After pg_upgrade or a new initdb, adopt the new system and start the stream again.",
            )
        order, system = self._order, System(source.system_identifier, source.major)
        require_system(self._repository, order.cluster, system, now=self._clock.now())
        directory = SpoolDirectory(order.spool, source.system_identifier, segment_size=source.segment_size)
        writer = TailWriter(self._repository, order.cluster, source.system_identifier, clock=self._clock)
        tails = TailKeeper(directory, TailOutlet(self._repository, writer), order.every.total_seconds(), self._store)
        listing = directory.listing()
        for segment in (*listing.segments, *listing.partials, *directory.listing_aside().segments):
            tails.expect(segment)

        def archived(segment: WalSegment) -> None:
            self._archive.note(segment)
            tails.finished(segment)

        owner = WalOwner(source.system_identifier, source.major, source.segment_size)
        outlet = Outlet(self._repository, order.cluster, owner, self._clock)
        uploads = Uploads(directory, outlet.push, jobs=order.jobs, store=self._store, when_durable=archived)
        uploads.start(self._crew, self._closing)
        self._crew.start(lambda: tails.run(self._closing), name="stream-tails")
        self._stages = _Stages(source, directory, uploads, tails)
        if self._healing is not None:
            self._healer = Healer(self._healing, lambda: self._archive.open_gaps(source.system_identifier))
            self._healer.wake.set()
            healer = self._healer
            self._crew.start(lambda: healer.run(self._closing), name="stream-healer")
        return self._stages

    def _record(self, source: Source, plan: StartPlan) -> None:
        """Record what is lost before going on behind it: never in silence."""
        for hole in plan.holes:
            cause = f"the server at {source.address} did not have this WAL any more when streaming began anew"
            cause += f"; {source.slot_story}" if source.slot_story else ""
            gap = self._archive.record(source, hole, cause=cause)
            logger.error(
                "WAL from %s to %s of timeline %d is lost: neither archived nor on the server any more%s",
                gap.start_lsn,
                gap.end_lsn,
                gap.timeline,
                "" if self._healing is not None else "; take a full backup",
            )
        if plan.holes and self._healer is not None:
            self._healer.wake.set()

    def _finish(self) -> None:
        """Store what has come, as far as the store answers."""
        stages = self._stages
        if stages is None:
            return
        stages.tails.wake.set()
        if self._healer is not None:
            self._healer.wake.set()
        is_whole = self._crew.join(seconds=STOP_SECONDS)
        waiting = stages.uploads.waiting()
        if waiting or not is_whole:
            logger.warning("stopped with %d files not archived yet; they are in the spool", len(waiting))
        elif self._store.is_bad or stages.tails.is_refused:
            logger.warning("stopped with an unfinished segment not stored to its end; it is in the spool")
        else:
            logger.info("stopped: everything received is archived")


def find_receiver(major: int) -> Path:
    """Return pg_receivewal of the server's major, else of a newer one: it speaks with older servers."""
    try:
        return find_programs(major).path("pg_receivewal")
    except ProgramMissing:
        newest = newest_programs()
        if newest.major < major:
            raise
        return newest.path("pg_receivewal")


def _behind(source: Source, plan: StartPlan) -> ServerUnreachable:
    segment: WalSegment = plan.begin
    if source.is_standby:
        return ServerUnreachable(
            f"the standby stands at {source.current_lsn} and WAL is archived up to {segment.start_lsn} already"
        )
    return ServerUnreachable(
        f"the server stands at {source.current_lsn}, but WAL of its timeline is archived up to {segment.start_lsn}",
        hint="It is an older state of this cluster, or a copy of it: nothing is streamed before it is past that.",
    )

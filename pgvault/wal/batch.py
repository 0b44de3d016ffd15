"""Archive one WAL file, then the segments that wait behind it, so that one slow start is paid once for many.

    its own file             pushed first and alone: its outcome is the call's
    archive_status/*.ready   up to 64 segments in the archiver's order, several at a time, each noted (wal/notes.py)

Nothing is stored ahead unless its own file is stored: of two servers that archive under one cluster name, the one that
is refused stays behind that place, else the other would find its own names taken. For the same reason segments whose
names are taken already are compared before any new one is stored, and the first failure among the others ends the
batch. Those begun by then end by themselves: at most JOBS_MAX segments may lie behind one that was refused, and only
where the other server stored that one meanwhile. A failure of another file, and whatever else keeps us from storing
ahead, is only logged: its own call meets it again, and the server counts that one.

What this does not promise: that anything but its own file was stored when it returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pgvault.errors import PgvaultError
from pgvault.instants import Clock
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WAL_NAME
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from pgvault.repository.walobjects import WalOutcome, put_wal
from pgvault.wal.notes import Notes
from pgvault.wal.push import push_wal, read_wal_file
from pgvault.wal.walfile import WalOwner, read_neighbour

logger = logging.getLogger(__name__)

AHEAD_MAX = 64  # segments; as many as the archiver lists at a time
BEGIN_SECONDS = 15.0  # none is begun later: the server waits for this call before it archives, or stops
JOBS_MAX = 8
BYTES_MAX = 128 * MIB  # of segments under way; what they are sealed into takes as much again
LAST_SECONDS = 1.0  # for those under way, once a signal has told us to end
READY = ".ready"


@dataclass(frozen=True, slots=True)
class Batch:
    """How a call stores ahead."""

    clock: Clock
    jobs: int
    notes: Notes | None  # None: nothing is stored ahead, since its own call would not learn of it


def push_ready(repository: Repository, cluster: str, path: Path, *, batch: Batch) -> WalOutcome:
    """Archive the file at `path` as `push_wal` does, then what waits behind it in the same pg_wal.

    Raises what `push_wal` raises, and nothing else.
    """
    outcome = push_wal(repository, cluster, path, clock=batch.clock)
    if batch.notes is None:
        return outcome
    batch.notes.drop(path.name)
    owner = read_neighbour(path)
    names = [] if owner is None else [name for name in ready_segments(path) if not batch.notes.cover(name)]
    if owner is None or not names:
        return outcome
    try:
        batch.notes.sweep()
        ahead = _Ahead(repository, cluster, path.parent, owner, batch.notes, batch.clock)
        _store_ahead(ahead, names[:AHEAD_MAX], jobs=batch.jobs)
    except Exception:  # no thread to be had, for example: its own file is stored, and the server has to hear that
        logger.exception("nothing more is stored ahead")
    return outcome


def ready_segments(path: Path) -> list[str]:
    """Return the segments that wait to be archived beside the one at `path`, in the archiver's order.

    A timeline whose history waits is left out: that goes first.
    """
    try:
        entries = list((path.parent / "archive_status").iterdir())
    except OSError:
        return []
    waiting = {entry.name.removesuffix(READY) for entry in entries if entry.name.endswith(READY)} - {path.name}
    matches = [match for name in sorted(waiting) if (match := WAL_NAME.fullmatch(name)) is not None]
    histories = {match["timeline"] for match in matches if match["history"]}
    return [match[0] for match in matches if len(match[0]) == 24 and match["timeline"] not in histories]


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What every segment of a batch is pushed with."""

    repository: Repository
    cluster: str
    pg_wal: Path
    owner: WalOwner  # of the data directory; its system is one of the cluster's
    notes: Notes
    clock: Clock

    def store(self, name: str) -> None:
        source = read_wal_file(self.pg_wal / name, clock=self.clock, owner=self.owner)
        put_wal(self.repository, self.cluster, source.info, content=source.content, blake3=source.blake3)
        with suppress(OSError):  # without a note its own call asks the repository
            self.notes.leave(name, digest=source.blake3, length=source.info.length)

    def taken(self, names: list[str]) -> set[str]:
        """Return those of the names that are archived, with whatever content."""
        store, system = self.repository.deciding.store, self.owner.system_identifier
        places = {layout.wal_file(self.cluster, system, name).rpartition("/")[0] for name in names}
        return {name for place in places for name in store.children(place)}.intersection(names)


def _store_ahead(ahead: _Ahead, names: list[str], *, jobs: int) -> None:
    jobs = max(1, min(jobs, JOBS_MAX, BYTES_MAX // ahead.owner.segment_size))
    deadline = ahead.clock.monotonic() + BEGIN_SECONDS

    def is_time_up() -> bool:
        return ahead.clock.monotonic() > deadline

    taken: set[str] = set()
    if jobs > 1 and len(names) > 1:  # else each waits for the one before it
        try:
            taken = ahead.taken(names)
        except PgvaultError as error:
            logger.warning("nothing is stored ahead: %s", error)
            return
    if _in_parallel(ahead.store, [name for name in names if name in taken], jobs=jobs, is_time_up=is_time_up):
        _in_parallel(ahead.store, [name for name in names if name not in taken], jobs=jobs, is_time_up=is_time_up)


def _in_parallel(store: Callable[[str], None], names: list[str], *, jobs: int, is_time_up: Callable[[], bool]) -> bool:
    """Call `store` with each name, in their order, none after the first failure or in overtime; False: one failed."""
    from concurrent.futures import ThreadPoolExecutor, wait

    is_over = Event()

    def work(name: str) -> None:
        if is_over.is_set() or is_time_up():
            return
        try:
            store(name)
        except BaseException:
            is_over.set()
            raise

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="push")
    futures = []
    try:
        futures += [(name, pool.submit(work, name)) for name in names]
        for name, future in futures:
            _log(name, future.exception())
    except BaseException:  # a signal: end soon, but let what is nearly stored be stored and noted
        is_over.set()
        wait([future for _, future in futures], LAST_SECONDS)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return not is_over.is_set()


def _log(name: str, error: BaseException | None) -> None:
    if isinstance(error, PgvaultError):
        logger.warning("%s was not stored ahead of its turn: %s", name, error)
    elif error is not None:
        logger.error("%s was not stored ahead of its turn", name, exc_info=error)

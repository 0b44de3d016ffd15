"""Deliver one WAL file to a recovering server: what restore_command calls.

    listed by the plan     → read whole, checked, fsync, rename; or an error. Never "absent"
    … with tails           → exactly the bytes that were planned with, zeros behind them; whole or not by now
    taken, says the plan   → a stand-in for a history that is damaged in the archive
    not listed             → ABSENT, and nobody is asked
    no plan (a follower)   → the repository is asked; ABSENT only when it confirms that, or has nothing but tails,
                             and knows the system

PostgreSQL looks at the size of what it gets and at nothing else before it decides that WAL ends here, so nothing
takes its final name before name, system, place, length and SHA-256 were checked. An outage is waited out within
`Budget`, a damaged or missing object is looked at twice. Nothing is remembered between two calls.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3

from pgvault.errors import (
    DiskFull,
    ObjectCorrupt,
    ObjectMissing,
    OtherCluster,
    PgvaultError,
    SourceUnreadable,
    StoreDenied,
    StoreUnreachable,
)
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.walname import BackupHistoryFile, TimelineHistoryFile, WalSegment, parse_wal_name
from pgvault.repository.repository import Repository
from pgvault.repository.systems import known_systems
from pgvault.repository.tails import Span, read_promised
from pgvault.repository.walobjects import read_wal_bytes
from pgvault.wal.fetchplan import FetchPlan, sync_directory
from pgvault.wal.walfile import WalOwner, check_content, read_neighbour, read_owner

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRANSIENT = (StoreUnreachable,)  # worth the whole budget
DOUBTFUL = (
    ObjectCorrupt,
    ObjectMissing,
    StoreDenied,
)  # worth a second look: a bad read, a late listing, new credentials


class FetchOutcome(StrEnum):
    """What a fetch did."""

    DELIVERED = "delivered"
    ABSENT = "absent"  # confirmed


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a fetch rides out an outage, in seconds; store operations have shorter deadlines of their own."""

    seconds: float = 600.0
    longest_wait_seconds: float = 15.0  # between two attempts


# A standby can not be promoted while its restore_command runs, and asks again by itself after a failure.
LIVE_BUDGET = Budget(seconds=10.0, longest_wait_seconds=2.0)

# A promotion asks for histories until one is absent, opens what it gets and reads nothing. Whoever does read this, told
# to follow that timeline, stops at a syntax error.
STAND_IN = b"pgvault: this history is damaged in the archive; its timeline number is taken\n"

OpenRepository = Callable[[], tuple[Repository, str]]  # with the cluster's name; opening it is part of an attempt


def fetch_wal(
    open_repository: Callable[[], Repository],
    plan: FetchPlan,
    name: str,
    destination: Path,
    *,
    budget: Budget | None = None,
) -> FetchOutcome:
    """Deliver `name` to `destination` if the plan lists it; else it is ABSENT, and the repository is not opened.

    Raises UsageError, ObjectMissing, ObjectCorrupt, OtherCluster, DiskFull and what opening raises, after retries.
    """
    if not plan.lists(name):
        return FetchOutcome.ABSENT
    if name in plan.taken:
        place(STAND_IN, destination)
        return FetchOutcome.DELIVERED

    def attempt() -> bytes:
        return read_planned(open_repository(), plan, name)

    place(persist(attempt, name, budget or Budget()), destination)
    return FetchOutcome.DELIVERED


def fetch_live(
    open_repository: OpenRepository, name: str, destination: Path, *, budget: Budget | None = None
) -> FetchOutcome:
    """Deliver whatever the repository has under `name` now: for a follower, which has no end.

    Whose WAL it is, is said by the data directory around `destination`, or by the repository where the cluster
    has had one system only. Nothing is absent from a repository that never had anything of that system: it is the
    wrong one, or the wrong cluster's. Raises as `fetch_wal`; SourceUnreadable where that can not be told.
    """
    parse_wal_name(name)
    neighbour = read_neighbour(destination)

    def attempt() -> bytes | None:
        repository, cluster = open_repository()
        system = neighbour.system_identifier if neighbour is not None else only_system(repository, cluster)
        try:
            return read_checked(
                repository, cluster, system, name=name, segment_size=neighbour.segment_size if neighbour else None
            )
        except ObjectMissing:
            if repository.unwritable is not None:  # others may deliver, but only the first copy may say "absent"
                raise StoreUnreachable(f"whether there is {name} is not known: {_unread(repository)}") from None
            require_known(repository, cluster, system)
            return None

    content = persist(attempt, name, budget or LIVE_BUDGET)
    if content is None:
        return FetchOutcome.ABSENT
    place(content, destination)
    return FetchOutcome.DELIVERED


def read_planned(repository: Repository, plan: FetchPlan, name: str) -> bytes:
    """Return a WAL file that the plan lists. Raises ObjectMissing, ObjectCorrupt, OtherCluster, StoreUnreachable."""
    return _read_planned(repository, plan, name, is_hashed=False)[0]


def read_hashed(repository: Repository, plan: FetchPlan, name: str) -> tuple[bytes, bytes]:
    """Return a WAL file that the plan lists, and the BLAKE3 of what was found right. Raises as `read_planned`."""
    content, digest = _read_planned(repository, plan, name, is_hashed=True)
    return content, digest or blake3(content).digest()


def _read_planned(repository: Repository, plan: FetchPlan, name: str, *, is_hashed: bool) -> tuple[bytes, bytes | None]:
    try:
        return _read_listed(repository, plan, name, is_hashed=is_hashed)
    except (ObjectCorrupt, ObjectMissing) as error:
        if not repository.reader.silent:
            raise
        # What the plan lists is somewhere: while a copy does not answer, nobody can say that it is lost.
        raise StoreUnreachable(f"{error}, and it may be elsewhere: {_unread(repository)}") from error


def _read_listed(repository: Repository, plan: FetchPlan, name: str, *, is_hashed: bool) -> tuple[bytes, bytes | None]:
    cluster, system, size = plan.cluster, plan.system_identifier, plan.segment_size
    if name not in plan.tails:
        wal, content = read_wal_bytes(repository, cluster, system, name, is_hashed=is_hashed)
        check_file(content, name, system_identifier=system, segment_size=size)
        return content, wal.blake3
    promise = plan.tails[name]
    content = read_streamed(repository, cluster, system, segment=WalSegment.parse(name, size), spans=promise.spans)
    digest = blake3(content).digest() if is_hashed else None
    if hashlib.sha256(content).digest() != promise.sha256:
        raise ObjectCorrupt(
            f"what was streamed of WAL segment {name!r} is not what it was when the restore was planned"
        )
    return content, digest


def _unread(repository: Repository) -> str:
    return "; ".join(f"copy {name!r} is not read ({error})" for name, error in repository.unread.items())


def read_streamed(
    repository: Repository, cluster: str, system_identifier: int, *, segment: WalSegment, spans: Sequence[Span]
) -> bytes:
    """Return a segment as its tails have it, zeros behind them, also when they were merged or completed meanwhile.

    Raises ObjectMissing, ObjectCorrupt, OtherCluster.
    """
    content = read_promised(repository, cluster, system_identifier, segment, spans)
    owner = WalOwner(system_identifier, read_owner(content, segment.name).major, segment.size)
    check_content(parse_wal_name(segment.name), content, owner)
    return content


def read_checked(
    repository: Repository, cluster: str, system_identifier: int, *, name: str, segment_size: int | None
) -> bytes:
    """Return a WAL file that is what its name says. Raises ObjectMissing, ObjectCorrupt, OtherCluster."""
    _, content = read_wal_bytes(repository, cluster, system_identifier, name)
    check_file(content, name, system_identifier=system_identifier, segment_size=segment_size)
    return content


def check_file(content: bytes, name: str, *, system_identifier: int, segment_size: int | None) -> None:
    """Raise ObjectCorrupt, OtherCluster unless the content of an archived file is what its name says."""
    file = parse_wal_name(name)
    if isinstance(file, BackupHistoryFile):
        return  # it opened under its name, and no server asks for one
    try:
        if isinstance(file, TimelineHistoryFile):
            TimelineHistory.parse(content, file.timeline)
        else:
            found = read_owner(content, name)
            check_content(file, content, WalOwner(system_identifier, found.major, segment_size or found.segment_size))
    except SourceUnreadable as error:  # of a wrong length; here the source is an object
        raise ObjectCorrupt(str(error)) from error


def require_known(repository: Repository, cluster: str, system_identifier: int) -> None:
    """Raise OtherCluster unless the cluster has had that system."""
    if system_identifier not in known_systems(repository, cluster):
        raise OtherCluster(
            f"the repository has nothing of system {system_identifier} under the cluster name {cluster!r}",
            hint="Is it the right --config and --cluster? What is missing there is no proof that it never was.",
        )


def only_system(repository: Repository, cluster: str) -> int:
    """Return the one system identifier of a cluster. Raises SourceUnreadable when there are more or none."""
    known = known_systems(repository, cluster)
    if len(known) != 1:
        raise SourceUnreadable(
            f"cluster {cluster!r} has had {len(known)} systems, and the destination does not say which is meant",
            hint="Fetch into the pg_wal of the data directory.",
        )
    return known.pop()


def persist(attempt: Callable[[], T], name: str, budget: Budget) -> T:
    """Call `attempt` until it succeeds, fails for good, or the budget is used up."""
    try:
        return attempt()
    except (*TRANSIENT, *DOUBTFUL) as error:
        failures = [error]
    import tenacity  # 40 ms that a server need not wait for with every segment

    def again() -> T:
        if failures:
            raise failures.pop()
        return attempt()

    seen: list[type[BaseException]] = []

    def is_worth_it(error: BaseException) -> bool:
        if isinstance(error, DOUBTFUL):
            seen.append(type(error))
            return len(seen) == 1
        return isinstance(error, TRANSIENT)

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        elapsed = state.seconds_since_start or 0.0
        logger.warning(
            "%s: %s; again in %.1f s (%.0f of %.0f s used)",
            name,
            error,
            state.upcoming_sleep,
            elapsed,
            budget.seconds,
        )

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_worth_it),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=budget.longest_wait_seconds),
        stop=tenacity.stop_before_delay(budget.seconds),
        before_sleep=say,
        reraise=True,
    )
    return retrying(again)


def place(content: bytes, destination: Path) -> None:
    """Write `content` under its final name, whole and durable or not at all. Raises DiskFull, PgvaultError."""
    temporary = destination.with_name(f"{destination.name}.pgvault-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(descriptor)
        temporary.replace(destination)
        sync_directory(destination.parent)
    except OSError as error:
        failure = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else PgvaultError
        raise failure(f"{str(destination)!r} can not be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()

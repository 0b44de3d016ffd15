"""One backup of a kind at a time: a lease in the repository, and an advisory lock in the server.

The lease tells who it is, on whichever host, and outlives nobody. The lock is the server's own word: it ends with the
session that took it. Where the lease was taken over from a holder that is gone and its session still holds the lock
(its host was cut off, or the process stands still), that session is ended: the backup it began can not be committed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pgvault.errors import AlreadyRunning
from pgvault.postgres.server import BACKUP_LOCK, LOGICAL_LOCK, Session
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import Lease, Terms, acquire
from pgvault.repository.pins import BACKUP_PREFIXES
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

LOCK_PATIENCE_SECONDS = 1.0  # for a session that is ending: its backup is over
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """What only one at a time may do."""

    lease_prefix: str
    lock: int
    words: str  # what it is, for people


PHYSICAL = Turn(BACKUP_PREFIXES[0], BACKUP_LOCK, "backup")
LOGICAL = Turn(BACKUP_PREFIXES[1], LOGICAL_LOCK, "logical backup")  # beside a physical one


@contextmanager
def being_alone(repository: Repository, session: Session, turn: Turn, *, claim: Claim, terms: Terms) -> Iterator[Lease]:
    """Hold the lease and the lock of a kind of backup while it runs. Raises AlreadyRunning, and says who it is."""
    name = f"{turn.lease_prefix}{claim.cluster}"
    with acquire(repository, name, claim, command=turn.words, terms=terms) as lease:
        _take_lock(session, turn, lease, terms)
        yield lease


def _take_lock(session: Session, turn: Turn, lease: Lease, terms: Terms) -> None:
    deadline = terms.clock.monotonic() + LOCK_PATIENCE_SECONDS
    while (holder := session.try_backup_lock(turn.lock)) is not None:
        if terms.clock.monotonic() > deadline:
            if lease.predecessor is None or not session.end_other(holder):
                raise AlreadyRunning(
                    f"another {turn.words} of cluster {lease.entry.claim.cluster!r} runs: server process {holder}",
                    hint="Wait for it. A backup that takes longer than its schedule needs another schedule.",
                )
            logger.warning("ended server process %d, the session of a backup that was given up", holder)
            deadline += LOCK_PATIENCE_SECONDS
        terms.sleep(LOOK_SECONDS)

"""Pins: leases of those who read, so that nothing is removed under their hands.

    reader     pin ─► read the root: it must still be there ─► read ─► release
    expire     remove the root ─► look for pins ─► none: remove what the root needed; else leave that for the next run

Each looks after it has written, so at least one of them sees the other. The same goes for WAL: note that it is expired,
look for pins, remove. Backups under way are seen by their own leases (`backup-…`, `logical-…`). Whoever reads without
the deciding copy pins in the first copy that it reads, so pins are looked for in every copy that answers: from the
others nothing can be removed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from pgvault.errors import ObjectMissing, PgvaultError
from pgvault.repository import layout
from pgvault.repository.leaseentry import Claim, LeaseEntry, State, Verdict, Watch
from pgvault.repository.leases import LOOKS_PER_TTL, USUAL_TERMS, Lease, Terms, acquire, read_newest, read_verdict
from pgvault.repository.reader import SILENCE
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

READ_PREFIX = "read-"
BACKUP_PREFIXES = ("backup-", "logical-")  # and the cluster's name
LEFT_FOR = timedelta(days=3)  # a pin of what a restored server will fetch when it is started


class Pin:
    """What a reader asked to stay; nothing, where it could not ask."""

    def __init__(self, lease: Lease | None, terms: Terms) -> None:
        self._lease = lease
        self._terms = terms

    @property
    def is_held(self) -> bool:
        """Whether it could be written at all."""
        return self._lease is not None

    def leave(self, duration: timedelta = LEFT_FOR) -> None:
        """Keep it for so long after this process: its WAL will be fetched by others."""
        if self._lease is not None:
            self._lease.leave(self._terms.clock.now() + duration)


@contextmanager
def pin(repository: Repository, claim: Claim, *, command: str = "read", terms: Terms = USUAL_TERMS) -> Iterator[Pin]:
    """Ask that the `labels` of the claim, and the WAL of each system from an LSN on, stay until the `with` ends.

    With credentials that may only read nothing is pinned: that is a warning. Raises ObjectMissing when a backup of the
    claim is gone by the time its pin is there.
    """
    name = f"{READ_PREFIX}{os.urandom(8).hex()}"
    alone = replace(repository, left_out=())  # read without the deciding copy: pinned in the first that is read
    try:
        lease = acquire(alone, name, claim, command=command, terms=terms)
    except PgvaultError as error:
        logger.warning("what is read is not pinned, and could be removed by retention meanwhile: %s", error)
        yield Pin(None, terms)
        return
    with lease:
        _require_roots(repository, claim)
        yield Pin(lease, terms)


def live_leases(repository: Repository, prefix: str, *, terms: Terms = USUAL_TERMS) -> list[LeaseEntry]:
    """Return the newest entry of every lease whose name begins with `prefix` and that may be held, at once.

    What is not known to be dead counts as live. Pins are those of all copies, other leases of the deciding one. Raises
    StoreUnreachable, StoreDenied when that one does not answer.
    """
    return [entry for entry, _, verdict in _look(repository, prefix, {}, terms) if verdict is not Verdict.DEAD]


def watched_leases(repository: Repository, prefix: str, *, terms: Terms = USUAL_TERMS) -> list[LeaseEntry]:
    """As `live_leases`, watching for as long as it takes to know of each whether it lives: the dead are left out.

    Takes no time where nothing is held, at most the time to live of a holder that is gone.
    """
    watches: Mapping[str, Watch] = {}
    while True:
        seen = _look(repository, prefix, watches, terms)
        watches = {entry.lease: watch for entry, watch, _ in seen}
        unknown = [entry for entry, _, verdict in seen if verdict is Verdict.UNKNOWN]
        if not unknown:
            return [entry for entry, _, verdict in seen if verdict is Verdict.LIVE]
        terms.sleep(min(entry.ttl_seconds for entry in unknown) / LOOKS_PER_TTL)


def labels_under_way(repository: Repository, cluster: str) -> set[str]:
    """Return the labels of backups whose holder has not said that it ended: running, or killed, and not taken over.

    None is known where the repository was opened without the deciding copy.
    """
    if repository.unwritable is not None:
        return set()
    entries = [
        read_newest(repository, name)
        for name in _names(repository, "")
        if name in {f"{prefix}{cluster}" for prefix in BACKUP_PREFIXES}
    ]
    return {entry.claim.label for entry in entries if entry is not None and entry.state is State.HELD}


def sweep_pins(repository: Repository, *, terms: Terms = USUAL_TERMS) -> int:
    """Remove the entries of pins that nobody holds any more; return how many pins those were.

    Only for whoever may remove. Never done for other leases: their numbers must go on.
    """
    swept = 0
    for alone, name in _series(repository, READ_PREFIX):
        _, _, verdict = read_verdict(alone, name, None, terms)
        if verdict in {Verdict.FREE, Verdict.DEAD}:
            for entry in list(alone.deciding.store.list(layout.lease_series(name))):
                alone.deciding.store.delete(entry.key)
            swept += 1
    return swept


def _require_roots(repository: Repository, claim: Claim) -> None:
    for label in claim.labels:
        try:
            repository.reader.size(layout.manifest(claim.cluster, label))
        except ObjectMissing as error:
            raise ObjectMissing(
                f"backup {label!r} of cluster {claim.cluster!r} was removed meanwhile", hint="See: pgvault list"
            ) from error


def _look(
    repository: Repository, prefix: str, watches: Mapping[str, Watch], terms: Terms
) -> list[tuple[LeaseEntry, Watch, Verdict]]:
    found: list[tuple[LeaseEntry, Watch, Verdict]] = []
    for alone, name in _series(repository, prefix):
        entry, watch, verdict = read_verdict(alone, name, watches.get(name), terms)
        if entry is not None and watch is not None and verdict is not Verdict.FREE:
            found.append((entry, watch, verdict))
    return found


def _series(repository: Repository, prefix: str) -> Iterator[tuple[Repository, str]]:
    """Yield the name of each lease with the repository as the copy that holds it shows it. Names of pins are random."""
    for name in _names(repository, prefix):
        yield repository, name
    for copy in repository.copies[1:]:
        alone = replace(repository, copies=(copy,), left_out=())
        try:
            names = _names(alone, prefix)
        except SILENCE as error:
            logger.debug("pins of copy %r are not known: %s", copy.name, error)
            continue
        for name in names:
            if name.startswith(READ_PREFIX):
                yield alone, name


def _names(repository: Repository, prefix: str) -> list[str]:
    return [name for name in repository.deciding.store.children(layout.LEASES) if name.startswith(prefix)]

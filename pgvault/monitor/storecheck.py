"""What `check` tries on the stores of a repository: the deciding copy must do all of it, a further copy most.

A further copy may ignore If-None-Match: what it holds was decided elsewhere. It may also be away, unless something
waits for it; a warning then says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from pgvault.errors import StoreDenied, StoreUnfit, StoreUnreachable
from pgvault.instants import Clock, SystemClock
from pgvault.monitor.finding import span
from pgvault.monitor.tried import Finding, tried
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.stores.base import DatedStore, ObjectStore
from pgvault.stores.probe import probe_checksum, probe_lock, probe_put_if_absent, probe_race, probe_verbs

CLOCK_SLACK = timedelta(seconds=60)
NTP = "Times of backups, WAL, drills and audit entries are that far off: see to NTP, here or at the store."
RACES = 3
NO_SUM = "Nothing between here and the store's disk would be noticed until a verify: set checksums: sha256 if it can."
RACY = (
    "Two hosts that archive or back up the same cluster at the same moment may both believe that their bytes count: "
    "keep to one host, or let a store that decides among simultaneous writers be the first copy."
)


def store_findings(repository: Repository) -> list[Finding]:
    """Try the store of every copy."""
    deciding, *further = repository.copies
    findings = [tried("put-if-absent", lambda: _put_if_absent(deciding.store))]
    if findings[0].error is None:
        findings[0] = _raced(deciding.store, findings[0])
    findings += [*_findings(deciding), *(finding for copy in further for finding in _further(copy))]
    return [*findings, *clock_findings(repository.copies, SystemClock())]


def _put_if_absent(store: ObjectStore) -> str:
    probe_put_if_absent(store, layout.PROBES)
    return "the store refuses to overwrite"


def _raced(store: ObjectStore, found: Finding) -> Finding:
    """Look whether the store decides among simultaneous writers, too; how often it did not."""
    try:
        winners = max(probe_race(store, layout.PROBES) for _ in range(RACES))
    except (StoreDenied, StoreUnfit, StoreUnreachable) as error:
        return Finding(found.name, "", error)
    if winners <= 1:
        return found
    return Finding(found.name, f"{found.detail}, but told {winners} simultaneous writers that each had won", None, RACY)


def _findings(copy: Copy) -> Iterator[Finding]:
    yield _verbs(copy)
    yield from _checksums(copy)
    yield from _locks(copy)


def _verbs(copy: Copy) -> Finding:
    try:
        may_delete = probe_verbs(copy.store, layout.PROBES)
    except (StoreDenied, StoreUnfit, StoreUnreachable) as error:
        return Finding(f"store {copy.name}", "", error)
    deleting = "and delete" if may_delete else "but not delete: expire must run where it may"
    return Finding(f"store {copy.name}", f"put, read, read a part, list {deleting}")


def _checksums(copy: Copy) -> Iterator[Finding]:
    name = f"checksums {copy.name}"
    try:
        is_noticed = probe_checksum(copy.store, layout.PROBES)
    except (StoreDenied, StoreUnfit, StoreUnreachable) as error:
        yield Finding(name, "", error)
        return
    if is_noticed is None:
        return
    if is_noticed:
        yield Finding(name, "the store refuses bytes that are not those that were sent")
    else:
        yield Finding(name, "the store does not compare what arrives with its checksum", warning=NO_SUM)


def _locks(copy: Copy) -> Iterator[Finding]:
    name = f"versions {copy.name}"
    try:
        detail = probe_lock(copy.store)
    except (StoreDenied, StoreUnreachable) as error:
        yield Finding(
            name, f"unknown: {error}", warning="Allow s3:GetBucketVersioning and s3:GetBucketObjectLockConfiguration."
        )
    except StoreUnfit as error:
        yield Finding(name, "", error)
    else:
        if detail is not None:
            yield Finding(name, detail)


def clock_findings(copies: Sequence[Copy], clock: Clock) -> Iterator[Finding]:
    """Compare this host's clock with each store's: the order of what happened is told by both."""
    for copy in copies:
        if not isinstance(copy.store, DatedStore):
            continue
        name = f"clock {copy.name}"
        try:
            before = clock.now()
            at = copy.store.answered_at()
        except (StoreDenied, StoreUnreachable) as error:
            yield Finding(name, f"unknown: {error}", warning="The store was not asked for its time.")
            continue
        if at is None:
            continue
        # It answered between the two; a store tells whole seconds.
        off = max(before - at, at - clock.now(), timedelta(0))
        if off > CLOCK_SLACK:
            yield Finding(name, f"this host's clock is {span(off)} off the store's", warning=NTP)
        else:
            yield Finding(name, "this host's clock is the store's")


def _further(copy: Copy) -> Iterator[Finding]:
    """Try a copy that decides nothing; one that is away or out of bounds is no reason to look on."""
    name = f"store {copy.name}"
    found = _verbs(copy)
    if found.error is not None:
        is_waited_for = copy.is_sync_for_wal or copy.is_sync_for_backups
        is_passing = isinstance(found.error, StoreUnreachable) and not is_waited_for
        yield Finding(name, str(found.error), warning="Nothing waits for it; it lags.") if is_passing else found
        return
    try:
        probe_put_if_absent(copy.store, layout.PROBES)
    except StoreUnfit as error:
        yield Finding(name, f"{found.detail}; {error}", warning="It may stay a further copy, and never the first.")
    else:
        yield found
    yield from _checksums(copy)
    yield from _locks(copy)

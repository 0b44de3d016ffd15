"""Read what an expiry rests on: each copy by itself, by its own listings and roots, and nothing local.

A copy whose listing fails, wherever in it, is silent: half a view is none, and what is removed by it would be removed
in the dark. Tombstones and leases are those of the deciding copy; without it there is no expiry at all. So is there
none with a hold or a tombstone that does not open. A hold holds in whichever copy it is: the first may have lost it, or
have been another when it was put.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pgvault.errors import StoreDenied, StoreUnreachable, UsageError
from pgvault.expire.copyroots import CopyRoots
from pgvault.expire.facts import (
    CopyFacts,
    ExpireFacts,
    HoldFacts,
    PinFacts,
    TombstoneFacts,
    UnfinishedFacts,
    WalFacts,
)
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import SegmentFile, WalSegment, parse_wal_name
from pgvault.recovery.archived import segment_size_of
from pgvault.recovery.stretches import find_runs
from pgvault.recovery.systemwindow import read_times
from pgvault.repository import layout
from pgvault.repository.holds import Hold, read_holds
from pgvault.repository.leaseentry import LeaseEntry
from pgvault.repository.leases import USUAL_TERMS, Terms
from pgvault.repository.names import MARKS
from pgvault.repository.pins import live_leases, watched_leases
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import State, Tombstone, read_tombstones
from pgvault.repository.verified import read_verified
from pgvault.repository.walindex import read_inventory
from pgvault.repository.writing import decided

logger = logging.getLogger(__name__)

RECORDS_KEPT = timedelta(days=30)  # of aborted labels: whoever slept for longer does not commit any more
SILENCE = (StoreDenied, StoreUnreachable)


@dataclass(frozen=True, slots=True)
class Leases:
    """Who is at work, as the deciding copy tells; the dead were watched for long enough."""

    live: tuple[LeaseEntry, ...]
    dead: frozenset[tuple[str, int]]  # name and number of the last entry of those that count no more


@dataclass(frozen=True, slots=True)
class Gathered:
    """The facts, and what applying a plan goes on with."""

    facts: ExpireFacts
    roots: Mapping[str, CopyRoots]  # by copy; of those that answered
    tombstones: Mapping[str, Tombstone]  # that stand
    holds: tuple[Hold, ...]
    leases: Leases


def gather(repository: Repository, cluster: str, *, terms: Terms = USUAL_TERMS) -> Gathered:
    """Read all there is to know.

    Raises what hinders any expiry: the deciding copy's silence, a hold or a tombstone that does not open.
    """
    now = terms.clock.now()
    deciding = decided(repository)
    leases = look_at_leases(repository, terms)
    roots: dict[str, CopyRoots] = {}
    copies = []
    marks = read_verified(repository, cluster)
    for copy in repository.copies:
        verified = frozenset(label for label, name in marks if name == copy.name)
        try:
            roots[copy.name] = CopyRoots.of(repository, cluster, copy)
            copies.append(_look_at(roots[copy.name], verified, _segment_sizes(roots)))
        except SILENCE as error:
            if copy is repository.deciding:
                raise
            roots.pop(copy.name, None)
            copies.append(CopyFacts(copy.name, silence=str(error)))
    labels = sorted({label for facts in copies for label in facts.label_bytes})
    tombstones = read_tombstones(deciding, cluster, labels)
    answering = tuple(copy for copy in repository.copies if copy.name in roots)
    holds = read_holds(replace(repository, copies=answering), cluster)
    facts = ExpireFacts(
        cluster=cluster,
        now=now,
        copies=tuple(copies),
        tombstones={label: _tombstone(each) for label, each in tombstones.items()},
        holds=tuple(_hold(each) for each in holds if each.counts_at(now)),
        pins=tuple(_pins(leases.live, copies, cluster)),
        unfinished=tuple(_unfinished(roots, copies, tombstones, leases.live, now=now)),
    )
    return Gathered(facts, roots, tombstones, holds, leases)


def look_at_leases(repository: Repository, terms: Terms) -> Leases:
    """Return who is at work, having watched those of which nobody knows whether they are."""
    seen = live_leases(repository, "", terms=terms)
    live = watched_leases(repository, "", terms=terms)
    alive = {entry.lease for entry in live}
    return Leases(tuple(live), frozenset((entry.lease, entry.number) for entry in seen if entry.lease not in alive))


def look_again(repository: Repository, leases: Leases, terms: Terms) -> tuple[LeaseEntry, ...]:
    """Return who is at work now, at once: whoever came since counts, and is not watched."""
    found = live_leases(repository, "", terms=terms)
    return tuple(entry for entry in found if (entry.lease, entry.number) not in leases.dead)


def pins_label(entry: LeaseEntry, cluster: str, label: str) -> bool:
    """Tell whether a lease wants a backup to stay; one that can not be read wants all."""
    if entry.holder is None:
        return True
    return entry.claim.cluster == cluster and label in (*entry.claim.labels, entry.claim.label)


def pins_wal(entry: LeaseEntry, cluster: str, segment: WalSegment, system: int) -> bool:
    """Tell whether a lease wants a segment to stay, or one before it of any timeline."""
    if entry.holder is None:
        return True
    wanted = entry.claim.wal_from.get(system)
    return entry.claim.cluster == cluster and wanted is not None and wanted < segment.end_lsn


def _look_at(roots: CopyRoots, verified: frozenset[str], segment_sizes: Mapping[int, int]) -> CopyFacts:
    repository, cluster = roots.repository, roots.cluster
    below = f"{layout.backups(cluster)}/"
    label_bytes: dict[str, int] = {}
    spoken_of: set[str] = set()
    for entry in roots.copy.store.list(layout.backups(cluster)):
        label, _, rest = entry.key.removeprefix(below).partition("/")
        label_bytes[label] = label_bytes.get(label, 0) + entry.size
        if rest.partition("/")[0] in MARKS:
            spoken_of.add(label)
    systems = [int(name) for name in repository.reader.names(layout.wals(cluster)) if name.isdecimal()]
    return CopyFacts(
        name=roots.copy.name,
        backups=tuple(roots.backups.values()),
        verified=verified,
        unreadable=tuple(sorted(roots.unreadable)),
        wal=tuple(_wal(repository, cluster, system, segment_sizes.get(system)) for system in systems),
        label_bytes=label_bytes,
        spoken_of=frozenset(spoken_of),
    )


def _wal(repository: Repository, cluster: str, system: int, segment_size: int | None) -> WalFacts:
    sizes: dict[str, int] = {}
    tails: dict[str, int] = {}
    for entry in repository.deciding.store.list(layout.wal(cluster, system)):
        directory, _, name = entry.key.rpartition("/")
        if directory.endswith(layout.TAIL):
            tailed = directory.rpartition("/")[2].removesuffix(layout.TAIL)
            tails[tailed] = tails.get(tailed, 0) + entry.size
        else:
            sizes[name] = entry.size
    names = [name for name in sizes if _is_segment(name)]
    size = segment_size or segment_size_of(repository, cluster, system, names)
    inventory = read_inventory(
        repository,
        cluster,
        system,
        segment_size=size,
        passed_over=lambda name, error: logger.warning("passed over %s: %s", name, error),
    )
    runs = find_runs(inventory.segments)
    ends = [WalSegment(timeline, run.last, size) for timeline, found in runs.items() for run in found]
    ends.sort(key=lambda segment: (segment.number, segment.timeline), reverse=True)
    return WalFacts(
        inventory=inventory,
        stored_bytes=sizes,
        tail_bytes={WalSegment.parse(name, size): total for name, total in tails.items() if _is_segment(name)},
        last_writes=read_times(repository, cluster, inventory, ends),
    )


def _segment_sizes(roots: Mapping[str, CopyRoots]) -> dict[int, int]:
    return {system: size for each in roots.values() for system, size in each.segment_sizes.items()}


def _is_segment(name: str) -> bool:
    try:
        return isinstance(parse_wal_name(name), SegmentFile)
    except UsageError:
        return False


def _tombstone(tombstone: Tombstone) -> TombstoneFacts:
    return TombstoneFacts(tombstone.at, tombstone.is_deliberate, tombstone.state is State.BEGUN)


def _hold(hold: Hold) -> HoldFacts:
    labels = frozenset[str]() if hold.label is None else frozenset({hold.label})
    return HoldFacts(str(hold).removeprefix("hold "), labels, hold.starts_at, hold.ends_at)


def _pins(leases: Iterable[LeaseEntry], copies: Sequence[CopyFacts], cluster: str) -> Iterator[PinFacts]:
    """Yield what leases want to stay; one that can not be read wants everything."""
    for entry in leases:
        if entry.holder is None:
            labels = {label for each in copies for label in each.label_bytes}
            systems = {wal.system_identifier for each in copies for wal in each.wal}
            yield PinFacts(entry.described, frozenset(labels), dict.fromkeys(systems, Lsn(0)))
        elif entry.claim.cluster == cluster and (entry.claim.labels or entry.claim.wal_from):
            yield PinFacts(entry.described, frozenset(entry.claim.labels), entry.claim.wal_from)


def _unfinished(
    roots: Mapping[str, CopyRoots],
    copies: Sequence[CopyFacts],
    tombstones: Mapping[str, Tombstone],
    leases: Sequence[LeaseEntry],
    *,
    now: datetime,
) -> Iterator[UnfinishedFacts]:
    """Yield the labels that are no backup in any copy, unless their removal is under way.

    What was verified, or marked, was committed: it has lost its root, which a copy that is not in this configuration,
    or a backup of the bucket, may hold. Nobody sweeps that.
    One whose root the deciding copy has lost is a backup still; where a copy is silent, nobody knows.
    """
    if any(each.silence is not None for each in copies):
        return
    deciding = roots[copies[0].name]
    elsewhere = {label for each in copies for label in (*(root.label for root in each.backups), *each.unreadable)}
    spoken_of = {label for each in copies for label in each.spoken_of}
    for label in sorted((deciding.unfinished - elsewhere) | deciding.aborted):
        known = tombstones.get(label)
        if known is not None and known.state is State.BEGUN:
            continue
        if label in spoken_of - deciding.aborted:
            logger.warning("backup %s has lost its root: what is left of it stays", label)
            continue
        started_at = layout.stamped_at(label)
        if started_at is None:
            logger.warning("passed over %s: it is no label", layout.backup(deciding.cluster, label))
            continue
        at_work = [each for each in leases if each.claim.cluster == deciding.cluster and each.claim.label == label]
        starts = [lsn for each in at_work for lsn in each.claim.wal_from.items()]
        left = sum(each.label_bytes.get(label, 0) for each in copies)
        if label in deciding.aborted and now - started_at < RECORDS_KEPT:
            left -= sum(each.aborted_bytes(label) for each in roots.values())
        yield UnfinishedFacts(
            label=label,
            started_at=started_at,
            is_live=bool(at_work),
            is_aborted=label in deciding.aborted,
            system_identifier=starts[0][0] if starts else None,
            start_lsn=starts[0][1] if starts else None,
            stored_bytes=left,
        )

"""What a bucket that keeps versions tells beyond its present objects: whether somebody was at them.

    deleted       the newest entry of a key is a delete marker, and no tombstone, expiry or longer tail explains it
    overwritten   versions of one key hold different bytes, and no repair kept the others in quarantine
    locked        of each present object, where the configuration asks for a lock: until when the store keeps it

An object lock protects a version, not its key: anybody who may put can put other bytes over it, or a marker, and
readers see those. Reading finds damage, and heals; here it is told even if what lies there now is whole. Deletions that
bring nothing back are listed alone: what they hid is there, and `--repair` puts it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreDenied, StoreUnfit
from pgvault.pipeline.header import HEADER, Kind, ObjectHeader
from pgvault.pipeline.seal import open_frames
from pgvault.pooling import map_bounded
from pgvault.postgres.walname import SegmentFile, WalSegment, parse_wal_name
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.gaps import EXPIRED, GapRecord, read_gaps
from pgvault.repository.names import REFS, ROOT, is_wal, parse_backup, tailed_segment
from pgvault.repository.objects import address, open_json
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import State, read_tombstone
from pgvault.repository.walobjects import WalInfo
from pgvault.stores.base import LockingStore, ObjectVersion, VersionedStore
from pgvault.verify.report import Findings, Suspect, backup_name
from pgvault.verify.selection import Selection

SLACK = timedelta(hours=1)  # between the store's clock and that of the host that asked for the lock
DATA = (ROOT, REFS, "parts", "maps", "packs")  # what of a backup its root names, and the root
SEGMENT_DEPTH = 5  # slashes in the name of a segment's object
NAMED_MAX = 3  # objects that one problem names


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """All that a bucket keeps under one key."""

    key: str
    versions: tuple[ObjectVersion, ...]  # oldest first, without delete markers
    is_deleted: bool  # the newest entry is a delete marker

    @property
    def latest(self) -> ObjectVersion:
        """The newest bytes."""
        return self.versions[-1]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to look at."""

    selection: Selection
    jobs: int
    now: datetime


def verify_versions(repository: Repository, copy: Copy, cluster: str, findings: Findings, *, effort: Effort) -> None:
    """Look at the versions of a cluster's objects in one copy. Raises StoreUnreachable."""
    if not isinstance(copy.store, VersionedStore):
        return
    findings.progress.phase("older versions")
    try:
        histories = {each.key: each for each in _read(copy.store, cluster)}
        look = _Look(repository, copy, copy.store, cluster, histories)
        for label, keys in look.deleted():
            what = f"{len(keys)} objects were deleted, which no expiry explains: {_named(keys)}"
            findings.note(backup_name(label) if label else "deleted", ObjectMissing(what), map(look.suspect, keys))
        for key in look.overwritten():
            what = f"{key!r} was overwritten: older versions hold other bytes, and no repair kept them"
            findings.note("overwritten", ObjectCorrupt(what))
        _verify_locks(copy, histories, findings, effort)
    except (StoreDenied, StoreUnfit) as error:
        findings.report.notes.append(f"older versions and locks can not be looked at: {error}")


def _read(store: VersionedStore, cluster: str) -> Iterator[KeyHistory]:
    for prefix in (layout.IDENTITY, layout.KEYS, layout.cluster(cluster)):
        for key, same in groupby(store.versions(prefix), key=lambda version: version.key):
            found = list(same)
            versions = tuple(version for version in found if not version.is_delete_marker)
            if versions:
                yield KeyHistory(key, versions, any(each.is_latest and each.is_delete_marker for each in found))


class _Look:
    """One copy's versions, and what may explain them."""

    def __init__(
        self,
        repository: Repository,
        copy: Copy,
        store: VersionedStore,
        cluster: str,
        histories: Mapping[str, KeyHistory],
    ) -> None:
        self._repository = repository
        self._copy = copy
        self._store = store
        self._cluster = cluster
        self._histories = histories
        self._going: dict[str, bool] = {}
        self._gaps: dict[int, tuple[GapRecord, ...]] = {}  # by system
        self._sizes: dict[int, int] = {}

    def deleted(self) -> list[tuple[str, list[str]]]:
        """Return by label, "" for what belongs to no backup, the keys whose deletion nothing explains."""
        found: dict[str, list[str]] = {}
        for key, history in self._histories.items():
            if history.is_deleted and not self._is_explained(key):
                name = parse_backup(key)
                found.setdefault("" if name is None else name.label, []).append(key)
        return sorted(found.items())

    def overwritten(self) -> Iterator[str]:
        """Yield the keys whose versions differ, and nobody kept what was there."""
        for key, history in self._histories.items():
            if len(history.versions) > 1 and not history.is_deleted and not self._is_known(history):
                yield key

    def suspect(self, key: str) -> Suspect:
        """Return what a repair needs to know of a deleted key: of a backup's data, the root, which names all of it."""
        name = parse_backup(key)
        if name is not None and name.rest.partition("/")[0] in DATA:
            return Suspect(layout.manifest(self._cluster, name.label))
        return Suspect(key, self._kind(key))

    def _kind(self, key: str) -> Kind | None:
        """The kind that the newest bytes say; whoever believes it opens them first. None: they are not sealed."""
        with suppress(PgvaultError):
            body = self._store.get_version(key, self._histories[key].latest.id)
            return ObjectHeader.decode(body[: HEADER.size], where=key).kind
        return None

    def _is_explained(self, key: str) -> bool:
        name = parse_backup(key)
        if name is not None:
            return self._is_going(name.label)
        if (segment := tailed_segment(key)) is not None:
            return self._is_present(segment) or self._has_tail(key) or self._has_expired(segment)
        if is_wal(key):
            return self._has_expired(key)
        return key.startswith(f"{layout.gaps(self._cluster)}/")  # records that touch become one

    def _is_present(self, key: str) -> bool:
        return key in self._histories and not self._histories[key].is_deleted

    def _has_tail(self, key: str) -> bool:
        """Tell whether a tail that holds the same bytes is there."""
        directory, _, text = key.rpartition("/")
        start, end = text.split("-")
        for other in self._histories:
            if other.startswith(f"{directory}/") and self._is_present(other):
                first, last = other.rpartition("/")[2].split("-")
                if first <= start and end <= last:
                    return True
        return False

    def _has_expired(self, key: str) -> bool:
        """Tell whether a record of retention covers a segment."""
        system, name = int(key.split("/")[3]), key.rpartition("/")[2]
        with suppress(PgvaultError):
            file = parse_wal_name(name)
            if not isinstance(file, SegmentFile):
                return False
            if system not in self._gaps:
                self._gaps[system] = read_gaps(self._repository, self._cluster, system)
            segment = file.segment(self._segment_size(system))
            return any(_covers(gap, segment) for gap in self._gaps[system])
        return False

    def _segment_size(self, system: int) -> int:
        """Bytes of the system's segments, as any of them says. Raises ObjectMissing when none opens."""
        prefix = f"{layout.wal(self._cluster, system)}/"
        for key, history in self._histories.items():
            if system not in self._sizes and key.startswith(prefix) and key.count("/") == SEGMENT_DEPTH:
                with suppress(PgvaultError):
                    body = self._store.get_version(key, history.latest.id)
                    frames = open_frames(
                        body, address(self._repository, key, Kind.WAL), keys=self._repository.keys.by_id
                    )
                    self._sizes[system] = WalInfo.decode(next(frames), where=key).length
                    break
        if system not in self._sizes:
            raise ObjectMissing(f"no WAL of system {system} opens")
        return self._sizes[system]

    def _is_going(self, label: str) -> bool:
        """Tell whether a backup's removal has begun, or it was aborted; its tombstone may have gone last."""
        if label not in self._going:
            self._going[label] = self._is_aborted(label) or self._has_begun(label)
        return self._going[label]

    def _is_aborted(self, label: str) -> bool:
        key = layout.manifest(self._cluster, label)
        return self._is_present(key) and self._opens_as(key, Kind.ABORTED) is not None

    def _has_begun(self, label: str) -> bool:
        with suppress(PgvaultError):
            tombstone = read_tombstone(self._repository, self._cluster, label)
            if tombstone is not None:
                return tombstone.state is State.BEGUN
        prefix = f"{layout.tombstones(self._cluster, label)}/"
        last = max((key for key in self._histories if key.startswith(prefix)), default=None)
        document = None if last is None else self._opens_as(last, Kind.TOMBSTONE)
        return document is not None and document.get("state") == State.BEGUN

    def _opens_as(self, key: str, kind: Kind) -> Mapping[str, object] | None:
        """Return what the newest bytes of a key hold; None where they are not that, whole."""
        with suppress(PgvaultError):
            body = self._store.get_version(key, self._histories[key].latest.id)
            return open_json(self._repository, key, kind, body=body)
        return None

    def _is_known(self, history: KeyHistory) -> bool:
        """Tell whether all versions are alike, or those that differ are in quarantine, or an aborted record won."""
        key = history.key
        latest = self._store.get_version(key, history.latest.id)
        others = [self._store.get_version(key, version.id) for version in history.versions[:-1]]
        others = [body for body in others if body != latest]
        if not others:
            return True
        name = parse_backup(key)
        if name is not None and name.rest == ROOT and self._is_aborted(name.label):
            return True
        kept = self._quarantined(key)
        return all(body in kept for body in others)

    def _quarantined(self, key: str) -> list[bytes]:
        """What repairs kept of a key."""
        kept = []
        for repair in self._copy.store.children(layout.QUARANTINE):
            with suppress(ObjectMissing):
                kept.append(self._copy.store.get(f"{layout.QUARANTINE}/{repair}/{key}"))
        return kept


def _covers(gap: GapRecord, segment: WalSegment) -> bool:
    """Tell whether retention noted that it removed a segment."""
    is_within = gap.start_lsn <= segment.start_lsn and segment.end_lsn <= gap.end_lsn
    return gap.cause == EXPIRED and gap.timeline == segment.timeline and is_within


def _verify_locks(copy: Copy, histories: Mapping[str, KeyHistory], findings: Findings, effort: Effort) -> None:
    """See that each present object is locked for as long as the configuration asks, from when it was put."""
    store = copy.store
    if not isinstance(store, LockingStore) or not isinstance(store, VersionedStore) or store.lock is None:
        return
    lock = store.lock
    wanted = [each for each in histories.values() if not each.is_deleted and lock.covers(each.key)]
    wanted = [each for each in wanted if each.latest.at + timedelta(days=lock.days) > effort.now]  # else it is over
    chosen = effort.selection.draw("locks", wanted)

    def look(history: KeyHistory) -> tuple[KeyHistory, datetime | None]:
        return history, store.locked_until(history.key, history.latest.id)

    findings.progress.phase("locks")
    loose, short = list[str](), list[str]()
    with ThreadPoolExecutor(effort.jobs, thread_name_prefix="verify") as pool:
        for history, until in map_bounded(pool, look, chosen):
            if until is None:
                loose.append(history.key)
            elif until < history.latest.at + timedelta(days=lock.days) - SLACK:
                short.append(history.key)
    for found, says in ((loose, "not locked"), (short, "not locked for long enough")):
        if found:
            what = f"{len(found)} objects are {says}, as they should be for {lock.days} days: {_named(found)}"
            findings.note("locks", ObjectCorrupt(what))


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - NAMED_MAX} more" if len(keys) > NAMED_MAX else ""
    return ", ".join(repr(key) for key in sorted(keys)[:NAMED_MAX]) + more

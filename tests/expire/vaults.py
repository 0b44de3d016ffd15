"""Repositories with several backups and WAL without a gap, made by hand: small, but whole to the last byte.

segment   0    1    2    3    4    5    …         1 MiB each, timeline 1
backup         ●         ●         ●              n-th in segment 2n+1, on day n; one object shared by none
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pgvault.config import RetentionConfig
from pgvault.expire.policy import Policy
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.systemwindow import read_window
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest, read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.inventory import put_inventory
from pgvault.repository.keys import Credential
from pgvault.repository.leases import Terms
from pgvault.repository.manifest import Manifest, PageErrors
from pgvault.repository.objects import Stored, put_plain
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.verified import Verified, put_verified
from pgvault.repository.walobjects import WalInfo, put_wal, read_wal
from pgvault.repository.who import Holder, Presence
from pgvault.stores.base import ObjectStore
from tests.archive import SYSTEM, make_segment
from tests.fakes import MemoryStore
from tests.repository.entries import ENTRIES
from tests.repository.samples import SAMPLE

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
EVERY = 2  # segments from one backup to the next


class SetClock:
    """A clock that a test sets."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


def terms(at: datetime, *, presence: Presence = Presence.RUNS) -> Terms:
    """Leases whose holders all run, or are all gone: nothing is waited for."""
    return Terms(clock=SetClock(at), sleep=_never, look_for=lambda _: presence)


def _never(_: float) -> None:
    raise AssertionError("waited for somebody")


def somebody(command: str) -> Holder:
    """Another process."""
    return Holder("db1", "boot", 1, 4242, 77, command)


def policy(**changes: object) -> Policy:
    """Two fulls and a day."""
    given: dict[str, object] = {"full": 2, "days": None, "window": DAY, "grace": 4 * HOUR} | changes
    return Policy(RetentionConfig.model_validate(given))


def label_of(number: int) -> str:
    """The label of the n-th backup."""
    return layout.make_label(FIRST + number * DAY, number.to_bytes(2, "big", signed=True))


@dataclass
class Vault:
    """A repository, and the stores that its copies are in."""

    repository: Repository
    stores: dict[str, MemoryStore]
    cluster: str = "main"

    @classmethod
    def make(cls, *names: str, cluster: str = "main") -> Vault:
        """An empty one; every copy is sync."""
        stores = {name: MemoryStore() for name in names or ("primary",)}
        copies = [Copy(name, store, is_sync_for_backups=True, is_sync_for_wal=True) for name, store in stores.items()]
        repository, _ = init_repository(copies, Credential("raw", bytes(32)), now=FIRST)
        return cls(repository, stores, cluster)

    def beside(self, cluster: str) -> Vault:
        """Another cluster of the same repository."""
        return replace(self, cluster=cluster)

    @property
    def store(self) -> MemoryStore:
        """The deciding one."""
        return self.stores[self.repository.deciding.name]

    def fork(self) -> Vault:
        """Another one with the same objects."""
        stores = {name: MemoryStore() for name in self.stores}
        for name, store in stores.items():
            store.objects |= self.stores[name].objects
        return self.on(stores)

    def on(self, stores: dict[str, MemoryStore]) -> Vault:
        """The same repository in other stores."""
        copies = tuple(replace(copy, store=stores[copy.name]) for copy in self.repository.copies)
        return Vault(replace(self.repository, copies=copies), stores, self.cluster)

    def through(self, stores: dict[str, ObjectStore]) -> Repository:
        """The repository as it is seen through what is put before some of its stores."""
        copies = tuple(replace(copy, store=stores.get(copy.name, copy.store)) for copy in self.repository.copies)
        return replace(self.repository, copies=copies)

    def fill(self, count: int, *, extra: int = 1) -> Vault:
        """Take so many backups a day apart, archive all WAL, and verify every backup."""
        for number in range(EVERY * count + extra):
            self.put_segment(number)
        for number in range(count):
            self.put_backup(number)
        return self

    def put_segment(self, number: int) -> Stored:
        """Archive a segment."""
        segment = WalSegment(1, number, MIB)
        content = make_segment(segment)
        at = FIRST + number * DAY / EVERY
        digest = hashlib.sha256(content).digest()
        info = WalInfo(segment.name, MIB, digest, SYSTEM, 1, segment.start_lsn, at, at)
        put_wal(self.repository, self.cluster, info, content=content)
        return self.wal(number)

    def wal(self, number: int) -> Stored:
        """An archived segment as roots name it."""
        return read_wal(self.repository, self.cluster, SYSTEM, WalSegment(1, number, MIB).name)[0].stored

    def put_backup(
        self, number: int, *, packs: int = 2, shared: Sequence[Stored] = (), verify: bool = True
    ) -> Manifest:
        """Commit the n-th backup, whose WAL is one segment."""
        label, segment = label_of(number), WalSegment(1, EVERY * number + 1, MIB)
        own = [
            put_plain(
                self.repository, layout.pack(self.cluster, label, pack), Kind.PACK, plain=f"{label} {pack}".encode()
            )
            for pack in range(packs)
        ]
        part = put_plain(self.repository, layout.part(self.cluster, label, 0), Kind.PART, plain=label.encode())
        wal = self.wal(segment.number)
        inventory = put_inventory(self.repository, self.cluster, label, ENTRIES)
        manifest = replace(
            SAMPLE,
            label=label,
            cluster=self.cluster,
            type="incremental" if shared else "full",
            system_identifier=SYSTEM,
            timeline=1,
            start_lsn=Lsn(segment.start_lsn.value + 40),
            checkpoint_lsn=Lsn(segment.start_lsn.value + 80),
            stop_lsn=Lsn(segment.start_lsn.value + 400),
            started_at=FIRST + number * DAY,
            stopped_at=FIRST + number * DAY + HOUR,
            postgres=replace(SAMPLE.postgres, wal_segment_size=MIB),
            page_errors=PageErrors(),
            packs=(*own, *shared),
            parts=(part,),
            maps=(),
            wal=(wal,),
            refs=put_refs(self.repository, layout.refs(self.cluster, label), [*own, *shared, part, *inventory, wal]),
            inventory=inventory,
        )
        commit_manifest(self.repository, manifest)
        if verify:
            for copy in self.repository.copies:
                mark = Verified(label, copy.name, manifest.stopped_at + HOUR, 4, 100, "test")
                put_verified(self.repository, self.cluster, mark)
        return manifest

    def labels(self, copy: str = "primary") -> list[str]:
        """The backups that `list` shows of one copy."""
        return [backup.label for backup in read_catalog(self.alone(copy), self.cluster).backups]

    def alone(self, copy: str) -> Repository:
        """The repository that sees one copy."""
        return replace(self.repository, copies=tuple(each for each in self.repository.copies if each.name == copy))

    def below(self, number: int, copy: str = "primary") -> list[str]:
        """What is left of a backup."""
        prefix = f"{layout.backup(self.cluster, label_of(number))}/"
        return sorted(key.removeprefix(prefix) for key in self.stores[copy].objects if key.startswith(prefix))

    def segments(self, copy: str = "primary") -> list[int]:
        """The numbers of the archived segments."""
        prefix = f"{layout.wal(self.cluster, SYSTEM)}/"
        names = (key.rpartition("/")[2] for key in self.stores[copy].objects if key.startswith(prefix))
        return sorted(WalSegment.parse(name, MIB).number for name in names if len(name) == 24)

    def require_whole(self) -> None:
        """Whatever each copy lists can be restored from that copy alone, and no hole is there that nobody explains."""
        for copy in self.stores:
            assert list(self.complaints(copy)) == []

    def complaints(self, copy: str) -> Iterator[str]:
        """Say what is wrong in one copy."""
        alone = self.alone(copy)
        catalog = read_catalog(alone, self.cluster)
        yield from (f"{each.label} does not open" for each in catalog.unreadable)
        objects = self.stores[copy].objects
        for backup in catalog.backups:
            for stored in (*backup.packs, *backup.parts, *backup.wal, backup.refs):
                if hashlib.sha256(objects.get(stored.path, b"")).digest() != stored.sha256:
                    yield f"{backup.label} lacks {stored.path}"
        if catalog.backups:
            found = read_window(alone, self.cluster, catalog.backups, passed_over=lambda name, error: None).window
            yield from (f"{each.label} is lost: {each.reason}" for each in found.lost)
            yield from (f"gap from {gap.start_lsn} to {gap.end_lsn}: {gap.cause}" for gap in found.gaps)

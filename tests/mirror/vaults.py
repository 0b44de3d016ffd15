"""A small repository with backups, WAL and tails, in memory, and a second copy that lacks all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pgvault.mirror.apply import CopyReport
from pgvault.mirror.plan import Lane
from pgvault.mirror.run import CopyOrder, copy_into
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.objects import Stored, put_plain
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.systems import System, require_system
from pgvault.repository.tails import TailInfo, put_tail
from pgvault.repository.walobjects import WalInfo, put_wal
from tests.archive import StillClock
from tests.fakes import MemoryStore
from tests.repository.samples import make_manifest

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SYSTEM = 7501234567890123456
SEGMENT_SIZE = 1 << 20
LABELS = ("20260115T103000Z-0001", "20260115T113000Z-0002")


def segment(number: int) -> WalSegment:
    """A segment on timeline 1."""
    return WalSegment(1, number, SEGMENT_SIZE)


def wal_path(number: int) -> str:
    """Its object."""
    return layout.wal_file("main", SYSTEM, segment(number).name)


def tail_path(number: int, start: int, end: int) -> str:
    """A tail's object."""
    return layout.tail("main", SYSTEM, segment(number).name, start=start, end=end)


@dataclass(slots=True)
class Vault:
    """Two copies, of which only the first is written to."""

    primary: MemoryStore = field(default_factory=MemoryStore)
    dr: MemoryStore = field(default_factory=MemoryStore)
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        self.repository = init_repository([Copy("primary", self.primary)], Credential("raw", bytes(32)), now=NOW)[0]

    @property
    def both(self) -> Repository:
        """The repository with both copies."""
        return Repository(
            self.repository.id, self.repository.keys, (Copy("primary", self.primary), Copy("dr", self.dr))
        )

    def push(self, *numbers: int, at: datetime = NOW) -> None:
        """Archive segments."""
        for number in numbers:
            content = b"wal %d " % number * 20
            info = WalInfo(
                segment(number).name,
                len(content),
                hashlib.sha256(content).digest(),
                SYSTEM,
                1,
                segment(number).start_lsn,
                at,
                at,
            )
            put_wal(self.repository, "main", info, content=content)

    def store_tail(self, number: int, start: int, end: int) -> str:
        """Store a tail of a segment."""
        content = b"\1" * (end - start)
        info = TailInfo(segment(number), start, end, SYSTEM, hashlib.sha256(content).digest(), NOW)
        put_tail(self.repository, "main", info, content=content)
        return tail_path(number, start, end)

    def store_backup(
        self, label: str, *, wal: Sequence[int], is_committed: bool = True, also: Sequence[str] = ()
    ) -> None:
        """Store a backup that needs some segments, which are archived, and `also` objects of others."""
        packs = tuple(
            put_plain(self.repository, layout.pack("main", label, n), Kind.PACK, plain=b"%d pages" % n * 9)
            for n in range(3)
        )
        part = put_plain(self.repository, layout.part("main", label, 0), Kind.PART, plain=b"files")
        needed = tuple(self._stored(wal_path(number)) for number in wal)
        others = tuple(self._stored(path) for path in also)
        refs = put_refs(self.repository, layout.refs("main", label), (*packs, part, *needed, *others))
        manifest = make_manifest(
            label=label,
            packs=packs,
            parts=(part,),
            maps=(),
            wal=needed,
            refs=refs,
            started_at=NOW,
            stopped_at=NOW,
            timeline=1,
            start_lsn=Lsn(0x1000028),
            stop_lsn=Lsn(0x1000128),
        )
        if is_committed:
            commit_manifest(self.repository, manifest)

    def fill(self) -> None:
        """Make a repository with something of everything."""
        require_system(self.repository, "main", System(SYSTEM, 18), now=NOW)
        self.push(*range(1, 6))
        self.store_backup(LABELS[0], wal=(1, 2))
        self.store_backup(LABELS[1], wal=(3,))
        self.store_tail(6, 0, 64)
        self.store_tail(6, 64, 128)

    def _stored(self, path: str) -> Stored:
        body = self.primary.objects[path]
        return Stored(path, len(body), hashlib.sha256(body).digest(), 1)

    def order(self, *, may_begin: bool = True, lanes: tuple[Lane, ...] = (Lane.WAL, Lane.BACKUPS)) -> CopyOrder:
        """What a round is asked to do."""
        copies = self.both.copies
        return CopyOrder(copies[0], copies[1:], StillClock(), may_begin=may_begin, lanes=lanes)

    def copy(self, *, may_begin: bool = True) -> CopyReport:
        """Do one round."""
        return copy_into(self.order(may_begin=may_begin), self.both.copies[1])

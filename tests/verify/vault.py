"""Two backups and the WAL from the first on, made without a server, in memory: every object can be hurt."""

from __future__ import annotations

import hashlib
import random
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from pgvault.backup.batches import cut, make_batches
from pgvault.backup.copying import Copier
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import TimelineHistoryFile, WalSegment
from pgvault.progress import NoProgress
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.copies import Copy
from pgvault.repository.inventory import put_inventory
from pgvault.repository.keys import Credential
from pgvault.repository.manifest import Manifest, PageErrors
from pgvault.repository.objects import Stored
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.walobjects import WalInfo, put_wal, read_wal
from pgvault.verify.report import VerifyReport
from pgvault.verify.verify import Verifier
from tests.archive import AT, SYSTEM, history_text, make_segment
from tests.backup.samples import RULES, directory_entry, file_entry, relation
from tests.fakes import MemoryStore
from tests.repository.entries import ENTRIES
from tests.repository.samples import SAMPLE

LABELS = ("20261121T080000Z-0001", "20261121T090000Z-0002")
LIMIT = 256 << 10  # of a pack, so that there are several
LAST = 9  # segment


class Vault:
    """A repository in memory with all that `verify` reads."""

    def __init__(self, directory: Path) -> None:
        self.store = MemoryStore()
        self.repository: Repository
        self.repository, _ = init_repository([Copy("primary", self.store)], Credential("raw", bytes(32)), now=AT)
        self.directory = directory

    def copy(self) -> Vault:
        """Another repository with the same objects, to be hurt alone."""
        other = copy(self)
        other.store = MemoryStore()
        other.store.objects |= self.objects
        other.repository = replace(self.repository, copies=(Copy("primary", other.store),))
        return other

    @property
    def objects(self) -> dict[str, bytes]:
        return self.store.objects

    def verify(self) -> VerifyReport:
        return Verifier(self.repository, "main", jobs=2, progress=NoProgress()).run()

    def put_segment(self, segment: WalSegment, *, system: int = SYSTEM, major: int = 18) -> Stored:
        """Archive a segment with a true header."""
        return self.put_file(segment.name, make_segment(segment, system_identifier=system, major=major))

    def put_file(self, name: str, content: bytes, *, at: datetime = AT) -> Stored:
        """Archive anything under a WAL file's name."""
        info = WalInfo(name, len(content), hashlib.sha256(content).digest(), SYSTEM, 1, None, at, at)
        put_wal(self.repository, "main", info, content=content)
        wal, _ = read_wal(self.repository, "main", SYSTEM, name)
        return wal.stored

    def put_history(self, timeline: int, switch: Lsn, *, at: datetime = AT) -> Stored:
        """Archive the history file of a timeline that left timeline 1 there."""
        history = TimelineHistory(timeline, (HistoryEntry(1, switch, "promoted"),))
        return self.put_file(TimelineHistoryFile(timeline).name, history_text(history), at=at)

    def put_backup(self, label: str, *, segment: WalSegment, wal: tuple[Stored, ...]) -> Manifest:
        """Copy some files and commit them as a backup that starts and stops within `segment`."""
        files = {
            b"PG_VERSION": b"18\n",
            b"base/5/16384": relation(70),
            b"base/5/16385": random.Random(label).randbytes(2 * LIMIT + 5),
            b"base/5/16386": bytes(100_000),
        }
        entries = [directory_entry(b"pg_wal")]
        for number, (path, content) in enumerate(sorted(files.items())):
            (self.directory / str(number)).write_bytes(content)
            entries.append(file_entry(self.directory / str(number), path))
        copier = Copier(self.repository, "main", label, rules=replace(RULES, check_pages=False), progress=NoProgress())
        pieces = (piece for entry in entries for piece in cut(entry, limit=LIMIT))
        for _ in copier.copy(make_batches(pieces, limit=LIMIT), jobs=1):
            pass
        copied = copier.finish()
        inventory = put_inventory(self.repository, "main", label, ENTRIES)
        needed = (*copied.packs, *copied.parts, *copied.maps, *inventory, *wal)
        manifest = replace(
            SAMPLE,
            label=label,
            system_identifier=SYSTEM,
            timeline=segment.timeline,
            start_lsn=Lsn(segment.start_lsn.value + 40),
            checkpoint_lsn=Lsn(segment.start_lsn.value + 80),
            stop_lsn=Lsn(segment.start_lsn.value + 400),
            started_at=AT + timedelta(minutes=segment.number),
            stopped_at=AT + timedelta(minutes=segment.number, seconds=5),
            postgres=replace(SAMPLE.postgres, wal_segment_size=MIB),
            page_errors=PageErrors(),
            packs=copied.packs,
            parts=copied.parts,
            maps=copied.maps,
            wal=wal,
            refs=put_refs(self.repository, layout.refs("main", label), needed),
            inventory=inventory,
        )
        commit_manifest(self.repository, manifest)
        return manifest

    def changed(self, key: str, place: int) -> None:
        """Flip a bit of an object; a negative place counts from its end."""
        body = bytearray(self.objects[key])
        body[place] ^= 1
        self.objects[key] = bytes(body)

    def move(self, source: str, target: str) -> None:
        """Put one object's bytes under another's name."""
        self.objects[target] = self.objects[source]


def segment_of(number: int, timeline: int = 1) -> WalSegment:
    """A segment of 1 MiB."""
    return WalSegment(timeline, number, MIB)


def wal_key(name: str) -> str:
    """Where a WAL file is stored."""
    return layout.wal_file("main", SYSTEM, name)

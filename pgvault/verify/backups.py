"""Read back the objects of one backup, physical or logical.

root ─► refs (digests agree) ─► parts (extents cover files) ─► packs (every extent's CRC) ─► maps ─► inventory
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from pgvault.errors import ObjectCorrupt, PgvaultError, StoreUnreachable
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.repository.catalog import Root
from pgvault.repository.checksums import check_sum
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.objects import Stored, read_frames
from pgvault.repository.packs import OpenedPack, PackRun, pack_runs
from pgvault.repository.refs import decode_refs, read_refs
from pgvault.repository.repository import Repository
from pgvault.verify.report import Findings, Suspect, backup_name
from pgvault.verify.selection import Selection


@dataclass(frozen=True, slots=True)
class BackupReader:
    """Reads back what the roots of a repository name."""

    repository: Repository
    findings: Findings
    jobs: int
    selection: Selection = field(default_factory=Selection)

    def read_back(self, root: Root, *, wal: tuple[Stored, ...] = ()) -> tuple[Stored, ...]:
        """Look at every object of a backup that is chosen; return what of its WAL is, which is only looked for here."""
        what, report = backup_name(root.label), self.findings.report
        report.backups.append(root.label)
        every = (*root.packs, *root.maps, *wal)
        chosen = frozenset(stored.path for stored in self.selection.draw(what, every))
        report.left_out_count += len(every) - len(chosen)
        read = [stored for stored in (*root.packs, *root.maps) if stored.path in chosen]
        read += [root.refs, *root.parts, *root.inventory]
        self.findings.progress.phase(what, sum(stored.length for stored in read))
        refs = Suspect(root.refs.path, None, root.refs)
        needed = (*root.packs, *root.parts, *root.maps, *root.inventory, *wal)
        self.findings.tried(what, partial(self._verify_refs, root, needed), refs)
        seen = {number for number, stored in enumerate(root.packs) if stored.path not in chosen}
        parts = [Suspect(stored.path, Kind.PART, stored) for stored in root.parts]
        self.findings.tried(what, partial(self._verify_files, root, seen), *parts)
        for number, stored in enumerate(root.packs):  # that no list names, or behind the place where one broke
            if number not in seen:
                self._open(what, stored, Kind.PACK)
        for stored in root.maps:
            if stored.path in chosen:
                self._open(what, stored, Kind.MAP)
        for stored in root.inventory:
            self._open(what, stored, Kind.INVENTORY)
        return tuple(stored for stored in wal if stored.path in chosen)

    def _verify_refs(self, root: Root, needed: tuple[Stored, ...]) -> None:
        """The clear list must be the one the root was made with, and name just what the root names."""
        path = root.refs.path
        raw = read_refs(self.repository, root.refs)
        if decode_refs(raw, where=path) != {stored.path: stored.sha256 for stored in needed}:
            raise ObjectCorrupt(f"{path!r} does not list what the backup's root lists")
        self.findings.count(len(raw))

    def _verify_files(self, root: Root, seen: set[int]) -> None:
        """Every pack that a list names is opened and every extent compared, but those `seen`; adds to these."""
        left_out = frozenset(seen)
        runs = (run for run in pack_runs(_checked(self._records(root))) if run.pack not in left_out)
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="verify") as pool:
            for run, error in map_bounded(pool, lambda run: (run, self._look_into_pack(root, run)), runs):
                if error is not None:
                    suspects = [Suspect(stored.path, Kind.PACK, stored) for stored in root.packs[run.pack :][:1]]
                    self.findings.note(backup_name(root.label), error, suspects)
                elif run.pack not in seen:
                    self.findings.count(root.packs[run.pack].length)
                seen.add(run.pack)

    def _records(self, root: Root) -> Iterator[FileRecord]:
        for part in root.parts:
            yield from read_records(self.repository, replace(root, parts=(part,)))
            self.findings.count(part.length)

    def _look_into_pack(self, root: Root, run: PackRun) -> PgvaultError | None:
        if run.pack >= len(root.packs):
            return ObjectCorrupt(f"the file list of {root.label} names pack {run.pack}, which its root does not")
        try:
            opened = OpenedPack(self.repository, root.packs[run.pack])
            for placed in run.extents:
                for _ in opened.read(placed.extent):
                    pass
        except StoreUnreachable:
            raise
        except PgvaultError as error:
            return error
        return None

    def _open(self, what: str, stored: Stored, kind: Kind) -> None:
        def look() -> None:
            for _ in read_frames(self.repository, stored.path, kind, expected=stored):
                pass
            self.findings.count(stored.length)

        self.findings.tried(what, look, Suspect(stored.path, kind, stored))


def _checked(records: Iterator[FileRecord]) -> Iterator[FileRecord]:
    """Pass records through, each looked at as a restore looks at it. Raises ObjectCorrupt."""
    for record in records:
        check_sum(record)
        yield record

"""Read back the objects of one backup, physical or logical.

root ─► refs (digests agree) ─► parts (extents cover files) ─► packs (every extent's CRC) ─► maps
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from pgvault.verify.report import Findings


@dataclass(frozen=True, slots=True)
class BackupReader:
    """Reads back what the roots of a repository name."""

    repository: Repository
    findings: Findings
    jobs: int

    def read_back(self, root: Root, *, wal: tuple[Stored, ...] = ()) -> None:
        """Look at every object of a backup; of the WAL that goes with it, only that `refs` names it."""
        what = f"backup {root.label}"
        self.findings.progress.phase(what, root.stored_bytes)
        self.findings.report.backups.append(root.label)
        self.findings.tried(what, partial(self._verify_refs, root, (*root.packs, *root.parts, *root.maps, *wal)))
        seen: set[int] = set()
        self.findings.tried(what, partial(self._verify_files, root, seen))
        for number, stored in enumerate(root.packs):  # that no list names, or behind the place where one broke
            if number not in seen:
                self.findings.tried(what, partial(self._open, stored, Kind.PACK))
        for stored in root.maps:
            self.findings.tried(what, partial(self._open, stored, Kind.MAP))

    def _verify_refs(self, root: Root, needed: tuple[Stored, ...]) -> None:
        """The clear list must be the one the root was made with, and name just what the root names."""
        path = root.refs.path
        raw = read_refs(self.repository, root.refs)
        if decode_refs(raw, where=path) != {stored.path: stored.sha256 for stored in needed}:
            raise ObjectCorrupt(f"{path!r} does not list what the backup's root lists")
        self.findings.count(len(raw))

    def _verify_files(self, root: Root, seen: set[int]) -> None:
        """Every pack that a list names is opened and every extent compared; notes in `seen` which were."""
        runs = pack_runs(_checked(self._records(root)))
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="verify") as pool:
            for run, error in map_bounded(pool, lambda run: (run, self._look_into_pack(root, run)), runs):
                if error is not None:
                    self.findings.note(f"backup {root.label}", error)
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

    def _open(self, stored: Stored, kind: Kind) -> None:
        for _ in read_frames(self.repository, stored.path, kind, expected=stored):
            pass
        self.findings.count(stored.length)


def _checked(records: Iterator[FileRecord]) -> Iterator[FileRecord]:
    """Pass records through, each looked at as a restore looks at it. Raises ObjectCorrupt."""
    for record in records:
        check_sum(record)
        yield record

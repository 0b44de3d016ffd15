"""`verify`: read back every object of every backup and the WAL between, and check all of it.

    physical: objects (backups.py) ─► WAL start..stop      logical: objects ─► files of each database (logical.py)
    then, per system and timeline, every archived segment from the oldest backup on: opens, is itself, none missing
    and every streamed tail of a segment that is not archived whole: opens, and agrees with the others (archive.py)
    and every record beside them opens: systems, watermarks, gaps, holds, tombstones, marks, drills (records.py)

A problem does not end the run: everything is looked at, all problems are returned. Nothing to look at is a problem.
WAL is asked for only where a physical backup needs it: logical backups alone are whole without any. A copy is read by
itself where the repository is given with that copy alone (copies.py).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pgvault.errors import ObjectCorrupt, ObjectMissing
from pgvault.pipeline.header import Kind
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, Root, read_catalog, read_root
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored
from pgvault.repository.pins import labels_under_way
from pgvault.repository.repository import Repository
from pgvault.repository.walobjects import read_wal
from pgvault.verify.archive import ArchiveReader
from pgvault.verify.backups import BackupReader
from pgvault.verify.logical import verify_content
from pgvault.verify.records import verify_audit, verify_records
from pgvault.verify.report import Findings, Suspect, VerifyReport, backup_name
from pgvault.verify.selection import Selection

EVERYTHING = Selection()


class Verifier:
    """One run over one cluster."""

    def __init__(
        self,
        repository: Repository,
        cluster: str,
        *,
        jobs: int,
        progress: Progress,
        selection: Selection = EVERYTHING,
    ) -> None:
        self._repository = repository
        self._cluster = cluster
        self._selection = selection
        self._jobs = jobs
        self._findings = Findings(progress)
        self._backups = BackupReader(repository, self._findings, jobs, selection)
        self._archive = ArchiveReader(repository, cluster, self._findings, jobs, selection)
        self._catalog: Catalog | None = None

    @property
    def report(self) -> VerifyReport:
        """What was found so far."""
        return self._findings.report

    @property
    def catalog(self) -> Catalog | None:
        """The backups that there were when the run began; None before."""
        return self._catalog

    def explain_by(self, every_copy: Repository) -> None:
        """Take the records of all copies for what explains a hole: one copy may hear of an expiry late."""
        self._archive = replace(self._archive, every_copy=every_copy)

    def run(self) -> VerifyReport:
        """Look at everything; raises only what ends all looking (a store that does not answer)."""
        catalog = self._catalog = read_catalog(self._repository, self._cluster)
        for entry in catalog.unreadable:
            root = Suspect(layout.manifest(self._cluster, entry.label), None)
            self._findings.note(backup_name(entry.label), entry.error, [root])
        if not catalog.backups and not catalog.logical:
            missing = ObjectMissing(f"cluster {self._cluster!r} has no backup that opens: there is nothing to verify")
            self._findings.note("catalog", missing)
        roots: tuple[Root, ...] = (*catalog.backups, *catalog.logical)
        self.report.backups_left_out = sum(not self._selection.takes(root) for root in roots)
        for manifest in filter(self._selection.takes, catalog.backups):
            self._verify_physical(manifest)
        for logical in filter(self._selection.takes, catalog.logical):
            self._verify_logical(logical)
        if self._selection.takes_wal:
            self._verify_beside(catalog)
        for label in catalog.unfinished:  # last, so that a backup that runs beside us had its time to commit
            root = Suspect(layout.manifest(self._cluster, label), None)
            self._findings.tried(backup_name(label), partial(self._verify_unfinished, label), root)
        self._note_emptiness(roots)
        return self.report

    def _note_emptiness(self, roots: tuple[Root, ...]) -> None:
        """Whoever chose what is not there shall not take that for a proof."""
        report = self.report
        if self._selection.labels is None and roots and not (report.backups or report.segment_count):
            report.notes.append(f"nothing was chosen: of {len(roots)} backups the roots were opened, and nothing else")

    def _verify_beside(self, catalog: Catalog) -> None:
        """Look at what belongs to no backup."""
        progress = self._findings.progress
        for system in dict.fromkeys(manifest.system_identifier for manifest in catalog.backups):
            of_system = [manifest for manifest in catalog.backups if manifest.system_identifier == system]
            self._findings.tried(f"WAL of system {system}", partial(self._archive.read_back, of_system))
        progress.phase("records")
        self._findings.tried("records", partial(verify_records, self._repository, self._cluster, self._findings))
        progress.phase("audit")
        self._findings.tried("audit", partial(verify_audit, self._repository, self._findings, jobs=self._jobs))

    def _verify_physical(self, manifest: Manifest) -> None:
        what, before = backup_name(manifest.label), self._counted()
        self._findings.tried(what, partial(_require_good_pages, manifest))
        wal = self._backups.read_back(manifest, wal=manifest.wal)
        for stored in wal:
            suspect = Suspect(stored.path, Kind.WAL, stored)
            self._findings.tried(what, partial(self._verify_needed_wal, manifest, stored), suspect)
        self._note_whole(manifest, before, len(wal), sum(stored.length for stored in wal))

    def _verify_logical(self, manifest: LogicalManifest) -> None:
        before = self._counted()
        self._backups.read_back(manifest)
        if self._selection.share is None:  # else most of what these files hold was left out
            noted = {str(problem.error) for problem in self.report.problems}
            for error in verify_content(self._repository, manifest):
                if str(error) not in noted:
                    self._findings.note(backup_name(manifest.label), error)
        self._note_whole(manifest, before)

    def _counted(self) -> tuple[int, int]:
        return self.report.object_count, self.report.stored_bytes

    def _note_whole(self, root: Root, before: tuple[int, int], also: int = 0, also_bytes: int = 0) -> None:
        """Take down that every object of a backup was read, and nothing was wrong with any."""
        if self._selection.share is None and not self.report.problems_of(root.label):
            count, size = self._counted()
            self.report.read_whole[root.label] = (count - before[0] + also, size - before[1] + also_bytes)

    def _verify_unfinished(self, label: str) -> None:
        """The list of what a backup needs is put last but one: a label that has it should have a root."""
        path = layout.refs(self._cluster, label)
        try:
            self._repository.reader.size(path)
        except ObjectMissing:
            return
        try:
            read_root(self._repository, self._cluster, label)
        except ObjectMissing as error:
            if label in labels_under_way(self._repository, self._cluster):
                return  # running, or killed in the moment of its commit
            raise ObjectMissing(
                f"{layout.manifest(self._cluster, label)!r} is absent, and all else of that backup is there: deleted, "
                "unless the backup was killed in the moment of its commit"
            ) from error

    def _verify_needed_wal(self, manifest: Manifest, stored: Stored) -> None:
        name = stored.path.rpartition("/")[2]
        wal, _ = read_wal(self._repository, self._cluster, manifest.system_identifier, name)
        if wal.stored.sha256 != stored.sha256:
            raise ObjectCorrupt(f"WAL file {name} is not the one the backup was committed with")


def _require_good_pages(manifest: Manifest) -> None:
    """Raise ObjectCorrupt when pages were damaged at the source: what is stored is whole, and no whole cluster."""
    errors = manifest.page_errors
    if errors.count:
        raise ObjectCorrupt(f"{errors.count} pages had wrong checksums when they were read, first: {errors.first[0]}")

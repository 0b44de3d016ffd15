"""Carry out a restore plan: fill the directory, and let it be a cluster only when all of it is there.

    files ─► backup_manifest ─► settings, recovery.signal, WAL of the backup ─► fsync ─► fetch plan ─► pg_control

pg_control comes last, by rename: until then no server starts here, whenever we are killed. Everything else of ours lies
beside the directory, in `<DIR>.pgvault/`:

    plan.json     what recovery may fetch (wal/fetchplan.py); restore_command names it

What is written inside is what pg_verifybackup expects. recovery.signal is always written, archive_mode is off.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgvault.errors import ObjectCorrupt
from pgvault.postgres.walname import TimelineHistoryFile, segments_between
from pgvault.progress import Progress
from pgvault.recovery.plan import RestorePlan
from pgvault.recovery.target import Action
from pgvault.repository.filelist import FileKind, FileRecord, read_records
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.restore.backupmanifest import MANIFEST_NAME, BackupManifestWriter
from pgvault.restore.configfiles import NEEDED, generate, standby_minima, write_external
from pgvault.restore.control import check_control, without_checkpoint
from pgvault.restore.durable import sync_file, sync_tree, unwritable, write_file
from pgvault.restore.files import (
    AUTO_CONF,
    CONTROL_FILE,
    TABLESPACE_LINK,
    Destination,
    Effort,
    HeldFile,
    RestoredFiles,
    restore_files,
)
from pgvault.restore.guard import restore_command
from pgvault.restore.place import (
    ROOM_KEPT,
    Reserve,
    make_directory,
    marks_directory,
    require_apart,
    require_free_place,
    require_room,
)
from pgvault.restore.settings import render_auto_conf
from pgvault.restore.tablespaces import render_map
from pgvault.wal.fetch import place, read_checked, read_streamed
from pgvault.wal.fetchplan import FetchPlan, PlannedTail

PLAN_NAME = "plan.json"
LABEL_NAME, MAP_NAME = b"backup_label", b"tablespace_map"
HALF_DONE = "global/pg_control.pgvault"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a restore goes."""

    data: Path  # the data directory, absolute; absent or empty
    tablespaces: Mapping[int, Path]  # of those outside it; absent or empty
    config_dir: Path | None = None  # for configuration from outside the data directory
    home: Path | None = None  # where `data` will be moved when it is complete; None: it stays
    reserve: Reserve = ROOM_KEPT  # what must stay free

    @property
    def final(self) -> Path:
        """Where the data directory will be in the end."""
        return self.home or self.data

    @property
    def marks(self) -> Path:
        """What belongs to the restore and not into the data directory."""
        return marks_directory(self.final)

    @property
    def directories(self) -> tuple[Path, ...]:
        """Everything that must be absent or empty."""
        return (self.data, *self.tablespaces.values(), *([] if self.config_dir is None else [self.config_dir]))


@dataclass(frozen=True, slots=True)
class Fetching:
    """How the restored server gets its WAL."""

    program: tuple[str, ...]  # how to call pgvault: an absolute path and arguments
    source: Mapping[str, Any]  # how to open the repository, for `wal fetch`; no secret

    def command(self, plan: Path) -> str:
        """Return the value of restore_command."""
        return restore_command([*self.program, "wal", "fetch", "--plan", str(plan)])


@dataclass(frozen=True, slots=True)
class Applied:
    """A directory that a server can be started on."""

    site: Site
    fetch_plan: FetchPlan
    generated: tuple[str, ...]  # configuration files that the backup did not hold
    external: Mapping[str, Path]  # configuration from outside: where it was → where it is
    notes: tuple[str, ...]


def check_site(
    repository: Repository, manifest: Manifest, plan: RestorePlan, site: Site, *, forbidden: Mapping[str, Path]
) -> None:
    """Raise unless a restore may go there and has room: before a byte of the backup is fetched.

    Raises DirectoryNotEmpty, ClusterRunning, Refused, DiskFull.
    """
    for directory in site.directories:
        require_free_place(directory, forbidden=forbidden)
    require_apart(site.directories)
    needs = {site.data: plan.disk_bytes}
    if site.tablespaces:
        sizes = tablespace_sizes(repository, manifest)
        needs = {place: sizes.get(oid, 0) for oid, place in site.tablespaces.items()}
        needs[site.data] = max(0, plan.disk_bytes - sum(needs.values()))
    require_room(needs, reserve=site.reserve)


def tablespace_sizes(repository: Repository, manifest: Manifest) -> dict[int, int]:
    """Return how many bytes lie in each tablespace, from the file list."""
    sizes: dict[int, int] = {}
    for record in read_records(repository, manifest):
        match = TABLESPACE_LINK.match(record.path)
        if match is not None and record.kind is FileKind.FILE:
            sizes[int(match[1])] = sizes.get(int(match[1]), 0) + record.size
    return sizes


def find_owner(manifest: Manifest) -> tuple[tuple[int, int] | None, str | None]:
    """Return to whom root gives the files, None for nobody else, and a note where the owner is not known here.

    Names count before numbers: the same number is often somebody else on another machine.
    """
    owner = manifest.owner
    if os.geteuid() != 0 or owner.uid == 0:
        return None, None
    try:
        user = pwd.getpwnam(owner.user) if owner.user is not None else pwd.getpwuid(owner.uid)
    except KeyError:
        name = owner.user or owner.uid
        return None, f"user {name!r}, who owned the cluster, is not known here: the files belong to root"
    try:
        group = grp.getgrnam(owner.group).gr_gid if owner.group is not None else user.pw_gid
    except KeyError:
        group = user.pw_gid
    return (user.pw_uid, group), None


def make_fetch_plan(
    repository: Repository, manifest: Manifest, plan: RestorePlan, *, source: Mapping[str, Any]
) -> FetchPlan:
    """Return what the restored server may fetch. Reads streamed tails once more: what it says of them is fixed."""
    tails = {}
    for segment, spans in plan.tails.items():
        content = read_streamed(repository, manifest.cluster, manifest.system_identifier, segment=segment, spans=spans)
        tails[segment.name] = PlannedTail(spans, hashlib.sha256(content).digest())
    return FetchPlan(
        restore_id=secrets.token_hex(8),
        cluster=manifest.cluster,
        system_identifier=manifest.system_identifier,
        segment_size=manifest.wal_segment_size,
        segments=plan.segments,
        histories=tuple(TimelineHistoryFile(timeline).name for timeline in plan.histories),
        taken=tuple(TimelineHistoryFile(timeline).name for timeline in plan.taken),
        tails=tails,
        source=source,
        copies=repository.reader.order,
    )


def apply_plan(
    repository: Repository, manifest: Manifest, plan: RestorePlan, site: Site, *, how: tuple[Fetching, Effort]
) -> Applied:
    """Restore `manifest` into `site`, which `check_site` found free.

    Raises ObjectCorrupt, ObjectMissing, DiskFull, and what the store raises; then pg_control is not there.
    """
    fetching, effort = how
    applying = _Applying(repository, manifest, plan, site, effort)
    files = applying.fill()
    settings = dict(plan.settings) | {"restore_command": fetching.command(site.marks / PLAN_NAME)}
    if settings.get("recovery_target_action") == Action.PROMOTE:
        # Replaying a raised max_connections would pause a hot standby for ever (pitfall 50).
        settings["hot_standby"] = "off"
    applying.arm(files, settings)
    fetch_plan = make_fetch_plan(repository, manifest, plan, source=fetching.source)
    external = applying.write_external(files)
    applying.sync(effort.progress)
    applying.write_marks(fetch_plan)
    applying.complete(files.held[CONTROL_FILE].content)
    return Applied(site, fetch_plan, applying.generated, external, applying.notes(files, external))


class _Applying:
    """One restore under way, step by step."""

    def __init__(
        self, repository: Repository, manifest: Manifest, plan: RestorePlan, site: Site, effort: Effort
    ) -> None:
        self.generated: tuple[str, ...] = ()
        self._repository = repository
        self._manifest = manifest
        self._plan = plan
        self._site = site
        self._effort = effort
        self._owner, self._owner_note = find_owner(manifest)
        self._present: set[bytes] = set()

    def fill(self) -> RestoredFiles:
        """Restore the files and list them, with those that we make, in backup_manifest."""
        manifest, data = self._manifest, self._site.data
        for directory in self._site.directories:
            make_directory(directory, owner=self._owner)
        self._effort.progress.phase("restoring files", manifest.total_bytes)
        with BackupManifestWriter(data / MANIFEST_NAME, manifest) as listing:

            def note(record: FileRecord) -> None:
                listing.add_record(record)
                if record.path in NEEDED:
                    self._present.add(record.path)

            destination = Destination(data, self._site.tablespaces, self._owner)
            files = restore_files(self._repository, manifest, destination, effort=self._effort, restored=note)
            control = files.held.get(CONTROL_FILE)
            if control is None:
                raise ObjectCorrupt(f"backup {manifest.label!r} holds no pg_control")
            check_control(control.content, manifest)
            made = self._made_files()
            for name, content in made.items():
                self._write(data / os.fsdecode(name), content)
            made[CONTROL_FILE] = without_checkpoint(control.content)
            at_ns = int(manifest.stopped_at.timestamp()) * 1_000_000_000
            for name, content in made.items():
                listing.add_content(name, content, mtime_ns=at_ns)
            listing.finish()
        if self._owner is not None:
            os.chown(data / MANIFEST_NAME, *self._owner)
        data.chmod(0o750 if files.has_group_access else 0o700)
        return files

    def arm(self, files: RestoredFiles, settings: Mapping[str, str]) -> None:
        """Write what makes the server recover as planned: settings, signal and the backup's own WAL."""
        data = self._site.data
        original = files.held.get(AUTO_CONF)
        text = render_auto_conf(
            b"" if original is None else original.content, settings, at_least=standby_minima(self._manifest)
        )
        self._write(data / os.fsdecode(AUTO_CONF), text)
        self._write(data / "recovery.signal", b"")
        names = self._own_wal()
        size = self._manifest.wal_segment_size
        self._effort.progress.phase("fetching the backup's WAL", len(names) * size)
        for name in names:
            content = read_checked(
                self._repository,
                self._manifest.cluster,
                self._manifest.system_identifier,
                name=name,
                segment_size=size,
            )
            self._effort.progress.advance(size)
            place(content, data / "pg_wal" / name)
            # As pg_basebackup does: it is archived, and an adopted server need not archive it again.
            self._write(data / "pg_wal" / "archive_status" / f"{name}.done", b"")
            self._give(data / "pg_wal" / name)

    def write_external(self, files: RestoredFiles) -> dict[str, Path]:
        """Write configuration from outside the data directory, where that was asked for."""
        if self._site.config_dir is None:
            return {}
        return write_external(self._site.config_dir, _external(files))

    def sync(self, progress: Progress) -> None:
        """Make everything durable."""
        if not self._effort.is_durable:
            return
        progress.phase("writing to disk")
        for root in self._site.directories:
            sync_tree(root, jobs=self._effort.jobs)
            sync_file(root.parent)

    def write_marks(self, fetch_plan: FetchPlan) -> None:
        """Store the fetch plan beside the directory."""
        marks = self._site.marks
        try:
            marks.mkdir(mode=0o700, exist_ok=True)
            fetch_plan.save(marks / PLAN_NAME)
            sync_file(marks.parent)
        except OSError as error:
            raise unwritable(marks, error) from error
        self._give(marks)
        self._give(marks / PLAN_NAME)

    def complete(self, control: bytes) -> None:
        """Put pg_control in its place: from here on it is a cluster."""
        half_done = self._site.data / HALF_DONE
        self._write(half_done, without_checkpoint(control))
        try:
            half_done.replace(self._site.data / os.fsdecode(CONTROL_FILE))
        except OSError as error:
            raise unwritable(half_done, error) from error
        sync_file(half_done.parent)

    def notes(self, files: RestoredFiles, external: Mapping[str, Path]) -> tuple[str, ...]:
        """Return what people should know."""
        notes = [] if self._owner_note is None else [self._owner_note]
        for path, target in files.links:
            notes.append(f"link {os.fsdecode(path)!r} to {os.fsdecode(target)!r} was not restored")
        if self.generated:
            notes.append(
                f"the backup held no {', '.join(self.generated)} in the data directory: minimal ones are written"
            )
        if left := [os.fsdecode(path) for path in _external(files) if os.fsdecode(path) not in external]:
            notes.append(f"not restored without --config-dir: {', '.join(left)}")
        return tuple(notes)

    def _made_files(self) -> dict[bytes, bytes]:
        """Return the files inside the data directory that come from elsewhere than the file list."""
        generated = generate(self._manifest, self._present)
        self.generated = tuple(sorted(map(os.fsdecode, generated)))
        made = {LABEL_NAME: self._manifest.backup_label, **generated}
        if self._manifest.tablespace_map:
            made[MAP_NAME] = render_map(self._manifest.tablespace_map, self._site.tablespaces)
        return made

    def _own_wal(self) -> list[str]:
        """Return the names of the WAL files that the backup itself needs."""
        manifest = self._manifest
        needed = segments_between(manifest.timeline, manifest.start_lsn, manifest.stop_lsn, manifest.wal_segment_size)
        names = [segment.name for segment in needed]
        # Of its histories those that lead to the target; one that does not may be damaged, and is not missed.
        led_by = {TimelineHistoryFile(timeline).name for timeline in self._plan.histories}
        return names + [name for entry in manifest.wal if (name := entry.path.rpartition("/")[2]) in led_by]

    def _write(self, path: Path, content: bytes) -> None:
        write_file(path, content, owner=self._owner)

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, *self._owner, follow_symlinks=False)


def _external(files: RestoredFiles) -> dict[bytes, HeldFile]:
    return {path: file for path, file in files.held.items() if file.record.kind is FileKind.EXTERNAL}

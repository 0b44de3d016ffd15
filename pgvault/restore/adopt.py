"""Take a restored cluster into service: from now on it archives, and its history is the cluster's.

A restored server does not archive, since two futures of one cluster in one archive lead `latest` astray. Adopting says
which one goes on: its timeline's history file is pushed, a new system identifier (pg_upgrade, initdb) is recorded
behind the one it follows, and the archive settings come back. WAL of the other future stays where it is. Until a backup
of the new timeline exists nothing protects it: `awaits_backup`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import ObjectMissing, OtherCluster, Refused, ServerUnfit
from pgvault.instants import Clock
from pgvault.postgres.control import CONTROL_PATH, ClusterState, ControlData, read_control
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.instance import has_pid_file
from pgvault.postgres.walname import TimelineHistoryFile, parse_wal_name
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.repository.systems import ADOPT_HINT, System, known_systems, record_system
from pgvault.repository.walindex import WalInventory, read_inventory
from pgvault.restore.archiving import KEPT_NAME, read_copy, replace_auto_conf, with_archiving, with_recorded
from pgvault.restore.effective import archive_settings
from pgvault.restore.files import AUTO_CONF
from pgvault.restore.finish import remove_marks
from pgvault.restore.place import marks_directory
from pgvault.wal.push import push_wal

SIGNALS = ("recovery.signal", "standby.signal")
SETTLED = (ClusterState.SHUT_DOWN, ClusterState.IN_PRODUCTION)


@dataclass(frozen=True, slots=True)
class Adopted:
    """What is the cluster's own now."""

    system_identifier: int
    timeline: int
    is_new_system: bool
    history: TimelineHistory | None  # None on timeline 1
    needs_restart: bool  # a server runs on it with the old settings
    notes: tuple[str, ...]


def adopt(  # noqa: PLR0913  what is adopted, and how
    repository: Repository,
    cluster: str,
    data: Path,
    *,
    clock: Clock,
    accepts_new_system: bool = False,
    marks: Path | None = None,
) -> Adopted:
    """Adopt the promoted cluster in `data`. Doing it again is fine.

    `marks` is where the restore left its files, when that is not beside `data`. Raises Refused while it recovers,
    OtherCluster for another system unless `accepts_new_system`, ServerUnfit when it would not archive, WalMismatch
    when somebody else archived another history under its timeline. Before the last nothing was changed.
    """
    control = read_control(data / CONTROL_PATH)
    if any((data / name).exists() for name in SIGNALS) or control.state not in SETTLED:
        raise Refused(
            f"the server on '{data}' has not ended its recovery",
            hint="Start it and let it promote, or restore with --finish.",
        )
    marks = marks or marks_directory(data)
    is_new = _require_known(repository, cluster, control, accepts_new_system=accepts_new_system)
    after, notes = _plan_archiving(repository, cluster, data, marks, control=control)
    if is_new:
        _record(repository, cluster, control, clock=clock)
    timeline = find_timeline(data, control)
    history = _push_history(repository, cluster, data, timeline, clock=clock)
    if after != _read_auto_conf(data):
        replace_auto_conf(data, after)
    remove_marks(marks, KEPT_NAME)
    needs_restart = has_pid_file(data)
    return Adopted(control.system_identifier, timeline, is_new, history, needs_restart, notes)


def find_timeline(data: Path, control: ControlData) -> int:
    """Return the timeline that a promoted server is on.

    Right after a promotion pg_control may still name the old one; the history file is written before it ends.
    """
    files = (parse_wal_name(path.name) for path in (data / "pg_wal").glob("*.history"))
    histories = [file.timeline for file in files if isinstance(file, TimelineHistoryFile)]
    return max([control.checkpoint_timeline, *histories])


def awaits_backup(repository: Repository, cluster: str, *, timeline: int | None = None) -> str | None:
    """Say why the cluster as it goes on is not protected by any backup; None when it is, or there is none at all.

    It goes on where its server is: on `timeline`; where that is not known, on the highest one that is archived.
    """
    catalog = read_catalog(repository, cluster)
    if not catalog.backups:
        return None
    newest = max(catalog.backups, key=lambda backup: backup.stopped_at)
    inventory = read_inventory(repository, cluster, newest.system_identifier, segment_size=newest.wal_segment_size)
    return find_unprotected(catalog, known_systems(repository, cluster), inventory, timeline=timeline)


def find_unprotected(
    catalog: Catalog, known: set[int], inventory: WalInventory, *, timeline: int | None = None
) -> str | None:
    """Say the same of what was read already: the systems that the cluster has had, and the WAL of one of them."""
    if not catalog.backups:
        return None
    unbacked = known - {backup.system_identifier for backup in catalog.backups}
    if unbacked:
        return f"system {max(unbacked)} has no backup yet"
    return _unbacked_timeline(catalog, inventory, timeline)


def _unbacked_timeline(catalog: Catalog, inventory: WalInventory, timeline: int | None) -> str | None:
    """A timeline that left the way to every backup before its end needs one of its own."""
    going_on = max(inventory.histories, default=1) if timeline is None else timeline
    if going_on == 1 and not inventory.histories:
        return None
    for backup in catalog.backups:
        if backup.system_identifier == inventory.system_identifier and backup.timeline == going_on:
            return None
    return f"timeline {going_on} has no backup yet"


def _require_known(repository: Repository, cluster: str, control: ControlData, *, accepts_new_system: bool) -> bool:
    """Tell whether it is a new system. Raises OtherCluster for one that may not be."""
    known = known_systems(repository, cluster)
    if control.system_identifier in known:
        return False
    if not accepts_new_system and known:
        raise OtherCluster(
            f"system identifier {control.system_identifier} is not one of cluster {cluster!r} "
            f"(known: {', '.join(map(str, sorted(known)))})",
            hint=ADOPT_HINT,
        )
    return True


def _record(repository: Repository, cluster: str, control: ControlData, *, clock: Clock) -> None:
    backups = read_catalog(repository, cluster).backups
    newest = max(backups, key=lambda backup: backup.stopped_at, default=None)
    known = known_systems(repository, cluster)
    follows = newest.system_identifier if newest is not None else max(known, default=None)
    system = System(control.system_identifier, control.major)
    record_system(repository, cluster, system, follows=follows, now=clock.now())


def _push_history(
    repository: Repository, cluster: str, data: Path, timeline: int, *, clock: Clock
) -> TimelineHistory | None:
    if timeline == 1:
        return None
    name = TimelineHistoryFile(timeline).name
    path = data / "pg_wal" / name
    if not path.exists():
        raise ObjectMissing(f"'{path}' is missing: nobody knows where timeline {timeline} comes from")
    push_wal(repository, cluster, path, clock=clock)
    return TimelineHistory.parse(path.read_bytes(), timeline)


def _plan_archiving(
    repository: Repository, cluster: str, data: Path, marks: Path, *, control: ControlData
) -> tuple[bytes, tuple[str, ...]]:
    """Return postgresql.auto.conf of the adopted server, and notes. Raises ServerUnfit when it would not archive."""
    after = with_archiving(_read_auto_conf(data), read_copy(marks))
    notes = []
    found = archive_settings(data, after, major=control.major)
    source = _newest_backup(repository, cluster, control)
    command = "" if source is None else source.postgres.settings.get("archive_command", "")
    if source is not None and command and not (found.is_on and found.has_means):
        after = with_recorded(after, command, sets_command=not found.has_means)
        found = archive_settings(data, after, major=control.major)
        notes.append(f"archiving is set in postgresql.auto.conf as it was at backup {source.label}")
    if not found.is_on or not found.has_means:
        why = "archive_mode is off" if not found.is_on else "archive_command and archive_library are empty"
        raise ServerUnfit(
            f"the server on '{data}' would not archive: {why}",
            hint="Nothing was recorded. Set archive_mode = on and archive_command, then adopt it.",
        )
    if b"\nsynchronous_standby_names = ''" in after:
        notes.append("synchronous_standby_names stays empty in postgresql.auto.conf until its standbys are made anew")
    return after, tuple(notes)


def _newest_backup(repository: Repository, cluster: str, control: ControlData) -> Manifest | None:
    backups = read_catalog(repository, cluster).backups
    same = (backup for backup in backups if backup.system_identifier == control.system_identifier)
    return max(same, key=lambda backup: backup.stopped_at, default=None)


def _read_auto_conf(data: Path) -> bytes:
    try:
        return (data / os.fsdecode(AUTO_CONF)).read_bytes()
    except FileNotFoundError:
        return b""

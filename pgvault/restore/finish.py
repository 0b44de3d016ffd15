"""Replay to the target right here, promote, stop, and leave a directory that needs nobody any more.

    start (private socket, no TCP, no archiving) ─► replay ─► promote ─► stop ─► where did it end? ─► clean up

The server runs on configuration of ours, whatever the cluster's own says, and nothing connects to it. Where recovery
ended is read from the history file that the promotion wrote: it must be where the plan said. Only then are the
recovery settings and what lies beside the directory removed; else the directory is left as it is, for looking at.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pgvault.errors import RecoveryFailed
from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.instance import Instance
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.programs import find_programs
from pgvault.postgres.walname import TimelineHistoryFile
from pgvault.progress import Progress
from pgvault.recovery.plan import MAX_WAL_BYTES, RestorePlan
from pgvault.repository.manifest import Manifest
from pgvault.restore.apply import PLAN_NAME, Site
from pgvault.restore.archiving import replace_auto_conf, without_recovery
from pgvault.restore.configfiles import CONFIG, HBA, IDENT, private_files
from pgvault.restore.durable import write_file
from pgvault.restore.files import AUTO_CONF
from pgvault.restore.reached import require_reached
from pgvault.restore.replayed import Replayed, wal_bytes
from pgvault.restore.settings import wal_room
from pgvault.wal.spool import remove_spools

LOG_NAME = "recovery.log"
PRIVATE_SETTINGS = {
    "archive_mode": "off",
    "hot_standby": "off",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "logging_collector": "off",
    "recovery_init_sync_method": "syncfs",  # file by file we have done it already
    "ssl": "off",  # its certificates belong to the old host
    # A restored subscriber would log in to the publisher of the one in production, and take its slot.
    "max_logical_replication_workers": "0",
    # Workers of libraries (jobs, foreign replication) would begin to act once it is promoted. WAL of a custom resource
    # manager is not replayed without its library: PostgreSQL says so then, and the operator starts the server himself.
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
}
REPLAY_LIMIT = timedelta(days=7)  # somebody who has so much WAL will rather start the server himself
STOP_SECONDS = 3600.0  # the shutdown checkpoint of a large cache on a slow disk
FETCH_ERROR = re.compile(r"^(?:pgvault wal fetch: )?error: (.*)$", re.MULTILINE)
# What PostgreSQL says when it ran out of WAL; the plan was made so that it never has to.
ENDED_EARLY = "recovery ended before configured recovery target was reached"


@dataclass(frozen=True, slots=True)
class Finished:
    """Where recovery ended."""

    timeline: int  # the new one
    parent: int  # the one it left
    lsn: Lsn  # the first byte that is not of the old history
    reason: str  # PostgreSQL's own words


def finish_restore(site: Site, manifest: Manifest, plan: RestorePlan, *, progress: Progress) -> Finished:
    """Recover the applied restore on `site` and clean up behind it.

    Raises RecoveryFailed when it does not end where the plan says, ProgramMissing without PostgreSQL's programs.
    """
    programs = find_programs(manifest.postgres_major)
    progress.phase("replaying WAL", wal_bytes(plan.segments))
    with tempfile.TemporaryDirectory(prefix="pgv-") as sockets:
        private = _write_private(site, manifest)
        _give_like(site.data, Path(sockets), *private.values())
        log = site.marks / LOG_NAME
        instance = Instance(
            programs,
            site.data,
            Path(sockets),
            log,
            config_file=private[CONFIG],
            hba_file=private[HBA],
            ident_file=private[IDENT],
        )
        try:
            _recover(instance, plan, Replayed(log, manifest.wal_segment_size, progress))
        finally:
            instance.stop(timeout=STOP_SECONDS)
    finished = read_end(site.data)
    require_reached(finished.lsn, finished.parent, plan, stop_lsn=manifest.stop_lsn)
    replace_auto_conf(site.data, without_recovery((site.data / os.fsdecode(AUTO_CONF)).read_bytes()))
    remove_marks(site.marks)
    return finished


def read_end(data: Path) -> Finished:
    """Return where the last recovery of a stopped server ended. Raises RecoveryFailed, ObjectCorrupt."""
    control = read_control(data / CONTROL_PATH)
    path = data / "pg_wal" / TimelineHistoryFile(control.checkpoint_timeline).name
    try:
        history = TimelineHistory.parse(path.read_bytes(), control.checkpoint_timeline)
    except FileNotFoundError as error:
        raise RecoveryFailed(f"the server on '{data}' did not begin a timeline of its own") from error
    last = history.entries[-1]
    return Finished(history.timeline, last.timeline, last.switch_lsn, last.reason)


def remove_marks(marks: Path, *also: str) -> None:
    """Remove what recovery needed beside a data directory, and `also`; anything else stays, the directory with it."""
    for name in (PLAN_NAME, LOG_NAME, *map(os.fsdecode, (CONFIG, HBA, IDENT)), *also):
        (marks / name).unlink(missing_ok=True)
    remove_spools(marks)
    try:
        marks.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        return  # not empty: what adopting needs is there, or something of somebody else's


def _recover(instance: Instance, plan: RestorePlan, replayed: Replayed) -> None:
    instance.start(PRIVATE_SETTINGS | wal_room(replayed.segment_size, max_bytes=MAX_WAL_BYTES))
    try:
        instance.wait_ready(REPLAY_LIMIT.total_seconds(), watch=replayed)
    except RecoveryFailed as error:
        if said := FETCH_ERROR.findall(instance.log_text()):
            raise RecoveryFailed(f"recovery could not get its WAL: {said[-1]}", hint=error.hint) from error
        if ENDED_EARLY not in str(error):
            raise
        raise RecoveryFailed(
            f"the archived WAL does not lead to {plan.target}, although the plan said that it does",
            hint=f"Some of it does not hold what it should: try pgvault verify. {error.hint or ''}".strip(),
        ) from error


def _write_private(site: Site, manifest: Manifest) -> dict[bytes, Path]:
    files = {}
    for name, content in private_files(manifest).items():
        files[name] = site.marks / os.fsdecode(name)
        files[name].unlink(missing_ok=True)
        write_file(files[name], content)
    return files


def _give_like(data: Path, *paths: Path) -> None:
    """Give files to the owner of the data directory, who runs the server."""
    status = data.stat()
    if os.geteuid() == 0 and status.st_uid != 0:
        for path in paths:
            os.chown(path, status.st_uid, status.st_gid)

"""Restore where the cluster is: into a directory beside it, then two renames.

    DIR.restoring-<stamp>   is filled, and finished if that was asked for; DIR is not touched
    DIR                     ─► DIR.before-<stamp>, never deleted
    DIR.restoring-<stamp>   ─► DIR

So whatever goes wrong before the renames leaves the old directory as it was. Tablespaces can not be swapped by a
rename; each needs a new directory (--tablespace-mapping), and the old ones stay with the old data directory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pgvault.errors import ClusterRunning, MajorUnsupported, ObjectCorrupt, Refused, SourceUnreadable
from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.instance import PID_FILE, has_pid_file, postmaster_pid
from pgvault.repository.layout import stamp
from pgvault.repository.manifest import Manifest
from pgvault.restore.durable import sync_file


@dataclass(frozen=True, slots=True)
class Swap:
    """Three names of one place."""

    data: Path  # what is to be replaced
    staging: Path  # where the new one is made
    aside: Path  # where the old one goes


def plan_swap(data: Path, manifest: Manifest, *, now: datetime) -> Swap:
    """Return the names. Raises ClusterRunning, Refused for a directory that is not this cluster's or can't move."""
    real = data.resolve()
    if not real.is_dir():
        raise Refused(f"'{data}' is no directory", hint="Leave out --in-place to restore into a new one.")
    require_stopped(real)
    if os.path.ismount(real):
        raise Refused(
            f"'{data}' is a mount point and can not be moved aside",
            hint="Restore into another directory and let the server use that one.",
        )
    if not os.access(real.parent, os.W_OK):
        raise Refused(f"'{real.parent}' is not writable: '{data}' can not be moved aside")
    try:
        found = read_control(real / CONTROL_PATH).system_identifier
    except (MajorUnsupported, ObjectCorrupt, SourceUnreadable):
        found = None  # damaged: that may be why we are asked
    if found is not None and found != manifest.system_identifier:
        raise Refused(f"'{data}' holds system {found}, the backup is of system {manifest.system_identifier}")
    suffix = stamp(now)
    return Swap(real, real.with_name(f"{real.name}.restoring-{suffix}"), real.with_name(f"{real.name}.before-{suffix}"))


def require_stopped(data: Path) -> None:
    """Raise ClusterRunning when a server runs on `data`, or may run: wherever postmaster.pid exists.

    A server in another container shares the directory and not the process ids, so nobody here can tell it from one
    that crashed; only the operator can.
    """
    pid = postmaster_pid(data)
    if pid is not None:
        raise ClusterRunning(f"a server with process id {pid} runs on '{data}'", hint="Stop it first.")
    if has_pid_file(data):
        raise ClusterRunning(
            f"a server may run on '{data}', perhaps in another container: '{data / PID_FILE}' exists",
            hint="Stop it. If it crashed and is certainly gone, remove that file by hand.",
        )


def carry_out(swap: Swap) -> None:
    """Put the new directory in the old one's place. Raises ClusterRunning, Refused; then the old one is in place."""
    require_stopped(swap.data)
    if os.path.lexists(swap.aside):
        raise Refused(f"'{swap.aside}' exists already")
    try:
        swap.data.rename(swap.aside)
    except OSError as error:
        raise Refused(f"'{swap.data}' can not be moved aside: {error.strerror}") from error
    try:
        swap.staging.rename(swap.data)
    except OSError as error:
        swap.aside.rename(swap.data)
        raise Refused(f"'{swap.staging}' can not take its place: {error.strerror}") from error
    sync_file(swap.data.parent)

"""Who holds a lease: a process, named so that another one on the same host can tell whether it still runs.

A process id alone means nothing: it is used again, it counts within one pid namespace (a container), and it ends with
the boot. So the host's name, the boot, the namespace and the instant the process started go with it. Where one of them
differs, or can not be read, nothing is known about the process from here: then only its heartbeats tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pgvault.repository.fields import read_count, read_text

PROC = Path("/proc")
STATE, STARTED = 0, 19  # fields of /proc/<pid>/stat behind the name, which may hold blanks and brackets
STOPPED = frozenset("Tt")
ENDED = frozenset("ZX")


class Presence(Enum):
    """What can be seen of a holder from here."""

    GONE = "gone"  # it ended, for certain
    RUNS = "runs"
    UNKNOWN = "unknown"  # on another host, or stopped: only its heartbeats tell


@dataclass(frozen=True, slots=True)
class Holder:
    """One process. Empty and 0 stand for what could not be read."""

    host: str
    boot_id: str
    pid_namespace: int  # inode of /proc/self/ns/pid
    pid: int
    started: int  # clock ticks from the boot to the start of the process
    command: str  # what it does, in words: never its arguments, which may hold a secret

    def __str__(self) -> str:
        return f"{self.command} on host {self.host!r}, pid {self.pid}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Holder:
        """Read the JSON form. Raises KeyError, TypeError, ValueError."""
        return cls(
            host=read_text(document["host"]),
            boot_id=read_text(document["boot_id"]),
            pid_namespace=read_count(document["pid_namespace"]),
            pid=read_count(document["pid"]),
            started=read_count(document["started"]),
            command=read_text(document["command"]),
        )


def this_process(command: str) -> Holder:
    """Return this very process as a holder that does `command`."""
    status = _status(os.getpid())
    return Holder(os.uname().nodename, _boot_id(), _pid_namespace(), os.getpid(), status[1] if status else 0, command)


def look_for(holder: Holder) -> Presence:
    """Tell whether a holder still runs, as far as this host can know."""
    here = this_process("")
    if not (here.boot_id and here.pid_namespace and holder.started):
        return Presence.UNKNOWN
    if (holder.host, holder.boot_id, holder.pid_namespace) != (here.host, here.boot_id, here.pid_namespace):
        return Presence.UNKNOWN
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return Presence.GONE
    except OSError:
        pass  # there, and not ours
    status = _status(holder.pid)
    if status is None:  # ended this moment, or hidden from us by the mount option hidepid
        return Presence.UNKNOWN
    state, started = status
    if started != holder.started or state in ENDED:
        return Presence.GONE
    return Presence.UNKNOWN if state in STOPPED else Presence.RUNS


def _status(pid: int) -> tuple[str, int] | None:
    """Return a process's state, one letter, and when it started; None when that can not be read."""
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
        fields = text.rpartition(")")[2].split()
        return fields[STATE], int(fields[STARTED])
    except (OSError, IndexError, ValueError):
        return None


def _boot_id() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> int:
    try:
        return (PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return 0

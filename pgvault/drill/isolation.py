"""Choose how a drill's scratch server is kept apart from production, and say so.

    sandbox      bubblewrap: a file system of its own that holds what the server needs, no network (sandbox.py)
    container    docker or podman (container.py)
    process      beside everything else, as a user without rights, by configuration alone
    auto         the sandbox where one works, else process, and the report says why

In Kubernetes the drill's own pod is what keeps it apart: there auto is process, told as such.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pgvault.errors import DrillNotRun
from pgvault.postgres.launcher import HOST, Launcher
from pgvault.postgres.owner import may_unshare
from pgvault.postgres.programs import Programs, find_programs


class Isolation(StrEnum):
    """What can be asked for."""

    AUTO = "auto"
    SANDBOX = "sandbox"
    PROCESS = "process"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class IsolationWish:
    """What is asked for; all but the first two are of containers."""

    kind: Isolation = Isolation.AUTO
    is_in_pod: bool = False  # whether this process runs in a pod of Kubernetes
    image: str | None = None
    engine: str | None = None
    memory: str = "2g"
    cpus: float = 2.0


BEST = IsolationWish()


@dataclass(frozen=True, slots=True)
class Isolated:
    """How one scratch is kept apart."""

    kind: Isolation  # never AUTO
    launcher: Launcher
    programs: Programs  # as the launcher runs them: in a container, those of its image
    told: str  # for the report


def isolate(
    wish: IsolationWish, root: Path, major: int, *, find: Callable[[int], Programs] = find_programs
) -> Isolated:
    """Return how the scratch directory `root`, which exists, is kept apart, for a server of that major.

    `find` finds the programs of this host. Raises DrillNotRun when what is asked for does not work here,
    ProgramMissing without programs.
    """
    if wish.kind is Isolation.CONTAINER:
        raise DrillNotRun(f"'{root}': isolation 'container' is not there yet")
    return Isolated(Isolation.PROCESS, HOST, find(major), f"process: {_process_text()}")


def _process_text() -> str:
    if os.geteuid() != 0:
        who = "same user"
    elif may_unshare():
        who = "user namespace"
    else:
        who = "another user"
    return f"private directory, no TCP, {who}"

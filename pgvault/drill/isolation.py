"""Choose how a drill's scratch server is kept apart from production, and say so.

    sandbox      bubblewrap: a file system of its own that holds what the server needs, no network (sandbox.py)
    container    docker or podman (container.py)
    process      beside everything else by configuration alone, of root's drill as a user of its own (owning.py)
    auto         the sandbox where one works, else process, and the report says why; never with root's own rights

In Kubernetes the drill's own pod is what keeps it apart: there auto is process, told as such.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from pgvault.drill.container import (
    WALDUMP,
    ContainerLauncher,
    ContainerSettings,
    find_container,
    with_waldump,
)
from pgvault.drill.engine import Limits
from pgvault.drill.owning import find_own_user
from pgvault.drill.sandbox import find_sandbox
from pgvault.drill.scratch import PREFIX, note_engine
from pgvault.errors import DrillNotRun, ProgramMissing
from pgvault.postgres.launcher import HOST, Launcher
from pgvault.postgres.owner import may_unshare
from pgvault.postgres.programs import Programs, find_programs
from pgvault.recovery.gather import Workplace


class Isolation(StrEnum):
    """What can be asked for."""

    AUTO = "auto"
    SANDBOX = "sandbox"
    PROCESS = "process"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class IsolationWish:
    """What is asked for; all but the first three are of containers."""

    kind: Isolation = Isolation.AUTO
    is_in_pod: bool = False  # whether this process runs in a pod of Kubernetes
    is_trusted: bool = False  # what is restored is of our own making: the demo, the self-test
    image: str | None = None
    engine: str | None = None
    pull: bool = False  # an image that is not here
    memory: str = "2g"
    cpus: float = 2.0


BEST = IsolationWish()
BESIDE = "process: private directory, no TCP, "
SANDBOXED = "sandbox: bubblewrap, with a file system, processes, memory and a network of its own"
POD = "nothing but what this pod was given can be reached"


@dataclass(frozen=True, slots=True)
class Isolated:
    """How one scratch is kept apart."""

    kind: Isolation  # never AUTO
    launcher: Launcher
    programs: Programs  # as the launcher runs them: in a container, those of its image
    told: str  # for the report
    image: Mapping[str, str | None] | None = None  # of a container


def isolate(
    wish: IsolationWish, root: Path, major: int, *, find: Callable[[int], Programs] = find_programs
) -> Isolated:
    """Return how the scratch directory `root`, which exists, is kept apart, for a server of that major.

    `find` finds the programs of this host. Raises DrillNotRun when what is asked for does not work here,
    ProgramMissing without programs.
    """
    if wish.kind is Isolation.CONTAINER:
        found = find_container(_settings(wish), major)
        note_engine(root, found.engine)
        contained = ContainerLauncher(found, root.name.removeprefix(PREFIX), root)
        return Isolated(Isolation.CONTAINER, contained, with_waldump(found, root), str(found), asdict(found.image))
    programs = find(major)
    if wish.kind is Isolation.SANDBOX or (wish.kind is Isolation.AUTO and not wish.is_in_pod):
        try:
            return Isolated(Isolation.SANDBOX, find_sandbox(root, programs), programs, SANDBOXED)
        except DrillNotRun as error:
            if wish.kind is Isolation.SANDBOX:
                raise
            launcher, who = _beside(root, programs, instead=None if wish.is_trusted else error)
            return Isolated(Isolation.PROCESS, launcher, programs, f"{BESIDE}{who}; weaker than a sandbox: {error}")
    launcher, who = _beside(root, programs)
    if wish.is_in_pod:
        return Isolated(Isolation.PROCESS, launcher, programs, f"pod: {POD}; in it {BESIDE}{who}")
    return Isolated(Isolation.PROCESS, launcher, programs, f"{BESIDE}{who}; weaker than a sandbox")


@contextmanager
def looking_into_wal(wish: IsolationWish, place: Path) -> Iterator[Workplace]:
    """Say with which programs a drill is planned: a host that drills in containers may have none of its own."""
    if wish.kind is not Isolation.CONTAINER:
        yield Workplace(place)
        return
    with tempfile.TemporaryDirectory(prefix="pgvault-", dir=place) as directory:

        @cache
        def find(major: int) -> Programs:
            try:
                programs = find_programs(major)
                programs.path(WALDUMP)
            except ProgramMissing:
                return with_waldump(find_container(_settings(wish), major), Path(directory))
            return programs

        yield Workplace(place, find)


def _settings(wish: IsolationWish) -> ContainerSettings:
    return ContainerSettings(wish.engine, wish.image, wish.pull, Limits(wish.memory, wish.cpus))


def _beside(root: Path, programs: Programs, *, instead: DrillNotRun | None = None) -> tuple[Launcher, str]:
    """Return how to run beside everything else, and as whom; `instead` is why there is no sandbox, which is better.

    What is restored may be what a superuser of the cluster wrote, and must not become root by a drill. Raises
    DrillNotRun where it would, unless running beside was asked for.
    """
    if os.geteuid() != 0:
        return HOST, "same user"
    try:
        return find_own_user(root, programs), "own user"
    except DrillNotRun as error:
        if instead is not None:
            raise DrillNotRun(
                f"what is restored would run with root's own rights: {instead}, and {error}",
                hint="Install bubblewrap, drill as another user, or accept it: drill.isolation: process.",
            ) from error
        if may_unshare():
            return HOST, f"user namespace, in which root's files can be written, since {error}"
        return HOST, f"another user of this host, since {error}"

"""Run a drill's server and its programs in containers: a launcher for podman and docker.

    pgvault-drill-<id>          the server, process 1 inside; its output is the scratch's log
    pgvault-drill-<id>-<n>      one each for pg_amcheck and the like, with the same limits and the same mounts

Inside there is the image, read-only, and the scratch directory under the path that it has here: no network, no
capability, no other file of this host. The user inside is ours, or, where we are root, one whom this host does not
know. PostgreSQL's programs are those of the image; this host needs none of them, nor Python inside.

What an engine fails at, and a server that its limit of memory ended, says nothing about the backup: DrillNotRun.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pgvault.drill.engine import (
    Box,
    Engine,
    Image,
    Limits,
    default_image,
    find_engine,
    find_image,
    last_line,
    remove_containers,
    run_words,
)
from pgvault.drill.owning import OWNER
from pgvault.errors import DrillNotRun, ProgramFailed, ProgramMissing
from pgvault.postgres.launcher import Command, Launched
from pgvault.postgres.owner import change_owner
from pgvault.postgres.programs import VERSION_TEXT, Programs, find_programs
from pgvault.process import CAN_NOT_RUN, Process, attempt, start

NAME = "pgvault-drill-"
PROBE_SECONDS = 120.0
KILL_SECONDS = 30.0
POLL_SECONDS = 0.1
WALDUMP = "pg_waldump"
# Which PostgreSQL is in there, and whether what restore_command needs is, too. One that is no directory of programs is
# passed over.
PROBE = """\
sleep 0.01 && command -v mv >/dev/null && command -v rm >/dev/null || exit 3
for postgres in "$(command -v postgres)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
    [ -x "$postgres" ] || continue
    echo "bin ${postgres%/postgres}" && "$postgres" --version && ls "${postgres%/postgres}"
done
"""


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What an operator chose; None: ours."""

    engine: str | None = None
    image: str | None = None  # None: the official one of the backup's major
    pull: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ImagePrograms(Programs):
    """PostgreSQL's programs inside an image: their paths mean nothing out here, but for those of `outside`."""

    names: frozenset[str] = frozenset()
    outside: Mapping[str, Path] = field(default_factory=dict)

    @property
    def takes_environment(self) -> bool:
        return False

    def path(self, name: str) -> Path:
        """Return the path of one program inside. Raises ProgramMissing when the image lacks it."""
        if name in self.outside:
            return self.outside[name]
        if name not in self.names:
            raise ProgramMissing(
                f"the image has PostgreSQL {self.minor_text} in '{self.bin}', without {name}",
                hint="Set drill.image to one with the whole server package.",
            )
        return self.bin / name


@dataclass(frozen=True, slots=True)
class Found:
    """An engine, an image, and the PostgreSQL in it."""

    engine: Engine
    image: Image
    programs: ImagePrograms
    limits: Limits

    def __str__(self) -> str:
        """For the report: what ran, so that it can be run again."""
        image = self.image
        return f"container: {self.engine.program}, image {image.name} ({image.digest or image.id}), no network"


def find_container(settings: ContainerSettings, major: int) -> Found:
    """Return what containers of that major are made of. Raises DrillNotRun, naming what is missing."""
    engine = find_engine(settings.engine)
    image = find_image(engine, settings.image or default_image(major), pull=settings.pull)
    limits = settings.limits
    # Docker refuses more than there are.
    limits = Limits(limits.memory, min(limits.cpus, os.cpu_count() or 1), limits.processes)
    box = Box("probe", None, {}, OWNER, limits, {})
    told = attempt(run_words(engine, box, image, ["sh", "-c", PROBE]), timeout=PROBE_SECONDS)
    if told.status != 0:
        raise DrillNotRun(
            f"image '{image.name}' can not be run by {engine.program}: {last_line(told.errors)}",
            hint="It needs sh, sleep, mv and rm, and this host must allow the limits (drill.memory, drill.cpus).",
        )
    for programs in read_probe(told.output):
        if programs.major == major:
            return Found(engine, image, programs, limits)
    raise DrillNotRun(
        f"image '{image.name}' has no PostgreSQL {major}",
        hint=f"Set drill.image, or leave it to {default_image(major)}.",
    )


def read_probe(text: str) -> Iterator[ImagePrograms]:
    """Read what PROBE printed: each PostgreSQL with the programs beside it."""
    for part in re.split(r"^bin ", text, flags=re.MULTILINE)[1:]:
        directory, version, *names = part.splitlines() + [""] * 2
        if (match := VERSION_TEXT.search(version)) is not None:
            yield ImagePrograms(Path(directory), int(match[2]), match[1], frozenset(filter(None, names)))


def with_waldump(found: Found, directory: Path) -> ImagePrograms:
    """Return the programs, with a pg_waldump that is run out here: this host's own, else a script in `directory`."""
    programs = found.programs
    try:
        path = find_programs(programs.major).path(WALDUMP)
    except ProgramMissing:
        path = directory / WALDUMP
        path.write_text(waldump_script(found, programs.path(WALDUMP)))
        path.chmod(0o700)
    return replace(programs, outside={WALDUMP: path})


def waldump_script(found: Found, program: Path) -> str:
    """Return a script that runs the image's pg_waldump: the first argument is --path, the second a directory.

    Each time in a container that sees that directory alone, as ourselves, even where that is root: the WAL is ours,
    and root inside has no capability.
    """
    box = Box(WALDUMP, None, {}, (os.geteuid(), os.getegid()), found.limits, {"LC_ALL": "C", "TZ": "UTC"})
    engine, verb, *words = run_words(found.engine, box, found.image, [program])
    run = f'{shlex.join([engine, verb])} --volume="$2:$2:ro,z" {shlex.join(words)} "$@"'
    return f'#!/bin/sh\n[ "$1" = --path ] || exit 2\nexec {run}\n'


class ContainerLauncher:
    """Runs a scratch's server and its programs in containers; a Launcher."""

    def __init__(self, found: Found, drill: str, root: Path) -> None:
        """`drill` is the drill's id, `root` its scratch directory."""
        self.found = found
        self._drill = drill
        self._user = OWNER if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        # initdb asks for its user's name, which podman adds to an image and docker does not.
        passwd = root / "conf" / "passwd"
        passwd.write_text(f"postgres:x:{self._user[0]}:{self._user[1]}::/:/bin/sh\n")
        self._mounts = {root: root, Path("/etc/passwd"): passwd}
        self._numbers = itertools.count(1)

    @property
    def shares_processes(self) -> bool:
        return False

    @property
    def can_bind(self) -> bool:
        return True

    def bind(self, inside: Path, outside: Path) -> None:
        """Show the directory `outside` at `inside`, in containers that are started from now on."""
        self._mounts[inside] = outside

    def start(self, argv: Sequence[str | Path], *, data: Path, env: Mapping[str, str], log: Path) -> Launched:  # noqa: ARG002
        """Start the server's container and return at once."""
        box = self._box("", env)
        words = run_words(self.found.engine, box, self.found.image, argv)
        # Where podman's monitor notes that a container ran out of memory: a file `oom`, beside whoever started it.
        return _ContainerServer(self.found, box, start(words, env=None, log=log, cwd=log.parent), log)

    def command(self, argv: Sequence[str | Path], *, env: Mapping[str, str], data: Path | None = None) -> Command:  # noqa: ARG002
        """Return how to run a program in a container of its own, as the server's user, standard input open."""
        box = self._box(f"-{next(self._numbers)}", env)
        words = run_words(self.found.engine, box, self.found.image, argv, is_interactive=True)
        return Command([*words], None)

    def give(self, path: Path) -> None:
        """Give `path`, and all below it, to the user inside."""
        if os.geteuid() == 0:
            change_owner(path, *self._user)

    def close(self) -> None:
        """End the containers of this drill, also one whose program was given up. Raises DrillNotRun."""
        remove_containers(self.found.engine, self._drill)

    def _box(self, suffix: str, env: Mapping[str, str]) -> Box:
        inner = {name: value for name, value in env.items() if name != "PATH"}  # the image has its own
        name = f"{NAME}{self._drill}{suffix}"
        return Box(self._drill, name, dict(self._mounts), self._user, self.found.limits, inner)


class _ContainerServer:
    """The engine's client that waits for a server's container, and passes on its output and its status."""

    def __init__(self, found: Found, box: Box, client: Process, log: Path) -> None:
        self._found = found
        self._box = box
        self._name = box.name or ""
        self._client = client
        self._log = log
        self._log_offset = log.stat().st_size
        self._is_killed = False  # by us

    @property
    def pid(self) -> int:
        return self._client.pid

    def poll(self) -> int | None:
        """See Launched. Raises DrillNotRun when it ended for a reason that is not PostgreSQL's."""
        status = self._client.poll()
        if status is None or status == 0:
            return status
        if status in CAN_NOT_RUN:
            raise DrillNotRun(f"{self._found.engine.program} can not run the scratch server: {last_line(self._text())}")
        if status == 128 + signal.SIGKILL and not self._is_killed:
            raise DrillNotRun(
                f"the scratch server was killed, as happens at its limit of {self._box.limits.memory} memory",
                hint="Raise drill.memory.",
            )
        return status

    def signal(self, number: int) -> None:
        """Send a signal to the postmaster; before its container is there, wait for it."""
        deadline = time.monotonic() + KILL_SECONDS
        while self._client.poll() is None and not self._signalled(number):
            if time.monotonic() > deadline:
                raise ProgramFailed(f"container '{self._name}' takes no signal")
            time.sleep(POLL_SECONDS)

    def wait(self, timeout: float) -> int:
        return self._client.wait(timeout)

    def is_server(self, pid: int) -> bool:
        return pid == 1

    def kill(self) -> None:
        if self._client.poll() is not None:
            return
        self._is_killed = True
        with contextlib.suppress(ProgramFailed):
            self.signal(signal.SIGKILL)
            self.wait(KILL_SECONDS)
            return
        remove_containers(self._found.engine, self._box.drill)
        self._client.signal(signal.SIGKILL)
        self._client.wait(KILL_SECONDS)

    def _signalled(self, number: int) -> bool:
        name = signal.Signals(number).name.removeprefix("SIG")
        return self._found.engine.ask("kill", f"--signal={name}", self._name).status == 0

    def _text(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._log_offset)
            return file.read().decode("utf-8", "replace")

"""Podman and docker by their command line: which one, which image, which words.

Only words that both take are used, so that a drill is the same in either. An image is never pulled unless that was
asked for: on the night of a drill the registry may be as gone as everything else, and what is pulled is not what was
tried before. What runs is named by the image's own id, not by its tag: a tag that moves meanwhile moves nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgvault.errors import DrillNotRun, ProgramFailed
from pgvault.process import Finished, attempt

ENGINES = ("podman", "docker")  # in the order in which they are looked for
LABEL = "org.pgvault.drill"  # of every container of ours; its value is the drill's id
ENGINE_SECONDS = 60.0  # for what only asks or removes; an engine may be busy
PULL_SECONDS = 1800.0
OFFICIAL = "docker.io/library/postgres"
# Podman hands these on by itself, docker when its client is configured so, and they may hold a password.
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may take of this host."""

    memory: str = "2g"  # as the engine reads it; also of its shared memory
    cpus: float = 2.0
    processes: int = 1024


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here."""

    name: str  # as it was asked for
    id: str  # sha256:…
    digest: str | None  # name@sha256:… in the registry it came from


@dataclass(frozen=True, slots=True)
class Engine:
    """One of ENGINES, and what its words depend on."""

    program: str
    is_rootless: bool = False  # containers run in a user namespace of the caller's

    def ask(self, *words: str, timeout: float = ENGINE_SECONDS) -> Finished:
        """Run the engine with `words`. Raises DrillNotRun when it is missing or does not end in time."""
        try:
            return attempt([self.program, *words], timeout=timeout)
        except ProgramFailed as error:
            raise DrillNotRun(f"{error}", hint=f"See whether '{self.program} info' answers.") from error


@dataclass(frozen=True, slots=True)
class Box:
    """What a container of a drill gets of this host."""

    drill: str  # the drill's id, or what it is for
    name: str | None  # None: one that the engine finds
    mounts: Mapping[Path, Path]  # inside → outside
    user: tuple[int, int]  # uid, gid inside
    limits: Limits
    environment: Mapping[str, str]


def default_image(major: int) -> str:
    """Return the image of PostgreSQL's own maintainers for that major."""
    return f"{OFFICIAL}:{major}"


def find_engine(wanted: str | None) -> Engine:
    """Return the wanted engine, else the first that is installed. Raises DrillNotRun when it does not answer."""
    names = ENGINES if wanted is None else (wanted,)
    program = next((name for name in names if shutil.which(name) is not None), None)
    if program is None:
        raise DrillNotRun(
            f"a container drill needs {' or '.join(names)}, which is not installed",
            hint="Install it, or drill with --isolation sandbox or process.",
        )
    engine = Engine(program)
    told = engine.ask("info", "--format", "{{json .}}")
    if told.status != 0:
        raise DrillNotRun(
            f"{program} does not answer: {last_line(told.errors)}",
            hint=f"See whether '{program} info' works for the user that drills.",
        )
    return Engine(program, is_rootless=read_rootless(program, told.output))


def find_image(engine: Engine, name: str, *, pull: bool) -> Image:
    """Return an image that is here, fetching it first only when `pull` says so. Raises DrillNotRun without it."""
    told = engine.ask("image", "inspect", name)
    if told.status != 0 and pull:
        pulled = engine.ask("pull", "--quiet", name, timeout=PULL_SECONDS)
        if pulled.status != 0:
            hint = "Name one that is here, or that this host may pull: drill: {image: NAME}."
            raise DrillNotRun(f"image '{name}' can not be pulled: {last_line(pulled.errors)}", hint=hint)
        told = engine.ask("image", "inspect", name)
    if told.status != 0:
        raise DrillNotRun(
            f"{engine.program} has no image '{name}': {last_line(told.errors)}",
            hint=f"Fetch it before a drill needs it: {engine.program} pull {name}. Or set drill.image, or drill.pull.",
        )
    return read_image(name, told.output)


def read_image(name: str, inspected: str) -> Image:
    """Read what `image inspect` prints. Raises DrillNotRun for anything else."""
    try:
        (found,) = json.loads(inspected)
        digest = str(found["Id"])
        names = [str(each) for each in found.get("RepoDigests") or ()]
    except (ValueError, TypeError, KeyError) as error:
        raise DrillNotRun(f"what is told of image '{name}' can not be read: {inspected[:200]!r}") from error
    return Image(name, digest if digest.startswith("sha256:") else f"sha256:{digest}", names[0] if names else None)


def run_words(
    engine: Engine, box: Box, image: Image, argv: Sequence[str | Path], *, is_interactive: bool = False
) -> list[str]:
    """Return the command line that runs `argv` in a container of its own, which is gone when it ends.

    The first word of `argv` is a program inside the image. Standard input is ours with `is_interactive`, else empty.
    """
    words = [engine.program, "run", "--rm", *(["--interactive"] if is_interactive else []), "--pull=never"]
    words += [] if box.name is None else [f"--name={box.name}"]
    words += [f"--label={LABEL}={box.drill}"]
    words += ["--network=none", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
    words += [f"--memory={box.limits.memory}", f"--shm-size={box.limits.memory}", f"--cpus={box.limits.cpus:g}"]
    # Nothing of the log stays with the engine: a server quotes data in its messages.
    words += [f"--pids-limit={box.limits.processes}", "--log-driver=none", "--no-healthcheck", "--workdir=/"]
    words += [f"--user={box.user[0]}:{box.user[1]}", *(["--userns=keep-id"] if engine.is_rootless else [])]
    for name in PROXIES:
        words += [f"--env={name}=", f"--env={name.upper()}="]
    words += [f"--env={name}={value}" for name, value in box.environment.items()]
    # z: where SELinux is on, containers may use the directory, all of them.
    words += [f"--volume={outside}:{inside}:z" for inside, outside in box.mounts.items()]
    program, *rest = (os.fspath(word) for word in argv)
    return [*words, f"--entrypoint={program}", image.id, *rest]


def remove_containers(engine: Engine, drill: str) -> int:
    """End and remove the containers of one drill, by its label alone; return how many there were.

    Raises DrillNotRun when the engine does not do it.
    """
    told = engine.ask("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={LABEL}={drill}")
    found = told.output.split()
    if told.status == 0 and found:
        told = engine.ask("rm", "--force", "--volumes", *found)
        # One that ended by itself meanwhile is gone as well, which some releases call an error.
        again = engine.ask("ps", "--all", "--quiet", f"--filter=label={LABEL}={drill}")
        if again.status == 0 and not again.output.split():
            return len(found)
    if told.status != 0 or found:
        raise DrillNotRun(f"{engine.program} does not remove containers of drill {drill}: {last_line(told.errors)}")
    return 0


def last_line(text: str) -> str:
    """Return what an engine said at last, or that it said nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def read_rootless(program: str, info: str) -> bool:
    """Read from `info` whether containers run in a user namespace. Raises DrillNotRun for a docker that does so."""
    try:
        told = json.loads(info)
        if program == "podman":
            return bool(told["host"]["security"]["rootless"])
        options = [str(option) for option in told.get("SecurityOptions") or ()]
        silent = "".join(str(error) for error in told.get("ServerErrors") or ())
    except (ValueError, TypeError, KeyError) as error:
        raise DrillNotRun(f"what '{program} info' tells can not be read: {info[:200]!r}") from error
    if silent:  # older clients call this a success
        raise DrillNotRun(f"docker does not answer: {silent}")
    if any("name=rootless" in option or "name=userns" in option for option in options):
        # There the caller is root inside, as whom PostgreSQL does not run, and nobody else may read our files.
        raise DrillNotRun(
            "docker maps users here (rootless, or userns-remap), and a restored directory can not be handed to one",
            hint="Drill with podman, or with --isolation sandbox.",
        )
    return False

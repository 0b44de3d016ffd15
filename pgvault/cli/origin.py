"""Who runs this command, on which host and from where: as far as the operating system tells it.

    pod        in Kubernetes                     ssh        by a session that came over the network, also through sudo
    terminal   somebody sits at it               cron       an ancestor is a cron
    systemd    a unit started it                 unknown    none of these

Names come from the system's own tables and not from variables that anybody may set; what only a variable tells
(`sudo_user`, `ssh_client`) is written down under a name that says so. Arguments are never looked at: they may
hold what must not be kept for years.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgvault import __version__
from pgvault.cli.isolation import POD

NAMESPACE = Path("var/run/secrets/kubernetes.io/serviceaccount/namespace")
CRONS = frozenset({"anacron", "busybox-crond", "cron", "crond", "fcron", "supercronic"})
SSH = "SSH_CONNECTION"
ANCESTORS_MAX = 32
TEXT_MAX = 200  # characters: a variable is somebody else's text


def find_terminal() -> str | None:
    """Return the terminal that we read from or write to."""
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            return os.ttyname(descriptor)
    return None


@dataclass(frozen=True, slots=True)
class World:
    """What is looked at."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    root: Path = Path("/")
    terminal: str | None = field(default_factory=find_terminal)

    def ancestors(self) -> Iterator[Path]:
        """Yield the processes above us, as directories of /proc, as far as there are any."""
        pid = os.getppid()
        for _ in range(ANCESTORS_MAX):
            place = self.root / "proc" / str(pid)
            yield place
            try:
                # Behind the name, which is in parentheses and may hold anything: state, parent.
                pid = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except (IndexError, OSError, ValueError):
                return
            if pid <= 0:
                return


def find_origin(world: World | None = None) -> dict[str, Any]:
    """Return who we are, for the `by` of an audit entry."""
    world = world or World()
    found = {
        "user": _user(os.getuid()),
        "uid": os.getuid(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": __version__,
        **_persons(world),
        **_whence(world),
    }
    return {name: value[:TEXT_MAX] if isinstance(value, str) else value for name, value in found.items()}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user need not have a name
        return str(uid)


def _persons(world: World) -> dict[str, str]:
    """Return who it was before they became another user."""
    persons = {}
    with suppress(OSError):  # no terminal, or no session that was logged in to
        persons["login"] = os.getlogin()
    if "SUDO_USER" in world.environment:
        persons["sudo_user"] = world.environment["SUDO_USER"]
    return persons


def _whence(world: World) -> dict[str, str]:
    if POD in world.environment:
        return {"from": "pod", **_pod(world)}
    terminal = {} if world.terminal is None else {"terminal": world.terminal}
    client = _ssh_client(world)
    if client is not None:
        return {"from": "ssh", "ssh_client": client, **terminal}
    if terminal:
        return {"from": "terminal", **terminal}
    if any(_name(process) in CRONS for process in world.ancestors()):
        return {"from": "cron"}
    if "INVOCATION_ID" in world.environment:
        return {"from": "systemd", "invocation": world.environment["INVOCATION_ID"]}
    return {"from": "unknown"}


def _pod(world: World) -> dict[str, str]:
    found = {"pod": world.environment.get("POD_NAME") or socket.gethostname()}
    namespace = world.environment.get("POD_NAMESPACE")
    if namespace is None:
        with suppress(OSError, UnicodeDecodeError):
            namespace = (world.root / NAMESPACE).read_text().strip()
    return found if not namespace else found | {"namespace": namespace}


def _ssh_client(world: World) -> str | None:
    """Return whence an SSH session came; sudo takes the variable away, so our ancestors are asked, too."""
    value = world.environment.get(SSH)
    if value is None:
        value = next((found for place in world.ancestors() if (found := _variable(place, SSH)) is not None), "")
    words = value.split()
    return words[0] if words else None


def _variable(process: Path, name: str) -> str | None:
    with suppress(OSError):  # somebody else's process
        for entry in (process / "environ").read_bytes().split(b"\0"):
            key, _, value = entry.partition(b"=")
            if key == name.encode():
                return value.decode("utf-8", "replace")
    return None


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""

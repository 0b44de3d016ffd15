"""Who runs a command, and from where: by what the operating system tells, in a /proc of our own making."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pgvault.cli import origin
from pgvault.cli.origin import World, find_origin

ANCESTOR = 4242


def world(root: Path, *, ancestor: str = "bash", environ: bytes = b"", **environment: str) -> World:
    """A host on which our parent is a shell, and its parent `ancestor`."""
    for pid, parent, name, held in ((os.getppid(), ANCESTOR, "sh (a) b", b""), (ANCESTOR, 0, ancestor, environ)):
        place = root / "proc" / str(pid)
        place.mkdir(parents=True, exist_ok=True)
        (place / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")
        (place / "comm").write_text(f"{name}\n")
        (place / "environ").write_bytes(held)
    return World(environment, root, terminal=None)  # whoever runs the tests may sit at one


def test_who_and_which_program(tmp_path: Path) -> None:
    """The user by the system's table, whatever variables say; host, process, version."""
    found = find_origin(world(tmp_path, USER="somebody", LOGNAME="somebody", SUDO_USER="alice"))

    assert found["uid"] == os.getuid()
    assert found["user"] != "somebody"
    assert found["sudo_user"] == "alice"
    assert found["pid"] == os.getpid()
    assert found["host"]
    assert found["version"]
    assert found["from"] == "unknown"


def test_cron(tmp_path: Path) -> None:
    """An ancestor is one."""
    assert find_origin(world(tmp_path, ancestor="cron"))["from"] == "cron"


def test_systemd(tmp_path: Path) -> None:
    """A unit's processes are numbered."""
    found = find_origin(world(tmp_path, INVOCATION_ID="0f" * 16))

    assert (found["from"], found["invocation"]) == ("systemd", "0f" * 16)


def test_pod(tmp_path: Path) -> None:
    """Its name is its host's, its namespace lies where Kubernetes puts it."""
    place = tmp_path / origin.NAMESPACE
    place.parent.mkdir(parents=True)
    place.write_text("databases\n")

    found = find_origin(world(tmp_path, KUBERNETES_SERVICE_HOST="10.0.0.1", SSH_CONNECTION="10.1.1.1 1 2 3"))

    assert (found["from"], found["namespace"]) == ("pod", "databases")
    assert found["pod"] == found["host"]


def test_ssh(tmp_path: Path) -> None:
    """The client's address; through sudo, too, which takes the variable away."""
    direct = find_origin(world(tmp_path, SSH_CONNECTION="192.0.2.7 50000 192.0.2.1 22"))
    through = find_origin(world(tmp_path, environ=b"A=b\0SSH_CONNECTION=192.0.2.8 1 2 22\0"))

    assert (direct["from"], direct["ssh_client"]) == ("ssh", "192.0.2.7")
    assert (through["from"], through["ssh_client"]) == ("ssh", "192.0.2.8")


def test_terminal(tmp_path: Path) -> None:
    """Somebody sits at it."""
    found = find_origin(replace(world(tmp_path), terminal="/dev/pts/3"))

    assert (found["from"], found["terminal"]) == ("terminal", "/dev/pts/3")


def test_what_others_wrote_is_cut(tmp_path: Path) -> None:
    """A variable may hold anything."""
    assert len(find_origin(world(tmp_path, SUDO_USER="x" * 5000))["sudo_user"]) == origin.TEXT_MAX

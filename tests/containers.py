"""Images with PostgreSQL, and an engine that runs them: made by .ci/run, since tests pull nothing.

    localhost/pgvault-postgres:15, :18        or what PGVAULT_TEST_IMAGE names, with {major} in it

Where containers need settings of their own, CONTAINERS_CONF says so, as in .ci/run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from pgvault.drill.engine import LABEL, Engine
from pgvault.drill.isolation import Isolation, IsolationWish
from pgvault.process import attempt, start
from tests.wal.servers import wait_until

IMAGES = os.environ.get("PGVAULT_TEST_IMAGE", "localhost/pgvault-postgres:{major}")
PODMAN = Engine("podman")
SERVICE_SECONDS = 600


@cache
def missing(major: int) -> str | None:
    """Say what container tests lack here; None: nothing."""
    if shutil.which("podman") is None:
        return "podman is not installed"
    image = IMAGES.format(major=major)
    if attempt(["podman", "image", "inspect", image], timeout=60).status != 0:
        return f"podman has no image {image}; .ci/run makes it"
    return None


def container_wish(major: int, **changes: object) -> IsolationWish:
    """Wish for a container of that major; skip, naming what is missing."""
    if (lack := missing(major)) is not None:
        pytest.skip(lack)
    words = {"engine": "podman", "image": IMAGES.format(major=major), **changes}
    return IsolationWish(Isolation.CONTAINER, **words)  # type: ignore[arg-type]  # fields of it


def containers(drill: str) -> list[str]:
    """The containers of a drill."""
    return PODMAN.ask("ps", "--all", "--quiet", f"--filter=label={LABEL}={drill}").output.split()


def containers_of(place: Path) -> list[str]:
    """The containers of drills whose scratch is made in `place`, by what they see of this host."""
    listed = PODMAN.ask("ps", "--all", f"--filter=label={LABEL}", "--format={{.Names}} {{.Mounts}}").output
    return [line for line in listed.splitlines() if str(place) in line]


@contextmanager
def docker_by_podman(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let docker's own client talk to podman: the words are docker's, what runs is podman's."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    address = directory / "engine"
    words = ["podman", "system", "service", f"--time={SERVICE_SECONDS}", f"unix://{address}"]
    service = start(words, env=None, log=directory / "service.log")
    try:
        wait_until(address.exists)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
        yield
    finally:
        service.signal(15)
        service.wait(60)

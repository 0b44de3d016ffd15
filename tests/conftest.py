"""Fixtures that tests of every part share; the servers themselves are in tests/servers.py."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import MAJORS, ServerFactory

# A shell that starts us in the background, or nohup, lets us ignore these, and so would every program that we start: a
# fetch that kills itself by SIGQUIT would live on, and the test would not have tested anything.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What pgvault keeps on a host, its signing key, is kept for this run alone."""
    place = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(place))
        yield place


@pytest.fixture(scope="session")
def majors() -> tuple[int, ...]:
    """Every supported major installed here."""
    return MAJORS


@pytest.fixture(params=MAJORS or [pytest.param(0, marks=pytest.mark.skip(reason="no PostgreSQL is installed"))])
def major(request: pytest.FixtureRequest) -> int:
    """Each of them in turn."""
    found: int = request.param
    return found


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where freshly made clusters are kept, by all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clusters"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's, whatever the run is called."""
    with tempfile.TemporaryDirectory(prefix="pgv-") as directory:
        yield Path(directory)


@pytest.fixture
def server(templates: Path) -> Iterator[ServerFactory]:
    """Make servers: `server(18)` runs, `server(17, settings={"archive_mode": "on"})`; all are gone after the test."""
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.places import Place, make_place
from tests.servers import NEWEST, NEWEST_OR_CI, ServerFactory


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    """Servers that live as long as the module's tests."""
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(
    scope="module", params=NEWEST_OR_CI or [pytest.param(0, marks=pytest.mark.skip(reason="no PostgreSQL"))]
)
def place(request: pytest.FixtureRequest, servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archiving server of each major in turn (in scripts/test the newest); tests leave it archiving."""
    return make_place(servers, tmp_path_factory.mktemp("place"), request.param)


@pytest.fixture(scope="module")
def newest(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archiving server of the newest major, shared by a module."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    return make_place(servers, tmp_path_factory.mktemp("newest"), NEWEST)


@pytest.fixture
def fresh(server: ServerFactory, tmp_path: Path) -> Place:
    """An archiving server of the newest major for one test."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    return make_place(server, tmp_path, NEWEST)

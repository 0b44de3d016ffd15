"""One server for the checks of one worker: none of them writes to what another one reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import NEWEST, Server, ServerFactory


@pytest.fixture(scope="session")
def checked(templates: Path) -> Iterator[Server]:
    """A server of the newest major, empty."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        yield factory(NEWEST)
    finally:
        factory.clear()

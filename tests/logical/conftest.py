"""Servers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ServerFactory


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    """Make servers that live as long as the module's tests."""
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()

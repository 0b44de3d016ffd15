"""A server that stands for a scratch one, and a database of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.repository.repository import Repository
from tests.archive import make_archive
from tests.drill.looks.bases import Base
from tests.servers import NEWEST, Server, ServerFactory

NUMBERS = itertools.count()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty one."""
    return make_archive(tmp_path).repository


@pytest.fixture(scope="session")
def scratch_server(templates: Path) -> Iterator[Server]:
    """One for all tests of a worker."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        yield factory(NEWEST)
    finally:
        factory.clear()


@pytest.fixture
def base(scratch_server: Server) -> Base:
    """A new database."""
    name = f"look{next(NUMBERS)}"
    scratch_server.sql(f"CREATE DATABASE {name} STRATEGY file_copy")
    return Base(scratch_server, name)

"""Repositories to work on: in memory, to be damaged, and in a directory, as they are in use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.stores.file import FileStore
from tests.fakes import MemoryStore

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def credential() -> Credential:
    return Credential("raw", bytes(range(32)))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, credential: Credential) -> Repository:
    """A repository in memory; its objects are `store.objects`."""
    return init_repository([Copy("primary", store)], credential, now=NOW)[0]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def on_disk(directory: Path, credential: Credential) -> Repository:
    """A repository in `directory`."""
    return init_repository([Copy("primary", FileStore(directory))], credential, now=NOW)[0]


@pytest.fixture(scope="session")
def repository_factory() -> Callable[[], Repository]:
    """Makes an empty repository in memory for every example of a property test."""

    def make() -> Repository:
        return init_repository([Copy("primary", MemoryStore())], Credential("raw", bytes(32)), now=NOW)[0]

    return make

"""A repository in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from tests.archive import Archive, make_archive
from tests.fakes import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    """A repository in memory; its objects are `store.objects`."""
    return init_repository(
        [Copy("primary", store)], Credential("raw", bytes(32)), now=datetime(2026, 1, 15, tzinfo=UTC)
    )[0]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty repository in a directory, and its configuration."""
    return make_archive(tmp_path)

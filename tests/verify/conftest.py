from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.repository.systems import System, record_system
from tests.archive import AT, SYSTEM
from tests.verify.vault import LABELS, LAST, Vault, segment_of


@pytest.fixture
def empty(tmp_path: Path) -> Vault:
    """A repository without anything in it."""
    return Vault(tmp_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """Backups that start in segments 5 and 7, and WAL from 5 to LAST. Nobody touches it."""
    made = Vault(tmp_path_factory.mktemp("vault"))
    record_system(made.repository, "main", System(SYSTEM, 18), follows=None, now=AT)
    stored = {number: made.put_segment(segment_of(number)) for number in range(5, LAST + 1)}
    for label, number in zip(LABELS, (5, 7), strict=True):
        made.put_backup(label, segment=segment_of(number), wal=(stored[number],))
    return made


@pytest.fixture
def vault(whole: Vault) -> Vault:
    """A copy of it for one test."""
    return whole.copy()

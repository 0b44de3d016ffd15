from __future__ import annotations

from pathlib import Path

import pytest

from tests.archive import Archive, make_archive, make_control


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty repository and its configuration."""
    return make_archive(tmp_path)


@pytest.fixture
def pg_wal(tmp_path: Path) -> Path:
    """The pg_wal of a data directory of SYSTEM."""
    (tmp_path / "data/global").mkdir(parents=True)
    (tmp_path / "data/global/pg_control").write_bytes(make_control())
    (tmp_path / "data/pg_wal").mkdir()
    return tmp_path / "data/pg_wal"

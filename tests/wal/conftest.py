from __future__ import annotations

from pathlib import Path

import pytest

from tests.archive import Archive, make_archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty repository and its configuration."""
    return make_archive(tmp_path)

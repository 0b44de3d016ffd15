from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.schemas import write_schemas
from tests.helm.tools import schema_sources


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the strict schema of every kind there is."""
    api, definitions = schema_sources()
    target = tmp_path_factory.mktemp("schemas")
    write_schemas(api, definitions, target)
    return target

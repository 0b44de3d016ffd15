from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.helm.cases import CASES
from tests.helm.chart import EXAMPLES, Rendered, render_file, write_values
from tests.helm.schemas import write_schemas
from tests.helm.tools import schema_sources


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the strict schema of every kind there is."""
    api, definitions = schema_sources()
    target = tmp_path_factory.mktemp("schemas")
    write_schemas(api, definitions, target)
    return target


@pytest.fixture(scope="session")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Rendered]]:
    """Return what gives a case's, or an example's, file of values and what it becomes; rendered once."""

    @cache
    def find(name: str) -> tuple[Path, Rendered]:
        examples = {each.stem: each for each in EXAMPLES}
        path = examples.get(name) or write_values(tmp_path_factory.mktemp("values"), CASES[name])
        return path, render_file(path)

    return find

"""One server and one repository for all that is tried with the image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.image.yard import Yard, made_yard


@pytest.fixture(scope="package")
def yard() -> Iterator[Yard]:
    with made_yard() as made:
        yield made

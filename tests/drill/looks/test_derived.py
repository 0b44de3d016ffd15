from __future__ import annotations

from dataclasses import replace

import pytest

from pgvault.drill.looks.derived import derived
from pgvault.repository.repository import Repository
from tests.drill.looks.bases import Base, results, untested

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


def test_every_database_is_asked_unless_that_is_off(base: Base, repository: Repository) -> None:
    """Off, it says so; a database that is gone is a finding, and the next one is asked all the same."""
    base.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    restored = replace(base.restored(repository), databases=("no such database", base.name))

    found = results(derived, restored)
    off = untested(derived, replace(restored, is_derived=False))

    assert found["constraints:no such database"].failed
    assert found[f"unique:{base.name}"].passed
    assert off == ["constraints as queries: drill.derived is off"]

from __future__ import annotations

import contextlib

import psycopg
import pytest

from pgvault.drill.looks.validity import validity
from pgvault.repository.repository import Repository
from tests.drill.looks.bases import Base, results

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


def test_indexes_that_postgresql_does_not_believe(base: Base, repository: Repository) -> None:
    """A CREATE INDEX CONCURRENTLY that failed, and one that is not ready, are red; what REINDEX leaves is told."""
    base.sql("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 2)", "CREATE INDEX fine ON t (a)")
    before = results(validity, base.restored(repository))
    with contextlib.suppress(psycopg.errors.UniqueViolation):
        base.sql("CREATE UNIQUE INDEX CONCURRENTLY failed ON t (a)")
    base.sql(
        "CREATE INDEX unready ON t (b); CREATE INDEX t_b_idx_ccnew1 ON t (b)",
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'unready'::regclass",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_b_idx_ccnew1'::regclass",
    )

    after = results(validity, base.restored(repository))

    invalid, passing = after[f"invalid_indexes:{base.name}"], after[f"passing_indexes:{base.name}"]
    assert before[f"indexes:{base.name}"].passed
    assert list(before) == [f"indexes:{base.name}"]
    assert invalid.failed
    assert invalid.is_blocking
    assert invalid.sample == ("public.failed of t is not ready", "public.unready of t is not ready")
    assert passing.failed
    assert not passing.is_blocking


def test_constraints_that_were_never_checked_are_told(base: Base, repository: Repository) -> None:
    """They stop nothing."""
    base.sql("CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT late CHECK (a > 0) NOT VALID")

    found = results(validity, base.restored(repository))[f"unvalidated_constraints:{base.name}"]

    assert found.sample == ("public.t.late",)
    assert not found.is_blocking

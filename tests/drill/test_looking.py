from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.checks.result import Verdict
from pgvault.config import CheckConfig, Objectives
from pgvault.drill.looking import run_checks
from pgvault.drill.report import DrillReport
from pgvault.drill.restored import Restored, scratch_dsn
from tests.archive import make_archive
from tests.servers import NEWEST, ServerFactory

CHECKS = (
    CheckConfig(name="clock", query="SELECT count(*) FROM t WHERE at > now()"),
    CheckConfig(name="as_of", query="SELECT count(*) FROM t WHERE at > :as_of"),
    CheckConfig(name="empty", query="SELECT count(*) FROM empty"),
)
NOW = datetime.now(UTC)


@pytest.mark.cluster
@pytest.mark.endurance
def test_checks_ask_for_the_moment_that_was_restored(server: ServerFactory, tmp_path: Path) -> None:
    """Of a past moment the wall clock proves nothing, `:as_of` is that moment, and an empty table is red."""
    one = server(NEWEST)
    one.sql("CREATE TABLE t AS SELECT now() - interval '30 minutes' AS at")
    one.sql("CREATE TABLE empty (id int)")
    dsn = scratch_dsn(one.instance, "postgres")
    repository, verdicts = make_archive(tmp_path).repository, {}
    for as_of in (NOW - timedelta(hours=1), NOW, None):
        report = DrillReport("20260115T103000Z-f7c2", "main", NOW, Objectives())
        databases = ("template1", "postgres")
        restored = Restored(repository, "main", one.instance, dsn, "postgres", databases, "postgres", None, as_of, 1)
        run_checks(report, restored, CHECKS)
        verdicts[as_of] = {check.name: check.verdict for check in report.checks}

    assert verdicts == {
        NOW - timedelta(hours=1): {"clock": Verdict.UNPROVEN, "as_of": Verdict.FAILED, "empty": Verdict.FAILED},
        NOW: {"clock": Verdict.PASSED, "as_of": Verdict.PASSED, "empty": Verdict.FAILED},
        None: {"clock": Verdict.UNPROVEN, "as_of": Verdict.UNPROVEN, "empty": Verdict.FAILED},
    }

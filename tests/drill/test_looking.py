from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.checks.result import Origin, Verdict
from pgvault.config import CheckConfig, ClusterConfig, Objectives
from pgvault.drill.looking import run_checks
from pgvault.drill.report import DrillReport
from pgvault.drill.restored import Restored, scratch_dsn
from pgvault.postgres.instance import Instance
from pgvault.postgres.programs import Programs
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
    now = datetime.now(UTC)  # not when this module was read: that may be half an hour ago
    one = server(NEWEST)
    one.sql("CREATE TABLE t AS SELECT now() - interval '30 minutes' AS at")
    one.sql("CREATE TABLE empty (id int)")
    dsn = scratch_dsn(one.instance, "postgres")
    repository, verdicts = make_archive(tmp_path).repository, {}
    for as_of in (now - timedelta(hours=1), now, None):
        report = DrillReport("20260115T103000Z-f7c2", "main", now, Objectives())
        databases = ("template1", "postgres")
        restored = Restored(repository, "main", one.instance, dsn, "postgres", databases, "postgres", None, as_of, 1)
        run_checks(report, restored, CHECKS)
        verdicts[as_of] = {check.name: check.verdict for check in report.checks}

    assert verdicts == {
        now - timedelta(hours=1): {"clock": Verdict.UNPROVEN, "as_of": Verdict.FAILED, "empty": Verdict.FAILED},
        now: {"clock": Verdict.PASSED, "as_of": Verdict.PASSED, "empty": Verdict.FAILED},
        None: {"clock": Verdict.UNPROVEN, "as_of": Verdict.UNPROVEN, "empty": Verdict.FAILED},
    }


def test_a_blind_drill_asks_no_other_system(tmp_path: Path) -> None:
    """What needs another server is not proven, and that server sees no connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        right = {"dsn": f"host=127.0.0.1 port={listener.getsockname()[1]}", "query": "SELECT 1 AS id"}
        check = {
            "name": "paid",
            "type": "cross_system",
            "left": {"query": "SELECT 1 AS id"},
            "right": right,
            "key": "id",
        }
        (asked,) = ClusterConfig.model_validate({"dsn": "", "checks": [check]}).checks
        instance = Instance(Programs(tmp_path, 18, "18.0"), tmp_path, tmp_path, tmp_path / "log")
        report = DrillReport("20260115T103000Z-f7c2", "main", NOW, Objectives())
        restored = Restored(
            make_archive(tmp_path).repository,
            "main",
            instance,
            "",
            "postgres",
            (),
            "postgres",
            None,
            NOW,
            1,
            is_blind=True,
        )

        run_checks(report, restored, (asked,))

        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    (result,) = report.checks
    assert (result.verdict, result.origin) == (Verdict.UNPROVEN, Origin.CONFIGURED)
    assert "no other server is asked" in result.detail

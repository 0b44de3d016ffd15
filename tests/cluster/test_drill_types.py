"""A drill of a shop whose payments are in another system, which goes on while the shop is restored."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import psycopg
import pytest
import yaml

from pgvault.checks.result import Verdict
from pgvault.config import AnyCheck, ClusterConfig
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import TimeTarget
from tests.cluster.drills import Stage, make_stage, write_orders
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

TYPED = Path(__file__).parents[1] / "requirements" / "typed.yaml"
DAYS = """
CREATE TABLE daily_aggregates (date date PRIMARY KEY, daily_total numeric(12,2) NOT NULL);
INSERT INTO daily_aggregates
SELECT current_date - day, (SELECT sum(total_amount) FROM orders) FROM generate_series(0, 29) day;
"""


def checks_of(stage: Stage, *, with_time: bool) -> tuple[AnyCheck, ...]:
    """The typed checks that need no other system, and the payments there against the orders here."""
    document = yaml.safe_load(TYPED.read_text())["data_validation"]["checks"]
    document = [check for check in document if "host=ledger" not in str(check)]
    across = {
        "name": "paid",
        "type": "cross_system",
        "left": {"query": "SELECT id, total_amount AS amount, ordered_at AS at FROM orders"},
        "right": {"dsn": stage.server.dsn_of("postgres", "ledger"), "query": "SELECT id, amount, at FROM paid"},
        "key": "id",
        **({"time": "at"} if with_time else {}),
    }
    return ClusterConfig.model_validate({"dsn": "", "checks": [*document, across]}).checks


def pay(stage: Stage) -> None:
    """Tell the other system of all orders that it does not know."""
    orders = stage.server.sql("SELECT id, total_amount, ordered_at FROM orders")
    with psycopg.connect(stage.server.dsn_of("postgres", "ledger"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS paid (id bigint PRIMARY KEY, amount numeric, at timestamptz)")
        connection.cursor().executemany("INSERT INTO paid VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", orders)


def test_a_drill_of_a_moment_that_the_other_system_has_left(servers: ServerFactory, tmp_path: Path) -> None:
    """Green by what both had then; red by what was lost before; not what came after."""
    stage = make_stage(servers, NEWEST, tmp_path)
    stage.server.sql(DAYS)
    stage.server.sql("CREATE DATABASE ledger")
    stage.backup()
    pay(stage)
    then = stage.server.value("SELECT clock_timestamp()")
    assert isinstance(then, datetime)
    write_orders(stage.server.dsn)
    pay(stage)
    stage.archive_all()
    request = RestoreRequest(TimeTarget(then, str(then), None))

    good = stage.drill(restore=request, checks=checks_of(stage, with_time=True))
    ahead = stage.drill(restore=request, checks=checks_of(stage, with_time=False))
    stage.server.sql("DELETE FROM paid WHERE id = 7", database="ledger")
    bad = stage.drill(restore=request, checks=checks_of(stage, with_time=True))

    verdicts = {check.name: check.verdict for check in good.checks}
    assert good.passed, good.reason
    assert {verdicts[check.name] for check in checks_of(stage, with_time=True)} == {Verdict.PASSED}
    (paid,) = (check for check in good.checks if check.name == "paid")
    assert paid.detail == "left 100 rows, right 100; 100 agree; 0 and 100 younger than the cut-off"
    assert "the other system has got since" in str(ahead.reason)
    assert [check.sample for check in bad.checks if check.failed] == [("missing id=7",)]

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.cluster.drills import make_stage
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

HARM = (
    "SET session_replication_role = replica",
    "INSERT INTO accounts VALUES (900001, 900001, 'savings', 0)",
    "RESET session_replication_role",
    "SELECT setval('orders_id_seq', 1)",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_customer_id_idx'::regclass",
    "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)",
    "INSERT INTO schema_migrations VALUES (42, true)",
)


def test_what_was_wrong_at_the_source_is_red(server: ServerFactory, tmp_path: Path) -> None:
    """Nothing is lost, nothing damaged, no query configured: the catalog alone tells what can not be right."""
    stage = make_stage(server, NEWEST, tmp_path)
    with psycopg.connect(stage.server.dsn, autocommit=True) as connection:
        for statement in HARM:
            connection.execute(statement.encode())
    stage.backup()
    stage.archive_all()

    report = stage.drill(checks=())

    red = {check.name: check for check in report.checks if check.failed and check.is_blocking}
    assert not report.passed
    assert set(red) == {
        "foreign_key:postgres:public.accounts.accounts_customer_id_fkey",
        "sequences_behind:postgres",
        "invalid_indexes:postgres",
        "migrations:postgres:public.schema_migrations",
    }
    assert red["foreign_key:postgres:public.accounts.accounts_customer_id_fkey"].sample == ("id = 900001",)
    assert "orders_id_seq goes on with 2" in red["sequences_behind:postgres"].detail
    held = {check.name: check.detail for check in report.checks if check.passed}
    assert held["foreign_keys:postgres"].startswith("3 of 4 foreign keys hold, ")
    assert held["unique:postgres"].startswith("11 unique keys hold, ")
    assert any("constraints of database 'template1': it has no tables" in each for each in report.not_tested)
    assert any("against a schema backup: there is none" in each for each in report.not_tested)

from __future__ import annotations

import pytest

from pgvault.drill.looks.migrations import find_tool, migrations
from pgvault.repository.repository import Repository
from tests.drill.looks.bases import Base, results

FLYWAY = """
CREATE TABLE {schema}.flyway_schema_history (installed_rank int PRIMARY KEY, version varchar(50), description text,
    type text, script text, checksum int, installed_by text, installed_on timestamp DEFAULT now(),
    execution_time int, success boolean);
INSERT INTO {schema}.flyway_schema_history (installed_rank, version, description, success)
VALUES (1, '1', 'one', true), (2, '2.1', 'two', true), (3, NULL, 'a view', true)
"""


@pytest.mark.parametrize(
    ("table", "columns", "tool"),
    [
        ("schema_migrations", {"version", "dirty"}, "golang-migrate"),
        ("schema_migrations", {"version", "inserted_at"}, "schema_migrations"),
        ("schema_migrations", {"id", "name"}, None),
        ("flyway_schema_history", {"installed_rank", "version", "success", "type"}, "Flyway"),
        ("alembic_version", {"version_num"}, "Alembic"),
        ("orders", {"version", "dirty"}, None),
    ],
)
def test_whose_table_it_is(table: str, columns: set[str], tool: str | None) -> None:
    """The name alone does not decide."""
    found = find_tool(table, frozenset(columns))

    assert (found and found.name) == tool


@pytest.mark.cluster
@pytest.mark.endurance
def test_the_last_version_and_a_half_applied_one(base: Base, repository: Repository) -> None:
    """Every tool's table is read, in whatever schema; what failed or is dirty is red."""
    base.sql(
        'CREATE SCHEMA "Odd one"; CREATE SCHEMA go; CREATE SCHEMA rails',
        FLYWAY.format(schema='"Odd one"'),
        "CREATE TABLE go.schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)",
        "INSERT INTO go.schema_migrations VALUES (20260102, false)",
        "CREATE TABLE rails.schema_migrations (version varchar PRIMARY KEY)",
        "INSERT INTO rails.schema_migrations VALUES ('7')",
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('b'), ('a')",
        "CREATE TABLE django_migrations (id serial, app text, name text, applied timestamptz)",
    )
    restored = base.restored(repository)
    whole = {name.rpartition(":")[2]: each for name, each in results(migrations, restored).items()}

    base.sql(
        """INSERT INTO "Odd one".flyway_schema_history VALUES (4, '3', 'three', '', '', 0, '', now(), 1, false)""",
        "UPDATE go.schema_migrations SET dirty = true",
    )
    broken = {name.rpartition(":")[2]: each for name, each in results(migrations, restored).items()}

    assert {name: each.passed for name, each in whole.items()} == {
        "Odd one.flyway_schema_history": True,
        "go.schema_migrations": True,
        "rails.schema_migrations": True,
        "public.alembic_version": True,
        "public.django_migrations": False,  # it has no row
    }
    assert whole["Odd one.flyway_schema_history"].detail == "Flyway: last version 2.1, rows: 3"
    assert whole["public.alembic_version"].detail == "Alembic: last version a, b, rows: 2"
    assert {name for name, each in broken.items() if each.failed} == {
        "Odd one.flyway_schema_history",
        "go.schema_migrations",
    }
    assert "migration 3 failed" in broken["Odd one.flyway_schema_history"].detail
    assert "migration 20260102 failed, or was broken off half way" in broken["go.schema_migrations"].detail

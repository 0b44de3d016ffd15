"""What the tables of migration tools say: the last version, for the evidence, and a migration that is half applied.

    flyway_schema_history    a row with success = false        schema_migrations    dirty = true (golang-migrate);
    alembic_version          several heads are no fault                             Rails and others only list versions
    django_migrations        lists what was applied

Each is known by its name, in whatever schema, and by its columns; a table of such a name without them is not one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pgvault.checks.result import CheckResult, NotTested, unproven
from pgvault.drill.looks.sessions import DatabaseConnection, look_at_each, seen
from pgvault.drill.restored import Restored
from pgvault.postgres.fingerprint import ask, number, quote, text

NAME = "migrations"
TABLES = """
SELECT n.nspname::text, c.relname::text, array_agg(a.attname::text)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p') AND c.relname IN ({names})
 GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool's table, and what is asked of it."""

    name: str  # for people
    table: str
    columns: frozenset[str]  # without which it is none of the tool's
    last: str  # SQL: the last version that was applied
    broken: str | None = None  # SQL: which rows are migrations that failed or were broken off
    version: str = "version"  # SQL: what such a migration is called


# The first that fits counts: of schema_migrations, that of the tool which says more.
TOOLS = (
    Tool(
        "Flyway",
        "flyway_schema_history",
        frozenset({"installed_rank", "version", "success"}),
        "(array_agg(version ORDER BY installed_rank DESC) FILTER (WHERE success AND version IS NOT NULL))[1]",
        "success IS NOT TRUE",
        "coalesce(version, description)",
    ),
    Tool("golang-migrate", "schema_migrations", frozenset({"version", "dirty"}), "max(version)", "dirty IS NOT FALSE"),
    Tool("schema_migrations", "schema_migrations", frozenset({"version"}), "max(version)"),
    Tool(
        "Alembic", "alembic_version", frozenset({"version_num"}), "string_agg(version_num, ', ' ORDER BY version_num)"
    ),
    Tool(
        "Django",
        "django_migrations",
        frozenset({"id", "app", "name"}),
        "(array_agg(concat(app, '.', name) ORDER BY id DESC))[1]",
    ),
)


def migrations(restored: Restored) -> Iterator[CheckResult | NotTested]:
    """Read the table of whatever migration tool a database has."""
    yield from look_at_each(restored, NAME, _look)


def find_tool(table: str, columns: frozenset[str]) -> Tool | None:
    """Return whose table it is; None for nobody's."""
    return next((tool for tool in TOOLS if tool.table == table and tool.columns <= columns), None)


def _look(connection: DatabaseConnection, database: str) -> Iterator[CheckResult | NotTested]:
    names = ", ".join(f"'{name}'" for name in sorted({tool.table for tool in TOOLS}))
    for schema, table, columns in ask(connection, TABLES.format(names=names)):
        has = frozenset(text(each) for each in columns) if isinstance(columns, list) else frozenset[str]()
        if (tool := find_tool(text(table), has)) is not None:
            yield replace(_read(connection, database, text(schema), tool), database=database)


def _read(connection: DatabaseConnection, database: str, schema: str, tool: Tool) -> CheckResult:
    began = time.monotonic()
    source = f"{quote(schema)}.{quote(tool.table)}"
    ((count, last),) = ask(connection, f"SELECT count(*), ({tool.last})::text FROM {source}")
    broken: list[str] = []
    if tool.broken is not None:
        rows = ask(connection, f"SELECT ({tool.version})::text FROM {source} WHERE {tool.broken}")
        broken = ["?" if name is None else text(name) for (name,) in rows]
    where = f"{database}:{schema}.{tool.table}"
    if broken:
        told = f"{tool.name}: migration {', '.join(broken[:3])} failed, or was broken off half way"
        return seen(NAME, where, broken, told, began=began)
    if not number(count):
        return unproven(f"{NAME}:{where}", f"{tool.name}: no migration is recorded")
    told = f"{tool.name}: last version {'unknown' if last is None else text(last)}, rows: {count}"
    return seen(NAME, where, (), told, began=began)

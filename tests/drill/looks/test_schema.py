from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.drill.looks.schema import judge, schema
from pgvault.logical.pieces import ObjectName, PiecesDiffer
from pgvault.process import run
from pgvault.repository.logical import LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.repository import Repository
from tests.drill.looks.bases import Base, results, untested
from tests.repository.logicals import put_logical

ORDERS = ObjectName("TABLE", "public", "orders")
TOTAL = ObjectName("FUNCTION", "public", "total(bigint)")


def test_a_table_that_is_gone_is_red_and_a_change_is_told() -> None:
    """Definitions change by intent; a table that the schema backup knows may be lost."""
    differ = PiecesDiffer(missing=(ORDERS, TOTAL), extra=(), changed=())

    lost, changed = judge("20260115T120000Z-10c1", "shop", differ, 9, began=0)

    assert (lost.is_blocking, lost.sample) == (True, ("table public.orders is missing",))
    assert (changed.is_blocking, changed.sample) == (False, ("function public.total(bigint) is missing",))
    assert lost.failed
    assert changed.failed


def put_schema(repository: Repository, base: Base, label: str, at: datetime, version: str = "") -> LogicalManifest:
    """A schema backup of the database as it is."""
    dsn = base.server.dsn_of("postgres", base.name)
    sql = run([base.server.programs.path("pg_dump"), "--schema-only", f"--dbname={dsn}"], timeout=60).encode()
    database = LogicalDatabase(7, base.name, "UTF8", at, None, 0, 0, bytes(32))
    return put_logical(
        repository,
        label,
        type=LogicalType.SCHEMA,
        files={b"7.sql": sql},
        databases=(database,),
        dump_version=version or base.server.programs.minor_text,
        has_globals=False,
    )


@pytest.mark.cluster
@pytest.mark.endurance
def test_the_newest_schema_backup_before_the_moment(base: Base, repository: Repository) -> None:
    """Equal, then changed, then a table lost; a schema backup from after the moment is not asked."""
    now = datetime.now(UTC)
    restored = base.restored(repository, now)
    base.sql(
        "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE kept (id int)",
        "CREATE FUNCTION odd() RETURNS text LANGUAGE sql AS $$ SELECT '-- Name: x; Type: TABLE; Schema: y; Owner: z'$$",
    )
    none = untested(schema, restored)
    put_schema(repository, base, "20260115T120000Z-0001", now - timedelta(hours=1))
    equal = results(schema, restored)
    base.sql("ALTER TABLE kept ADD x int; CREATE TABLE later (id int)")
    changed = results(schema, restored)
    base.sql("DROP TABLE orders")
    lost = results(schema, restored)
    put_schema(repository, base, "20260116T120000Z-0002", now + timedelta(hours=1))
    still = results(schema, restored)
    put_schema(repository, base, "20260117T120000Z-0003", now, version="14.1")
    by_names = results(schema, restored)

    assert "there is none from before the moment" in none[0]
    assert equal[f"schema:{base.name}"].passed
    assert set(changed[f"schema_changed:{base.name}"].sample) == {
        "table public.kept is another",
        "table public.later is new",
    }
    assert list(changed) == [f"schema_changed:{base.name}"]
    assert lost[f"schema_lost:{base.name}"].sample == ("table public.orders is missing",)
    assert lost[f"schema_lost:{base.name}"].is_blocking
    assert still.keys() == lost.keys()
    assert by_names[f"schema:{base.name}"].passed
    assert any("14.1" in each for each in untested(schema, restored))

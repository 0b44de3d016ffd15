from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pgvault.checks.constraints import Constraints, ForeignKey, Key, Kind, Rule, Table
from pgvault.checks.generate import as_yaml, documents
from pgvault.cli.app import app
from pgvault.config import AnyCheck, parse_config
from tests.archive import make_archive
from tests.checks.test_derived import SCHEMA, SCHEMA_18, run_each
from tests.servers import NEWEST, ServerFactory

ORDERS = Table(1, "public", "orders", False, False, None, False, False, ("id",))
ODD = Table(2, "public", 'or.d"ers', False, False, None, False, False, ())
HEIRS = Table(3, "public", "base", False, False, None, False, True, ())
PART = Table(4, "public", "days_1", False, True, 5, False, False, ())


def document(*rules: Rule, keys: tuple[Key, ...] = (), foreign: tuple[ForeignKey, ...] = ()) -> list[dict[str, Any]]:
    tables = {each.oid: each for each in (ORDERS, ODD, HEIRS, PART)}
    return list(documents(Constraints(tables, rules, keys, foreign, ()), "shop", {2}))


def not_null(table: Table, column: str) -> Rule:
    return Rule(Kind.NOT_NULL, table, f"{column} not null", f'num_nulls("{column}") = 1', column)


def accepted(text: str) -> tuple[AnyCheck, ...]:
    """What the configuration makes of it."""
    document = {
        "repository": {"key": "env:KEY", "copies": {"primary": {"url": "file:///r"}}},
        "clusters": {"main": {"dsn": "host=/x", "checks": yaml.safe_load(text)}},
    }
    return parse_config(document, where="test").clusters["main"].checks


def test_not_null_of_a_table_is_one_check() -> None:
    """Of all its columns; of a table with heirs it is a query with ONLY."""
    found = document(not_null(ORDERS, "a"), not_null(ORDERS, "b"), not_null(HEIRS, "c"))

    assert found[0] == {
        "name": "not_null public.orders",
        "type": "completeness",
        "database": "shop",
        "table": "public.orders",
        "columns": ["a", "b"],
    }
    assert found[1]["query"] == 'SELECT count(*) FROM ONLY "public"."base" WHERE num_nulls("c") = 1'


def test_what_a_type_says_in_full_is_of_that_type() -> None:
    """Keys and foreign keys; a name that would mislead is a list; an empty table may stay so."""
    key = Key(ORDERS, "orders_email_key", ('"email"',), ("email",), "deleted_at IS NULL", False)
    foreign = ForeignKey(ODD, "fk", ("a",), ORDERS, ("id",), ("=",), ("",), False, False)

    unique, referential = document(keys=(key,), foreign=(foreign,))

    assert (unique["type"], unique["columns"], unique["where"]) == ("uniqueness", ["email"], "deleted_at IS NULL")
    assert referential["table"] == ["public", 'or.d"ers']
    assert referential["references"] == {"table": "public.orders", "columns": ["id"]}
    assert referential["severity"] == "warning"  # it is NOT VALID
    assert referential["allow_empty"] is True


def test_what_no_type_says_is_a_query() -> None:
    """NULLS NOT DISTINCT, expressions, MATCH FULL of several columns, operators of an extension."""
    key = Key(ORDERS, "k", ("lower(email)",), (), None, False)
    equal = Key(ORDERS, "k", ('"email"',), ("email",), None, True)
    full = ForeignKey(ODD, "fk", ("a", "b"), ORDERS, ("x", "y"), ("=", "="), ("", ""), True, True)
    other = replace(full, is_full=False, operators=("=", "OPERATOR(public.=)"))

    found = document(keys=(key, equal), foreign=(full, other))

    assert {each["type"] for each in found} == {"sql"}


def test_a_partition_has_no_checks_of_the_whole_table() -> None:
    """Its whole table's look at its rows."""
    assert document(replace(not_null(PART, "a"), is_inherited=True)) == []


def test_it_is_accepted_as_it_is() -> None:
    """Without a check, too; comments say which constraints have none."""
    text = as_yaml(document(not_null(ODD, "ä: 'x\"")), ["public.slots\n excl: why"])

    assert text.startswith("# no check for public.slots excl: why\n")
    (check,) = accepted(text)
    assert check.type == "completeness"
    assert accepted(as_yaml([])) == ()


@pytest.mark.cluster
@pytest.mark.endurance
def test_a_live_server_is_printed_and_its_checks_pass(server: ServerFactory, tmp_path: Path) -> None:
    """What is printed is a configuration, and every check of it runs and passes on the very server."""
    shop = server(NEWEST)
    run_each(shop, f"{SCHEMA};{SCHEMA_18}" if NEWEST >= 18 else SCHEMA)
    run_each(shop, "DROP TABLE loose, called")
    archive = make_archive(tmp_path)
    configured = yaml.safe_load(archive.config.read_text())
    configured["clusters"] = {"main": {"dsn": shop.dsn, "checks": "generated.yaml"}}
    archive.config.write_text(yaml.safe_dump(configured))
    (tmp_path / "generated.yaml").write_text("[]")

    generated = CliRunner().invoke(app, ["--config", str(archive.config), "checks", "generate"])
    assert generated.exit_code == 0, generated.output
    (tmp_path / "generated.yaml").write_text(generated.stdout)
    ran = CliRunner().invoke(app, ["--config", str(archive.config), "checks", "run", "--live", "--json"])

    types = [check.type for check in accepted(generated.stdout)]
    assert set(types) == {"completeness", "cross_field", "referential", "sql", "uniqueness"}
    assert types.count("sql") < len(types) / 2
    assert "# no check for public.slots slots_during_excl" in generated.stdout
    assert ran.exit_code == 0, ran.output

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.config import (
    AggregateCheck,
    AnyCheck,
    AsOf,
    CheckConfig,
    CompletenessCheck,
    CrossSystemCheck,
    RangeCheck,
    parse_config,
)
from pgvault.config.checktypes import TYPES
from pgvault.errors import ConfigInvalid, ConfigUnknownKey, PgvaultError, PlainSecret

README = Path(__file__).resolve().parents[2] / "README.md"
RANGE = {"type": "range", "table": "orders", "column": "amount"}
AGGREGATE = {"type": "aggregate", "table": "t", "function": "sum", "column": "a", "time": "at", "tolerance": "10%"}
REFERENTIAL = {"type": "referential", "table": "t", "columns": "a", "references": {"table": "u", "columns": "b"}}
CROSS = {"type": "cross_system", "left": {"query": "SELECT"}, "right": {"csv": "x.csv"}, "key": "id"}


def parse(check: object) -> AnyCheck:
    """Read a file with one check."""
    document = {
        "repository": {"key": "file:/k", "copies": {"primary": {"url": "file:///r"}}},
        "clusters": {"main": {"dsn": "", "checks": [check]}},
    }
    return parse_config(document, where="pgvault.yaml", directory=Path("/etc/pgvault")).clusters["main"].checks[0]


def named(**check: Any) -> Any:
    return parse({"name": "one", **check})


def test_without_a_type_it_is_a_query() -> None:
    """As before there were types."""
    assert named(query="SELECT 0") == named(type="sql", query="SELECT 0") == CheckConfig(name="one", query="SELECT 0")


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("orders", ("orders",)),
        ("Orders", ("Orders",)),
        ("shop.orders", ("shop", "orders")),
        ('"odd.name"', ("odd.name",)),
        ('shop."an ""odd"" one"', ("shop", 'an "odd" one')),
        (["shop", "odd.name"], ("shop", "odd.name")),
        ("with space.größe", ("with space", "größe")),
    ],
)
def test_a_tables_name_is_kept_exactly(written: object, parts: tuple[str, ...]) -> None:
    """Parts that hold a dot are quoted, or a list."""
    check = named(type="completeness", table=written, columns="a")

    assert isinstance(check, CompletenessCheck)
    assert (check.table, check.columns) == (parts, ("a",))


@pytest.mark.parametrize(
    ("written", "bound"),
    [
        (0, 0),
        (0.1, Decimal("0.1")),
        (-5, -5),
        (date(2025, 1, 1), date(2025, 1, 1)),
        ("2025-01-01", "2025-01-01"),
        (":as_of", AsOf()),
        (":as_of - 7d", AsOf(offset=timedelta(days=-7))),
        (":as_of + 1h30m", AsOf(offset=timedelta(minutes=90))),
    ],
)
def test_a_bound_is_a_number_a_date_a_text_or_the_moment(written: object, bound: object) -> None:
    """A text is left to the server, which knows the column's type."""
    check = named(**RANGE, max=written)

    assert isinstance(check, RangeCheck)
    assert check.max == bound
    assert type(check.max) is type(bound)


def test_the_tolerance_of_an_aggregate_is_its_threshold() -> None:
    """10 % of the average is a measure of 0.1."""
    check = named(**AGGREGATE)

    assert isinstance(check, AggregateCheck)
    assert (check.tolerance, check.threshold, check.per) == (Decimal("0.1"), 0.1, timedelta(days=1))


def test_a_file_begins_at_the_configuration_and_a_list_of_columns_is_exact() -> None:
    """Cron starts us anywhere."""
    check = named(**CROSS, columns=["amount"])

    assert isinstance(check, CrossSystemCheck)
    assert check.right.csv == Path("/etc/pgvault/x.csv")
    assert check.columns is not None
    assert check.columns["amount"].absolute == check.columns["amount"].share == 0
    assert (check.left.is_this, check.right.is_this) == (True, False)


WRONG: list[tuple[dict[str, Any], type[PgvaultError], str]] = [
    ({"type": "rang"}, ConfigInvalid, "type must be one of sql, completeness, "),
    ({"type": "completeness", "table": "t"}, ConfigInvalid, "one.columns"),
    ({"type": "completeness", "table": "t", "columns": []}, ConfigInvalid, "at least 1 item"),
    ({"type": "completeness", "table": "a.b.c", "columns": "a"}, ConfigInvalid, "neither 'table' nor 'schema.table'"),
    ({"type": "completeness", "table": "", "columns": "a"}, ConfigInvalid, "neither 'table' nor 'schema.table'"),
    ({"type": "completeness", "table": "t", "columns": [""]}, ConfigInvalid, "must not be empty"),
    ({"type": "uniqueness", "table": "t", "columns": ["a", "a"]}, ConfigInvalid, "column 'a' is given twice"),
    ({"type": "uniqueness", "table": "t", "column": "a"}, ConfigUnknownKey, "one.column'"),
    ({"type": "uniqueness", "table": "t", "columns": "a", "query": "SELECT"}, ConfigUnknownKey, "one.query'"),
    ({**REFERENTIAL, "columns": ["a", "c"]}, ConfigInvalid, "2 columns can not refer to 1"),
    ({**REFERENTIAL, "references": {"table": "u", "column": "b"}}, ConfigUnknownKey, "one.references.column'"),
    (RANGE, ConfigInvalid, "one of min, max, above, below must be given"),
    ({**RANGE, "min": 0, "above": 0}, ConfigInvalid, "min and above are one bound"),
    ({**RANGE, "max": True}, ConfigInvalid, "no bounds"),
    ({**RANGE, "max": ":as_of - 7"}, ConfigInvalid, "not a duration"),
    ({**RANGE, "max": ":as_of_today"}, ConfigInvalid, "is not ':as_of'"),
    ({"type": "format", "table": "t", "column": "a"}, ConfigInvalid, "either pattern or format"),
    ({"type": "format", "table": "t", "column": "a", "format": "emial"}, ConfigInvalid, "one.format"),
    ({"type": "cross_field", "table": "t", "expression": ""}, ConfigInvalid, "one.expression"),
    ({**AGGREGATE, "tolerance": 10}, ConfigInvalid, "'10' is not a share: write 10%"),
    ({**AGGREGATE, "threshold": 1}, ConfigInvalid, "tolerance is the threshold here"),
    ({**AGGREGATE, "query": "SELECT"}, ConfigInvalid, "either table or query"),
    ({**AGGREGATE, "function": "count"}, ConfigInvalid, "count counts rows"),
    ({**AGGREGATE, "window": "1h"}, ConfigInvalid, "at least one period"),
    ({**CROSS, "key": None}, ConfigInvalid, "rows are matched by a key"),
    ({**CROSS, "cutoff": "5m"}, ConfigInvalid, "a cutoff needs time"),
    ({**CROSS, "columns": {"a": "near"}}, ConfigInvalid, "'near' is no tolerance: write exact, 0.01 or 0.5%"),
    ({**CROSS, "columns": {"a": -1}}, ConfigInvalid, "'-1' is no tolerance"),
    ({**CROSS, "columns": ["id"]}, ConfigInvalid, "column 'id' is the key or the time"),
    ({**CROSS, "left": {"csv": "y.csv"}}, ConfigInvalid, "one of left and right must be this cluster"),
    ({**CROSS, "right": {"csv": "y.csv", "query": "SELECT"}}, ConfigInvalid, "either query or csv"),
    ({**CROSS, "right": {"csv": "y.csv", "dsn": "host=x"}}, ConfigInvalid, "dsn is for a query"),
    ({**CROSS, "right": {"csv": "y.csv", "encoding": "utf-99"}}, ConfigInvalid, "unknown encoding"),
    ({**CROSS, "right": {"query": "SELECT", "null": "-"}}, ConfigInvalid, "null is for a file"),
    ({**CROSS, "right": {"query": "SELECT", "password": "file:/p"}}, ConfigInvalid, "password is for another server"),
    ({**CROSS, "right": {"dsn": "host=x password=geheim", "query": "SELECT"}}, PlainSecret, "dsn holds a password"),
    ({**CROSS, "right": {"dsn": "postgres://u:geheim@h", "query": "SELECT"}}, PlainSecret, "dsn holds a password"),
    ({**CROSS, "right": {"dsn": "host=x", "password": "geheim", "query": "SELECT"}}, PlainSecret, "into the config"),
]


@pytest.mark.parametrize(("check", "error", "said"), WRONG)
def test_what_is_wrong_is_told_with_the_checks_name(
    check: dict[str, Any], error: type[PgvaultError], said: str
) -> None:
    """In one sentence, and without a secret."""
    with pytest.raises(error) as raised:
        named(**check)

    told = str(raised.value)
    assert said in told
    assert "one" in told
    assert "geheim" not in told


def test_a_check_without_a_name_is_told_by_its_place() -> None:
    """Or one that is no mapping at all."""
    with pytest.raises(ConfigInvalid, match=r"clusters\.main\.checks\.0\.name"):
        parse({"query": "SELECT 0"})
    with pytest.raises(ConfigInvalid, match=r"clusters\.main\.checks\.0"):
        parse("SELECT 0")


def test_the_readmes_examples_are_read() -> None:
    """One of each type."""
    text = README.read_text()
    table = text[text.index("| type | fails for |") :].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)`.* \| `(.*)` \|$", table, re.MULTILINE)
    (block,) = re.findall(r"^    - name: orders_against_payments\n(?:      .*\n)+", text, re.MULTILINE)

    checks = [parse({"name": "one", **yaml.safe_load(example)}) for _, example in rows]

    assert {kind for kind, _ in rows} == TYPES.keys() - {"cross_system"}
    assert [check.type for check in checks] == [kind for kind, _ in rows]
    assert parse(yaml.safe_load(block)[0]).type == "cross_system"

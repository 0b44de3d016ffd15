from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgvault.checks.measure import NO_SUBJECT, run_check
from pgvault.checks.query import Moment
from pgvault.checks.result import CheckResult
from pgvault.checks.types import FORMATS
from pgvault.config import ClusterConfig
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
TABLES = r"""
CREATE TABLE people (id int PRIMARY KEY, email text, country text, parent int, at timestamptz, score float8);
INSERT INTO people VALUES
    (1, 'a@example.com', 'DE', NULL, '2026-01-01', 1), (2, 'A@example.com', 'FR', 1, '2026-01-31 12:00Z', 10),
    (3, NULL, 'DE', 1, '2026-01-31 12:01Z', NULL), (4, ' ', 'fr', 9, NULL, 'NaN'), (5, E'b@x.org\n', NULL, 2, NULL, -1);
CREATE SCHEMA "odd.schema";
CREATE TABLE "odd.schema"."Table ""1" ("Key" text PRIMARY KEY, "a.b" int, "100%" int);
INSERT INTO "odd.schema"."Table ""1" VALUES ('{}', NULL, 1), ('%s', 7, 7), (':as_of', 7, NULL);
CREATE TABLE days (date date, total numeric);
INSERT INTO days SELECT '2026-01-01'::date + i, 100 FROM generate_series(0, 30) i;
UPDATE days SET total = 89 WHERE date = '2026-01-31';
DELETE FROM days WHERE date = '2026-01-15';
CREATE TABLE nothing (id int);

-- What an index, a constraint and a partition's constraint say, and rows that they know nothing of.
CREATE TABLE keys (id int PRIMARY KEY, parent int, name text NOT NULL);
CREATE UNIQUE INDEX keys_names ON keys (name);
CREATE INDEX keys_parents ON keys (parent);
INSERT INTO keys SELECT i, 1, i FROM generate_series(1, 2000) i;
UPDATE pg_index SET indisready = false, indisvalid = false
 WHERE indexrelid IN ('keys_names'::regclass, 'keys_parents'::regclass);
INSERT INTO keys VALUES (2001, 5000, '7');
UPDATE pg_index SET indisready = true, indisvalid = true WHERE NOT indisvalid;
ALTER TABLE keys ALTER name DROP NOT NULL;
INSERT INTO keys VALUES (2002, NULL, NULL);
UPDATE pg_attribute SET attnotnull = true WHERE attrelid = 'keys'::regclass AND attname = 'name';
CREATE TABLE parted (id int, amount int) PARTITION BY LIST (id);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES IN (1);
INSERT INTO parted VALUES (1, -5);
ALTER TABLE parted1 ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname = 'positive';
ANALYZE;
"""
ODD = ["odd.schema", 'Table "1']
DAYS = {"type": "aggregate", "table": "days", "function": "sum", "column": "total", "time": "date", "tolerance": "10%"}


@pytest.fixture(scope="module")
def server(templates: Path) -> Iterator[Server]:
    """A server with the tables above; nothing is changed in them."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        one = factory(NEWEST, settings={"TimeZone": "UTC"})
        one.sql(TABLES)
        yield one
    finally:
        factory.clear()


def look(server: Server, **check: Any) -> CheckResult:
    (one,) = ClusterConfig.model_validate({"dsn": "", "checks": [{"name": "c", **check}]}).checks
    return run_check(server.dsn, one, database="postgres", moment=Moment(AT))


@pytest.mark.parametrize(
    ("check", "ids"),
    [
        ({"type": "completeness", "columns": "email"}, [3]),
        ({"type": "completeness", "columns": ["email", "country"]}, [3, 5]),
        ({"type": "completeness", "columns": "email", "blank": "missing"}, [3, 4]),
        ({"type": "completeness", "columns": "email", "where": "id < 3 -- the first"}, []),
        ({"type": "uniqueness", "columns": "email"}, []),
        ({"type": "uniqueness", "columns": "email", "ignore_case": True}, [1, 2]),
        ({"type": "uniqueness", "columns": ["country", "parent"]}, []),
        ({"type": "uniqueness", "columns": "country", "where": "id <> 3"}, []),
        ({"type": "uniqueness", "columns": "country"}, [1, 3]),
        ({"type": "referential", "columns": "parent", "references": {"table": "people", "columns": "id"}}, [4]),
        (
            {
                "type": "referential",
                "columns": "parent",
                "where": "people.id > 1",
                "references": {"table": "public.people", "columns": "id", "where": "people.id > 1"},
            },
            [2, 3, 4],
        ),
        ({"type": "range", "column": "score", "min": 0}, [4, 5]),
        ({"type": "range", "column": "score", "min": -1, "below": 10}, [2, 4]),
        ({"type": "range", "column": "score", "above": 1, "max": 10.5}, [1, 4, 5]),
        ({"type": "range", "column": "at", "max": ":as_of"}, [3]),
        ({"type": "range", "column": "at", "max": ":as_of + 1m"}, []),
        ({"type": "range", "column": "at", "min": ":as_of - 1d"}, [1]),
        ({"type": "range", "column": "at", "min": "2026-01-02"}, [1]),
        ({"type": "range", "column": "country", "max": "DE"}, [2, 4]),
        ({"type": "format", "column": "email", "format": "email"}, [4, 5]),
        ({"type": "format", "column": "country", "format": "country"}, [4]),
        ({"type": "format", "column": "country", "pattern": "de|fr", "ignore_case": True}, []),
        ({"type": "format", "column": "id", "pattern": r"\d|x'y"}, []),
        ({"type": "cross_field", "expression": "score >= id"}, [5]),
        ({"type": "cross_field", "expression": "parent < id", "null": "fail"}, [1, 4]),
    ],
)
def test_the_rows_that_offend_are_found(server: Server, check: dict[str, Any], ids: list[int]) -> None:
    """Those and no others, by their keys."""
    result = look(server, table="people", **check)

    assert (result.measured, list(result.sample)) == (len(ids), [f"id={each}" for each in ids]), result.detail
    assert result.passed is (not ids)


@pytest.mark.parametrize(
    ("check", "keys"),
    [
        ({"type": "completeness", "columns": ["a.b", "100%"]}, ["{}", ":as_of"]),
        ({"type": "uniqueness", "columns": ["a.b"]}, ["%s", ":as_of"]),
        ({"type": "range", "column": "100%", "max": 1}, ["%s"]),
        ({"type": "format", "column": "Key", "pattern": r"[{}]+|:as_of"}, ["%s"]),
        ({"type": "cross_field", "expression": "\"Key\" <> ':as_of'"}, [":as_of"]),
        ({"type": "referential", "columns": "100%", "references": {"table": ODD, "columns": "a.b"}}, ["{}"]),
    ],
)
def test_odd_names_and_values_are_quoted(server: Server, check: dict[str, Any], keys: list[str]) -> None:
    """Dots, quotes, braces, per cent."""
    result = look(server, table=ODD, **check)

    assert list(result.sample) == [f"Key={each}" for each in keys], result.detail


@pytest.mark.parametrize(
    ("check", "lie", "ids"),
    [
        ({"type": "uniqueness", "columns": "name"}, "SELECT count(*) - 1 FROM keys WHERE name = '7'", [7, 2001]),
        (
            {"type": "referential", "columns": "parent", "references": {"table": "keys", "columns": "id"}},
            "SELECT count(*) FROM keys WHERE parent = 5000",
            [2001],
        ),
        ({"type": "range", "column": "parent", "max": 1999}, "SELECT count(*) FROM keys WHERE parent > 1999", [2001]),
        ({"type": "completeness", "columns": "name"}, "SELECT count(*) FROM keys WHERE name IS NULL", [2002]),
    ],
)
def test_no_index_and_no_constraint_is_believed(
    server: Server, check: dict[str, Any], lie: str, ids: list[int]
) -> None:
    """Where a plain query is told that all is well."""
    server.sql("ALTER DATABASE postgres SET enable_seqscan = off")
    try:
        assert server.value(lie) == 0
        result = look(server, table="keys", **check)
    finally:
        server.sql("ALTER DATABASE postgres RESET enable_seqscan")

    assert sorted(result.sample) == sorted(f"id={each}" for each in ids), result.detail


def test_no_constraint_of_a_partition_is_believed(server: Server) -> None:
    """The planner passes over a partition whose constraint says that nothing can be found there."""
    assert server.value("SELECT count(*) FROM parted WHERE NOT amount > 0") == 0

    assert look(server, type="range", table="parted", column="amount", above=0).measured == 1


@pytest.mark.parametrize(
    ("check", "measured"),
    [
        (DAYS, (2900 / 30 - 89) / (2900 / 30)),
        (DAYS | {"tolerance": "10.9%", "window": "14d"}, 0.11),
        (DAYS | {"function": "max", "tolerance": "11%"}, 0.11),
        (DAYS | {"function": "count", "column": None}, (1 - 29 / 30) / (29 / 30)),
        (DAYS | {"where": "date < '2026-01-31'"}, 1),
        (DAYS | {"table": None, "query": "SELECT * FROM days WHERE date > '2026-01-15' -- all"}, 0.11),
        (DAYS | {"per": "7d", "window": "14d", "tolerance": "0%"}, (650 - 689) / -650),
    ],
)
def test_the_last_period_is_held_against_the_average_before(
    server: Server, check: dict[str, Any], measured: float
) -> None:
    """A period without rows is 0 of a sum and nothing of a maximum; nothing before is NULL, and no pass."""
    result = look(server, **{name: value for name, value in check.items() if value is not None})

    assert result.measured == pytest.approx(measured), result.detail
    assert result.passed is (measured <= result.threshold)


def test_without_a_period_before_there_is_no_average(server: Server) -> None:
    """NULL fails."""
    result = look(server, **DAYS, where="date = '2026-01-31'")

    assert (result.passed, result.measured, result.detail) == (False, None, "NULL")


@pytest.mark.parametrize(
    "check",
    [
        {"type": "completeness", "columns": "email", "where": "id > 5"},
        {"type": "uniqueness", "columns": "parent", "where": "parent IS NULL"},
        {
            "type": "referential",
            "columns": "parent",
            "references": {"table": "nothing", "columns": "id"},
            "where": "id = 1",
        },
        {"type": "range", "column": "score", "min": 0, "where": "score IS NULL"},
        {"type": "format", "column": "email", "format": "email", "where": "email IS NULL"},
        {"type": "cross_field", "expression": "score > parent", "where": "score IS NULL"},
    ],
)
def test_a_check_of_nothing_is_no_pass(server: Server, check: dict[str, Any]) -> None:
    """A condition that lets no row through, values that are all NULL; who means it says `allow_empty`."""
    result = look(server, table="people", **check)
    allowed = look(server, table="people", **check, allow_empty=True)

    assert not result.passed
    assert NO_SUBJECT in result.detail
    assert allowed.passed


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("email", ["a.b+c@x.example.org"], ["a@b", "a@@b.org", "a b@c.org", ".a@b.org", "a@-b.org", "@b.org"]),
        ("uuid", ["00000000-0000-4000-8000-00000000000F"], ["00000000-0000-4000-8000-00000000000G", "0"]),
        (
            "url",
            ["https://x.org", "http://localhost:80/a?b#c"],
            ["ftp://x.org", "x.org", "https://", "https://x.org/a b"],
        ),
        ("phone", ["+4930123456"], ["030123456", "+0123456789", "+49 30 123456"]),
        ("ipv4", ["0.0.0.0", "255.249.199.9"], ["256.0.0.1", "1.2.3", "01.2.3.4"]),
        ("date", ["2026-12-31"], ["2026-13-01", "2026-1-1", "2026-12-31 "]),
        ("currency", ["EUR"], ["eur", "EURO"]),
        ("country", ["DE"], ["D", "DEU"]),
    ],
)
def test_formats_have_names(server: Server, name: str, right: list[str], wrong: list[str]) -> None:
    """Each takes what has its shape, as a whole."""
    pattern = f"^(?:{FORMATS[name]})$".replace("'", "''")
    values = ", ".join(f"('{value}')" for value in right + wrong)

    rows = server.sql(f"SELECT v FROM (VALUES {values}) AS given (v) WHERE v ~ '{pattern}'")

    assert [value for (value,) in rows] == right

from __future__ import annotations

from typing import Any

import pytest

from pgvault.checks.measure import run_check
from pgvault.checks.result import SAMPLE_ROWS, CheckResult, finding
from pgvault.config import CheckConfig
from pgvault.errors import RecoveryFailed
from tests.servers import Server

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def shop(checked: Server) -> Server:
    """A server with one table, `t`, of three numbers."""
    checked.sql("DROP TABLE IF EXISTS t")
    checked.sql("CREATE TABLE t AS SELECT generate_series(1, 3) AS a")
    return checked


def look(server: Server, query: str, *, database: str = "postgres", **how: Any) -> CheckResult:
    """Run one check; that a query asks no table is all one here."""
    check = CheckConfig.model_validate({"name": "c", "query": query, "allow_empty": True, **how})
    return run_check(server.dsn, check, database=database)


@pytest.mark.parametrize(
    ("query", "how", "measured", "passed"),
    [
        ("SELECT count(*) FROM t", {}, 3, False),
        ("SELECT count(*) FROM t", {"threshold": 3}, 3, True),
        ("SELECT count(*) FROM t", {"threshold": 2.9}, 3, False),
        ("SELECT 0", {}, 0, True),
        ("SELECT 0.5::numeric", {"threshold": 0.5}, 0.5, True),
        ("SELECT 0.51::numeric", {"threshold": 0.5}, 0.51, False),
        ("SELECT 0.25::float8", {"threshold": 0.5}, 0.25, True),
        ("SELECT -1", {}, -1, True),
        ("SELECT a FROM t", {}, 3, False),
        ("SELECT a FROM t", {"threshold": 3}, 3, True),
        ("SELECT a FROM t WHERE a > 9", {}, 0, True),
        ("SELECT a, a FROM t WHERE a = 1", {}, 1, False),  # a row of two columns is a row, whatever is in it
        ("SELECT 0, 0", {}, 1, False),
        ("SELECT 'key-7'", {}, 1, False),  # one offending text
        ("SELECT 'infinity'::date FROM t", {}, 3, False),  # no date of Python's
        ("SELECT generate_series(1, 2500)", {"threshold": 2499}, 2500, False),
        ("SET search_path = pg_catalog; SELECT 1", {}, 1, False),
        ("SELECT 1;", {}, 1, False),
    ],
)
def test_what_is_measured(shop: Server, query: str, how: dict[str, Any], measured: float | None, passed: bool) -> None:
    """One number is the measure, else the number of rows; at most the threshold passes."""
    result = look(shop, query, **how)

    assert (result.measured, result.passed) == (measured, passed), result.detail


@pytest.mark.parametrize(
    ("query", "how", "measured", "passed"),
    [
        ("SELECT a FROM t WHERE a = 3", {"measure": "rows"}, 1, False),
        ("SELECT 0", {"measure": "rows"}, 1, False),
        ("SELECT NULL", {"measure": "rows"}, 1, False),
        ("SELECT NULL", {"measure": "rows", "null": "pass"}, 1, False),
        ("SELECT a FROM t WHERE a = 3", {"measure": "value", "threshold": 3}, 3, True),
        ("SELECT a FROM t", {"measure": "value", "threshold": 9}, None, False),
        ("SELECT a FROM t WHERE a > 9", {"measure": "value"}, None, False),
        ("SELECT a FROM t", {"measure": "value", "null": "pass"}, None, False),  # three rows are no NULL
        ("SELECT a FROM t WHERE a > 9", {"measure": "value", "null": "pass"}, None, False),
        ("SELECT 1, 2", {"measure": "value", "null": "pass"}, None, False),
        ("SELECT 'text'", {"measure": "value"}, None, False),
    ],
)
def test_the_measure_can_be_said(
    shop: Server, query: str, how: dict[str, Any], measured: float | None, passed: bool
) -> None:
    """`rows` counts rows where a number stands; `value` takes one value and nothing else."""
    result = look(shop, query, **how)

    assert (result.measured, result.passed) == (measured, passed), result.detail


@pytest.mark.parametrize("measure", ["auto", "value"])
def test_null_fails_unless_it_may_pass(shop: Server, measure: str) -> None:
    """An average of an empty day is NULL; only who says so lets that pass."""
    query = "SELECT abs(sum(a) - avg(a)) / avg(a) FROM t WHERE a > 9"

    fails, passes = look(shop, query, measure=measure), look(shop, query, measure=measure, null="pass")

    assert (fails.passed, fails.measured, fails.detail) == (False, None, "NULL")
    assert (passes.passed, passes.measured, passes.detail) == (True, None, "NULL")


@pytest.mark.parametrize("measure", ["auto", "value"])
@pytest.mark.parametrize(
    "query",
    ["SELECT false", "SELECT true", "SELECT 'NaN'::float8", "SELECT 'NaN'::numeric", "SELECT '-Infinity'::float8"],
)
def test_what_is_no_number_never_passes(shop: Server, query: str, measure: str) -> None:
    """False would be 0 and minus infinity below every threshold: neither says that anything is right."""
    result = look(shop, query, measure=measure, null="pass", threshold=1e9)

    assert (result.passed, result.measured) == (False, None)
    assert result.detail.startswith("the query returned")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT count(*) FROM gone", 'relation "gone" does not exist'),
        ("SELEC 1", "syntax error"),
        ("SELECT 1/0", "division by zero"),
        ("", "nothing that could be measured"),
        ("SET work_mem = '1MB'", "nothing that could be measured"),
        ("SELECT 0; SELECT 5", "several results"),
        ("SELECT a FROM t WHERE a > 9; SELECT a FROM t", "several results"),
        ("DELETE FROM t", "read-only"),
        ("SELECT 0 FROM t WHERE a = 1; DROP TABLE t", "read-only"),
        ("WITH gone AS (DELETE FROM t RETURNING a) SELECT * FROM gone WHERE a > 9", "read-only"),
        ("SET transaction_read_only = off; DELETE FROM t; SELECT 0", "read-write mode"),
        ("SET default_transaction_read_only = off; DELETE FROM t; SELECT 0", "read-only"),
        ("COMMIT; DELETE FROM t; SELECT 0", "can not COMMIT"),
        ("/* ; */ rollback; BEGIN; DELETE FROM t", "can not ROLLBACK"),
        ("DO $$ BEGIN COMMIT; DELETE FROM t; END $$; SELECT 0", "can not DO"),
        ("LOCK TABLE t; SELECT 0", "can not LOCK"),
        ("COPY t TO '/tmp/t'; SELECT 0", "can not COPY"),
        ("SELECT 0 FROM t WHERE a = 1 FOR UPDATE", "read-only"),
    ],
)
def test_a_query_that_can_not_be_measured_fails(shop: Server, query: str, why: str) -> None:
    """It says why, changes nothing, and no threshold makes it pass."""
    result = look(shop, query, threshold=1e9, null="pass")

    assert (result.passed, result.measured) == (False, None)
    assert why in result.detail
    assert shop.value("SELECT count(*) FROM t") == 3


def test_the_first_offending_rows_are_shown(shop: Server) -> None:
    """Enough to find them, not all of them, and none of a number."""
    rows = look(shop, "SELECT i, repeat('x', 1000) AS x FROM generate_series(1, 100) i", show="all")

    assert len(rows.sample) == SAMPLE_ROWS
    assert rows.sample[0].startswith("i=1, x=xxx")
    assert max(map(len, rows.sample)) == 500
    assert look(shop, "SELECT 7").sample == ()


def test_percent_signs_are_the_authors(shop: Server) -> None:
    """A pattern is no place for a parameter."""
    assert look(shop, "SELECT count(*) FROM (VALUES ('50%s')) v(x) WHERE x LIKE '%\\%s'").measured == 1


def test_a_query_means_the_same_in_every_encoding(shop: Server) -> None:
    """A word with an umlaut is found in a LATIN1 database too."""
    shop.sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    shop.sql("CREATE TABLE w AS SELECT convert_from('\\xfc'::bytea, 'LATIN1') AS word", database="latin")

    assert look(shop, "SELECT count(*) FROM w WHERE word = 'ü'", database="latin").measured == 1


def test_databases_with_odd_names_are_reached(shop: Server) -> None:
    """A name is a name, not a connection string."""
    for name in ("host=nowhere user='x'", "a b\\c"):
        shop.sql(f'CREATE DATABASE "{name}"')

        assert look(shop, "SELECT 0", database=name).passed


def test_an_unreachable_database_fails_the_check(shop: Server) -> None:
    """A database that is gone is a finding."""
    result = look(shop, "SELECT 0", database="gone")

    assert not result.passed
    assert 'database "gone" does not exist' in result.detail


def test_a_finding_is_0_or_1_of_0_allowed() -> None:
    """Built-in looks read like checks."""
    good, bad = finding("x", None, seconds=0), finding("x", RecoveryFailed("it broke"), seconds=0)

    assert (good.passed, good.measured, good.threshold, good.detail) == (True, 0, 0, "passed")
    assert (bad.passed, bad.measured, bad.threshold, bad.detail) == (False, 1, 0, "it broke")

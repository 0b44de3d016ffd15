"""What a check proves: of empty tables nothing, by the wall clock nothing about the past; and what of rows it tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgvault.checks.measure import run_check, run_query
from pgvault.checks.query import NOW, Moment, Query
from pgvault.checks.result import CheckResult, Verdict
from pgvault.config import CheckConfig
from tests.servers import Server

pytestmark = pytest.mark.cluster

SCHEMA = """
CREATE SCHEMA p;
CREATE TABLE p.full_t (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, state text, seen timestamptz, day date);
INSERT INTO p.full_t VALUES (7, 'ann@example.com', 'now', now(), now()), (8, 'bob@example.com', 'x', now(), now());
CREATE TABLE p.empty_t (id bigint PRIMARY KEY, other bigint);
CREATE TABLE p.also_empty (id bigint PRIMARY KEY);
CREATE TABLE p.unkeyed (a int, b int, secret text, UNIQUE (a, b));
INSERT INTO p.unkeyed VALUES (1, 2, 'hush');
CREATE TABLE p.part (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE p.part_20 PARTITION OF p.part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE p.part_21 PARTITION OF p.part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
INSERT INTO p.part VALUES (1, '2020-06-01');
CREATE TABLE p.parent (id int);
CREATE TABLE p.child (PRIMARY KEY (id)) INHERITS (p.parent);
INSERT INTO p.child VALUES (1);
CREATE VIEW p.recent AS SELECT id, email FROM p.full_t WHERE seen > now() - interval '1 hour';
CREATE VIEW p.everybody AS SELECT id, email FROM p.full_t;
CREATE FUNCTION p.reads() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM p.full_t); END';
CREATE FUNCTION p.reads_nothing() RETURNS bigint STABLE LANGUAGE plpgsql
    AS 'BEGIN RETURN (SELECT count(*) FROM p.empty_t); END';
CREATE FUNCTION p.opaque() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 0; END';
CREATE FUNCTION p.clock() RETURNS timestamptz STABLE LANGUAGE plpgsql AS 'BEGIN RETURN now(); END';
CREATE FUNCTION p.outer_clock() RETURNS timestamptz STABLE LANGUAGE sql RETURN p.clock();
"""
PAST = Moment(datetime.now(UTC) - timedelta(hours=1), is_restored=True)


@pytest.fixture(scope="module")
def data(checked: Server) -> Server:
    """The tables above."""
    checked.sql("DROP SCHEMA IF EXISTS p CASCADE")
    checked.sql(SCHEMA)
    return checked


def look(server: Server, query: str, moment: Moment = NOW, **how: Any) -> CheckResult:
    """Run one check."""
    check = CheckConfig.model_validate({"name": "c", "query": query, **how})
    return run_check(server.dsn, check, database="postgres", moment=moment)


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT count(*) FROM p.empty_t", "p.empty_t"),
        ("SELECT id FROM p.empty_t", "p.empty_t"),
        ("SELECT e.id FROM p.empty_t e JOIN p.also_empty a USING (id)", "p.also_empty, p.empty_t"),
        ("SELECT max(id) FROM p.empty_t", "p.empty_t"),
        ("SELECT e.id FROM p.empty_t e LEFT JOIN p.full_t f ON f.id = e.other", "p.empty_t"),  # the join is left out
        ("SELECT count(*) FROM ONLY p.parent", "p.parent"),
        ("SELECT p.reads_nothing()", "p.empty_t"),
        ("SET enable_seqscan = off; SELECT count(*) FROM p.empty_t WHERE id = 1", "p.empty_t"),
    ],
)
def test_of_empty_tables_nothing_is_proven(data: Server, query: str, tables: str) -> None:
    """Every table that was scanned has no row: nothing could have been wrong."""
    empty, allowed = look(data, query, null="pass"), look(data, query, null="pass", allow_empty=True)

    assert empty.verdict is Verdict.FAILED
    assert empty.detail.startswith(f"no rows to check in {tables} (")
    assert empty.tables == tuple(tables.split(", "))
    assert allowed.passed


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT count(*) FROM p.full_t WHERE id < 0", "p.full_t"),
        ("SELECT count(*) FROM p.empty_t e JOIN p.full_t f ON f.id = e.other", "p.empty_t, p.full_t"),
        ("SELECT count(*) FROM p.part WHERE day = '2021-06-01'", "p.part"),  # of an empty partition
        ("SELECT count(*) FROM p.part_21", "p.part"),
        ("SELECT count(*) FROM p.part WHERE day = '2033-01-01'", "p.part"),  # of none
        ("SELECT count(*) FROM p.parent WHERE id < 0", "p.child, p.parent"),
        ("SELECT count(*) FROM p.full_t WHERE email IS NULL", "p.full_t"),  # the constraint answers from 17 on
        ("SELECT count(*) FROM p.full_t WHERE false", "p.full_t"),
        ("SELECT count(*) FROM p.everybody WHERE id < 0", "p.full_t"),
        ("SELECT p.reads() - 2", "p.full_t"),
        ("SELECT p.opaque()", ""),  # nobody knows what it reads
        ("SELECT count(*) FROM pg_class WHERE relname = 'nobody'", "pg_catalog.pg_class"),
        ("SELECT count(*) FROM p.full_t TABLESAMPLE SYSTEM (0)", "p.full_t"),
        ("(SELECT id FROM p.full_t LIMIT 0)", "p.full_t"),
    ],
)
def test_a_table_with_a_row_is_enough(data: Server, query: str, tables: str) -> None:
    """Which rows a query is after does not matter; partitions count through their root."""
    result = look(data, query)

    assert result.verdict is Verdict.PASSED, result.detail
    assert ", ".join(result.tables) == tables


def test_the_catalogs_fill_no_empty_table(data: Server) -> None:
    """They hold rows always, and a check that asks them beside an empty table would never be empty."""
    result = look(data, "SELECT count(*) FROM p.empty_t WHERE id IN (SELECT oid::bigint FROM pg_class)")

    assert result.verdict is Verdict.FAILED
    assert result.detail.startswith("no rows to check in p.empty_t (")


def test_rows_that_a_policy_hides_are_not_right(data: Server) -> None:
    """Row security would leave a check the rows that its role may see, and say nothing of the others."""
    data.sql("DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN")
    data.sql("CREATE TABLE p.guarded AS SELECT 1 AS id")
    data.sql("GRANT USAGE ON SCHEMA p TO looker; GRANT SELECT ON p.guarded TO looker")
    data.sql("ALTER TABLE p.guarded ENABLE ROW LEVEL SECURITY; INSERT INTO p.guarded VALUES (2)")
    data.sql("CREATE POLICY even ON p.guarded USING (id = 2)")
    check = CheckConfig(name="c", query="SELECT id FROM p.guarded WHERE id = 1")

    result = run_check(data.dsn_of("looker"), check, database="postgres")
    data.sql("DROP OWNED BY looker; DROP ROLE looker")

    assert result.verdict is Verdict.FAILED
    assert "row-level security" in result.detail


@pytest.mark.parametrize("query", ["SELECT 0", "VALUES (0)", "SELECT count(*) FROM generate_series(1, 0)", "SHOW port"])
def test_a_check_of_no_table_proves_nothing(data: Server, query: str) -> None:
    """Unless it says so."""
    result = look(data, query, threshold=1e9)

    assert not result.passed
    assert result.detail.startswith("the query scans no table") or query.startswith("SHOW")
    assert look(data, query, threshold=1e9, allow_empty=True).passed


def test_what_a_constraint_answers_is_told(data: Server) -> None:
    """A pruned table is not read, nor a column that can not be NULL."""
    assert "no row was read" in look(data, "SELECT count(*) FROM p.part WHERE day = '2033-01-01'").detail
    assert "no row was read" not in look(data, "SELECT count(*) FROM p.full_t WHERE id < 0").detail
    assert "no row was read" not in look(data, "SELECT p.reads()").detail


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM p.full_t WHERE seen > now()",
        "SELECT count(*) FROM p.full_t WHERE seen > current_timestamp + interval '1 day'",
        "SELECT count(*) FROM p.full_t WHERE day > 'tomorrow'",
        "SELECT count(*) FROM p.full_t WHERE day > 'tomorrow'::text::date",
        "SELECT count(*) FROM p.full_t WHERE day > $$tomorrow$$::date",
        "SELECT count(*) FROM p.full_t WHERE seen > 'tomorrow America/New_York'",
        "SELECT count(*) FROM p.full_t WHERE age(seen) < interval '-1 year'",
        "SELECT count(*) FROM p.recent WHERE id < 0",
        "SELECT count(*) FROM p.full_t WHERE seen > p.clock()",
        "SELECT count(*) FROM p.full_t WHERE seen > p.outer_clock()",
        "SET search_path = p; SELECT count(*) FROM full_t WHERE seen > clock()",
    ],
)
def test_the_wall_clock_proves_nothing_about_the_past(data: Server, query: str) -> None:
    """By its words, through a view or a function; it is no failure either, and no pass whatever it would measure."""
    past = look(data, query, PAST)

    assert (past.verdict, past.detail) == (Verdict.UNPROVEN, "not proven: reads the wall clock, use :as_of")
    assert past.tables == ("p.full_t",)
    assert look(data, query).passed
    assert look(data, query, Moment(datetime.now(UTC) - timedelta(minutes=1), is_restored=True)).passed
    assert look(data, query, Moment(None, is_restored=True)).verdict is Verdict.UNPROVEN


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM p.full_t WHERE state = 'today'",
        "SELECT count(*) FROM p.full_t WHERE state IN ('today', 'yesterday')",
        "SELECT count(*) FROM p.full_t WHERE seen > '2200-01-01' -- later than now()",
        "SELECT count(*) FROM p.full_t WHERE seen > :as_of + interval '1 day'",
    ],
)
def test_what_is_no_clock_is_proven(data: Server, query: str) -> None:
    """Texts that look like a moment, comments, and `:as_of`."""
    assert look(data, query, PAST).passed


def test_a_table_that_is_gone_is_a_finding_by_whatever_clock(data: Server) -> None:
    """A check that does not even plan has failed."""
    assert look(data, "SELECT count(*) FROM p.gone WHERE seen > now()", PAST).failed


def test_as_of_is_the_restored_moment_or_now(data: Server) -> None:
    """Rows of the last hour are in the future of an hour ago."""
    query = "SELECT count(*) FROM p.full_t WHERE seen > :as_of"

    assert look(data, query, PAST).measured == 2
    assert look(data, query).measured == 0
    unknown = look(data, query, Moment(None, is_restored=True))
    assert (unknown.verdict, unknown.detail) == (
        Verdict.UNPROVEN,
        "not proven: the moment that was restored to is not known",
    )


@pytest.mark.parametrize(
    ("query", "sample"),
    [
        ("SELECT id, email FROM p.full_t ORDER BY id", ("id=7", "id=8")),
        ("SELECT f.email, f.id AS number FROM p.full_t f WHERE id = 7", ("number=7",)),
        ("SELECT id, email, count(*) FROM p.full_t WHERE id = 7 GROUP BY id, email", ("id=7",)),
        ("SELECT email FROM p.full_t WHERE id = 7", ()),  # unique, but there is a primary key
        ("SELECT lower(email), count(*) FROM p.full_t GROUP BY 1", ()),
        ("SELECT * FROM p.unkeyed", ("a=1, b=2",)),
        ("SELECT secret, b FROM p.unkeyed", ("b=2",)),
        ("SELECT id, email FROM p.everybody", ()),
        ("SELECT o.id, o.email FROM (SELECT * FROM p.full_t OFFSET 0) o ORDER BY 1", ("id=7", "id=8")),
    ],
)
def test_of_offending_rows_keys_alone_are_kept(data: Server, query: str, sample: tuple[str, ...]) -> None:
    """The primary key, else a unique index; where there is none, the count must do."""
    result = look(data, query)

    assert result.sample == sample
    assert ("none of their columns is a key" in result.detail) == (not sample)
    assert "example.com" not in str(result.to_json())


def test_all_columns_are_kept_where_that_is_said(data: Server) -> None:
    """NULL is told apart."""
    result = look(data, "SELECT id, email, NULL AS gone FROM p.full_t WHERE id = 7", show="all")

    assert result.sample == ("id=7, email=ann@example.com, gone=NULL",)


def test_errors_do_not_quote_data(data: Server) -> None:
    """A value that is no number stays where it is; a table's name is told."""
    query = "SELECT email::int FROM p.full_t WHERE id = 7"

    assert look(data, query).detail == 'the query failed: invalid input syntax for type integer: "…"'
    assert "ann@example.com" in look(data, query, show="all").detail
    assert '"p.gone"' in look(data, "SELECT 1 FROM p.gone").detail


def test_a_locked_table_is_not_proven(data: Server) -> None:
    """Somebody else's lock says nothing about the data, and nobody waits behind us for long."""
    with psycopg.connect(data.dsn) as other:
        other.execute("LOCK TABLE p.full_t")
        check = CheckConfig(name="c", query="SELECT count(*) FROM p.full_t WHERE id < 0")
        impatient = Query(check.query, settings={"lock_timeout": "50ms"})
        result = run_query(data.dsn, check, impatient, database="postgres")

    assert result.verdict is Verdict.UNPROVEN
    assert "lock" in result.detail


def test_a_query_that_takes_too_long_fails(data: Server) -> None:
    """It was measured by nobody."""
    result = look(data, "SELECT count(*) FROM p.full_t, pg_sleep(60)", timeout="1s")

    assert result.failed
    assert "its timeout is 0:00:01" in result.detail

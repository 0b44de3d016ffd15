from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pgvault.checks.sql import calls, has_as_of, reads_clock, reads_clock_by_text, statements, with_as_of

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
LITERAL = "'2026-03-01 09:30:00+00:00'::timestamptz"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SELECT 1", ["SELECT 1"]),
        (" SELECT 1 ; ; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("", []),
        ("-- nothing\n/* at ; all */ ;", []),
        ("SELECT ';', 'it''s;' -- a;b\n, 1", ["SELECT ';', 'it''s;' -- a;b\n, 1"]),
        (r"SELECT E'\';', 'a\'; SELECT 2", [r"SELECT E'\';', 'a\'", "SELECT 2"]),
        ("SELECT $x$;$$;$x$; SELECT 2", ["SELECT $x$;$$;$x$", "SELECT 2"]),
        ('SELECT 1 AS "a;""b"; SELECT 2', ['SELECT 1 AS "a;""b"', "SELECT 2"]),
        ("SELECT 1 /* ; /* ; */ ; */; SELECT 2", ["SELECT 1 /* ; /* ; */ ; */", "SELECT 2"]),
        ("SELECT a$b FROM t; SELECT c$b$ FROM t", ["SELECT a$b FROM t", "SELECT c$b$ FROM t"]),
        ("SELECT 'open; SELECT 2", ["SELECT 'open", "SELECT 2"]),  # the server refuses it
    ],
)
def test_statements_end_where_the_server_ends_them(text: str, parts: list[str]) -> None:
    """At a semicolon that is not part of a string, a name or a comment."""
    assert statements(text) == parts


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("SELECT :as_of", f"SELECT {LITERAL}"),
        ("d < :as_of::date - 1", f"d < {LITERAL}::date - 1"),
        (":as_of,:as_of", f"{LITERAL},{LITERAL}"),
        ("x::as_of", "x::as_of"),
        ("':as_of' \":as_of\" $$:as_of$$", "':as_of' \":as_of\" $$:as_of$$"),
        ("-- :as_of\n/* :as_of */ 1", "-- :as_of\n/* :as_of */ 1"),
        (":as_office :as_of_x :as_of$", ":as_office :as_of_x :as_of$"),
    ],
)
def test_as_of_is_replaced_where_it_is_one(text: str, replaced: str) -> None:
    """Not in strings, names and comments, nor behind a cast."""
    assert with_as_of(text, AT) == replaced
    assert has_as_of(text) == (text != replaced)


def test_as_of_is_the_same_instant_in_every_zone() -> None:
    """What is written is UTC."""
    assert with_as_of(":as_of", AT.astimezone(timezone(timedelta(hours=5)))) == LITERAL


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("SELECT now()", True),
        ("SELECT NOW ( )", True),
        ("SELECT pg_catalog.now()", True),
        ('SELECT "now"()', True),
        ("WHERE d > Current_Date - 1", True),
        ("SELECT localtime", True),
        ("SELECT clock_timestamp(), 1", True),
        ("SELECT statement_timestamp()", True),
        ("SELECT transaction_timestamp()", True),
        ("SELECT timeofday()", True),
        ("SELECT now FROM now", False),
        ("SELECT 'now()' -- now()", False),
        ('SELECT "current_date" FROM t', False),
        ("SELECT 1 AS current_date", False),
        ("SELECT t.current_date FROM t", False),
        ("SELECT snow(), now_(1)", False),
    ],
)
def test_what_reads_the_clock_is_known_by_its_words(text: str, reads: bool) -> None:
    """Functions when they are called, keywords wherever they are no name."""
    assert reads_clock(text) == reads


@pytest.mark.parametrize(
    ("text", "planned", "reads"),
    [
        ("d > 'yesterday'", ["(t.d > '2026-02-28'::date)"], True),
        ("d > DATE 'Today'", ["(t.d > '2026-03-01'::date)"], True),
        ("d > 'tomorrow 04:05'", [], True),
        ("state = 'now'", ["(t.state = 'now'::text)"], False),
        ("state = 'now'", ["((t.state)::text = 'now'::text)", "(t.state = 'now'::s.mood)"], False),
        ("state IN ('now', 'later')", ["(t.state = ANY ('{now,later}'::text[]))"], False),
        ("d > 'now'::text::date", ["(t.d > ('now'::text)::date)"], True),
        ("d > 'now'::text::date", ["(t.d > ('now'::cstring)::date)"], True),
        ("state = 'today' AND d > 'today'", ["(t.state = 'today'::text)", "(t.d > '2026-03-01'::date)"], True),
        ("state = 'now or never'", [], False),
        ("state = 'nowhere'", [], False),
        ("1 = 1 -- 'now'", [], False),
    ],
)
def test_a_text_that_the_plan_does_not_show_any_more_was_a_moment(text: str, planned: list[str], reads: bool) -> None:
    """'yesterday' is a date by the time it is planned, unless it is compared with texts."""
    assert reads_clock_by_text(text, planned) == reads


def test_calls_are_names_before_a_parenthesis() -> None:
    """Whatever else stands there; the catalog knows which of them are functions."""
    assert calls('SELECT s.f(a), count (*), "G h"(1), b FROM t WHERE x IN (1) -- g()') == {"f", "count", "G h", "in"}

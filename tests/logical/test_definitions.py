"""Two dumps of the same definitions are equal; whatever else differs is a difference."""

from __future__ import annotations

import pytest

from pgvault.logical.definitions import normalised, schema_digest

DUMP = rb"""--
-- PostgreSQL database dump
--

\restrict aBcD

-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.f() RETURNS void
    LANGUAGE plpgsql
    AS $_$
-- kept

SET x = 1;
$_$;


CREATE TABLE public."a--b" (
    note text DEFAULT 'it''s -- kept

'::text
);

\unrestrict aBcD

"""


def test_what_pg_dump_adds_is_left_out_and_what_is_quoted_stays() -> None:
    """Comments, settings and tokens go; function bodies, literals and names keep every byte."""
    assert normalised(DUMP) == (
        b"CREATE FUNCTION public.f() RETURNS void\n    LANGUAGE plpgsql\n    AS $_$\n-- kept\n\nSET x = 1;\n$_$;\n"
        b"CREATE TABLE public.\"a--b\" (\n    note text DEFAULT 'it''s -- kept\n\n'::text\n);\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"aBcD", b"eFgH"), (b"18.6", b"15.20"), (b"Owner: postgres", b"Owner: other"), (b"timeout = 0", b"timeout = 1")],
)
def test_dumps_of_the_same_definitions_are_equal(old: bytes, new: bytes) -> None:
    """Whenever and by whichever program they were made."""
    assert schema_digest(DUMP.replace(old, new)) == schema_digest(DUMP)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"-- kept\n\nSET", b"-- kept\nSET"),
        (b"SET x = 1", b"SET x = 2"),
        (b"-- kept\n\n'", b"-- kept\n'"),
        (b"a--b", b"a--c"),
    ],
)
def test_a_change_in_quotes_is_a_change(old: bytes, new: bytes) -> None:
    """Even of one that looks like a comment, a setting or an empty line."""
    assert old in DUMP

    assert schema_digest(DUMP.replace(old, new)) != schema_digest(DUMP)

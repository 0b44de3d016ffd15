from __future__ import annotations

from pgvault.logical.pieces import ObjectName, compare_pieces, pieces

ORDERS = ObjectName("TABLE", "public", "orders")
SHOP = ObjectName("SCHEMA", "-", "shop; Type: x")
ODD = ObjectName("FUNCTION", "public", "odd()")
DUMP = b"""--
-- PostgreSQL database dump
--

SET statement_timeout = 0;

--
-- Name: shop; Type: x; Type: SCHEMA; Schema: -; Owner: O'Neill
--

CREATE SCHEMA shop;

--
-- Name: odd(); Type: FUNCTION; Schema: public; Owner: shop
--

CREATE FUNCTION public.odd() RETURNS text LANGUAGE sql AS $$
-- Name: nothing; Type: TABLE; Schema: public; Owner: shop
SELECT 'x' $$;

SET default_tablespace = fast;

--
-- Name: orders; Type: TABLE; Schema: public; Owner: shop; Tablespace: fast
--

CREATE TABLE public.orders (
    id integer
);
"""


def test_each_object_has_its_definition() -> None:
    """Headings in the body of a function are none; an apostrophe in a heading begins no text."""
    found = pieces(DUMP)

    assert found.keys() == {SHOP, ODD, ORDERS}
    assert found[SHOP] == b"CREATE SCHEMA shop;\n"
    assert found[ODD].endswith(b"Schema: public; Owner: shop\nSELECT 'x' $$;\n")
    assert found[ORDERS] == b"TABLESPACE fast\nCREATE TABLE public.orders (\n    id integer\n);\n"


def test_what_differs() -> None:
    """By name: missing, extra, changed."""
    differ = compare_pieces(pieces(DUMP), {ODD: b"other", ORDERS: pieces(DUMP)[ORDERS], ObjectName("T", "s", "n"): b""})

    assert (differ.missing, differ.changed, differ.extra) == ((SHOP,), (ODD,), (ObjectName("T", "s", "n"),))
    assert differ.missing_rows == ()
    assert compare_pieces(pieces(DUMP), {}).missing_rows == (ORDERS,)


def test_an_object_reads_as_people_say_it() -> None:
    """Its type, and its schema where it has one."""
    assert (str(ORDERS), str(SHOP)) == ("table public.orders", "schema shop; Type: x")

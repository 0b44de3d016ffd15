"""What a selection means for a dump: pure judgement on entries made by hand."""

from __future__ import annotations

import pytest

from pgvault.errors import UsageError
from pgvault.logical.select import RankedClass, Selection, TablePattern, choose, list_file, ranks, require_matches
from pgvault.postgres.toc import Toc, TocEntry


def entry(dump_id: int, kind: str, tag: str, *needs: int, schema: str | None = "public") -> TocEntry:
    file = f"{dump_id}.dat" if kind == "TABLE DATA" else None
    return TocEntry(dump_id, 1259, dump_id, tag, kind, schema, "postgres", "", "", "", needs, file)


TOC = Toc(
    "shop",
    "18.6",
    "18.6",
    "UTF8",
    (
        entry(1, "ENCODING", "ENCODING", schema=None),
        entry(2, "DATABASE", "shop", schema=None),
        entry(3, "ACL", "DATABASE shop", 2, schema=None),
        entry(10, "SCHEMA", "app", schema=None),
        entry(11, "TYPE", "mood"),
        entry(12, "FUNCTION", "touch()"),
        entry(20, "TABLE", "customers", 11),
        entry(21, "TABLE", "orders"),
        entry(22, "SEQUENCE", "orders_id_seq", 21),
        entry(23, "SEQUENCE OWNED BY", "orders_id_seq", 22, 21),
        entry(24, "DEFAULT", "orders id", 21, 22),
        entry(25, "VIEW", "open orders", 21),
        entry(26, "COMMENT", "TABLE orders", 21),
        entry(30, "TABLE", "events"),
        entry(31, "TABLE", "events_1", 30),
        entry(32, "TABLE ATTACH", "events_1", 31, 30),
        entry(33, "TABLE", "facts", 10, schema="app"),
        entry(40, "TABLE DATA", "customers", 20),
        entry(41, "TABLE DATA", "orders", 21),
        entry(42, "TABLE DATA", "events_1", 31),
        entry(43, "SEQUENCE SET", "orders_id_seq", 22),
        entry(44, "TABLE DATA", "facts", 33, schema="app"),
        entry(50, "CONSTRAINT", "customers customers_pkey", 20),
        entry(51, "INDEX", "orders_by_day", 21),
        entry(52, "INDEX", "events_index", 30),
        entry(53, "INDEX", "events_1_index", 31, 52),
        entry(54, "INDEX ATTACH", "events_1_index", 53, 52, 31, 30),
        entry(55, "TRIGGER", "orders touched", 21, 12),
        entry(56, "FK CONSTRAINT", "orders of_customer", 21, 20, 50),
        entry(57, "COMMENT", "INDEX orders_by_day", 51),
        entry(58, "PUBLICATION", "pub", schema=None),
        entry(59, "PUBLICATION TABLE", "pub orders", 58, 21),
    ),
)


def chosen(*tables: str, schemas: tuple[str, ...] = ()) -> set[int]:
    return set(choose(TOC, Selection(schemas, tuple(map(TablePattern.parse, tables))), database="shop").entries)


def test_everything_is_all_but_settings_and_the_database_itself() -> None:
    """Those go with --create, or by themselves."""
    assert set(choose(TOC, Selection(), database="shop").entries) == {e.dump_id for e in TOC.entries} - {1, 2, 3}


def test_a_table_comes_with_all_that_is_its_own() -> None:
    """Rows, indexes, comments (also on indexes), defaults, its sequence with its value, triggers."""
    assert chosen("public.orders") == {21, 22, 23, 24, 26, 41, 43, 51, 55, 57}


def test_a_foreign_key_to_a_table_that_is_not_chosen_is_left_out_and_named() -> None:
    """Chosen with its target it is there."""
    alone = choose(TOC, Selection(tables=(TablePattern.parse("orders"),)), database="shop")

    assert [note for note in alone.left_out if "of_customer" in note and "table public.customers" in note]
    assert 56 in chosen("orders", "customers")


def test_what_a_table_needs_supports_it_and_is_made_where_it_is_absent() -> None:
    """A trigger's function, a column's type; the schema, though no dependency says so."""
    found = choose(TOC, Selection(tables=(TablePattern.parse("*"),)), database="shop")

    assert found.supporting == {10, 11, 12}
    assert 12 in {each.dump_id for each in found.listed({12})}
    assert 12 not in {each.dump_id for each in found.listed()}


def test_a_partitioned_table_comes_with_its_partitions_and_one_comes_alone() -> None:
    """Alone it is attached to nothing, and keeps its index."""
    assert chosen("events") == {30, 31, 32, 42, 52, 53, 54}
    assert chosen("events_1") == {31, 42, 53}


def test_a_partition_does_not_require_its_parent() -> None:
    """It is made as a table of its own, and attached afterwards."""
    alone = choose(TOC, Selection(tables=(TablePattern.parse("events_1"),)), database="shop")

    assert alone.required == set()
    assert [note for note in alone.left_out if note.startswith("partition of public.events_1 is left out")]


def test_a_view_requires_its_table() -> None:
    """It can not be made without, and nobody asked for the table."""
    found = choose(TOC, Selection(tables=(TablePattern.parse('"open orders"'),)), database="shop")

    assert (set(found.entries), set(found.required)) == ({25}, {21})


def test_a_schema_is_chosen_by_its_name_alone() -> None:
    """The schema itself is made where it is absent."""
    assert chosen(schemas=("app",)) == {33, 44}


def test_a_class_without_the_rows_of_others_has_no_keys_to_them() -> None:
    """Rows without their target would break the key; a target without referrers would not."""
    without = Toc("shop", "18", "18", "UTF8", tuple(e for e in TOC.entries if e.dump_id != 40))

    partial = choose(without, Selection(), database="shop", is_partial=True)

    assert 56 not in partial.entries
    assert any("public.orders of_customer" in note for note in partial.left_out)
    assert 56 in choose(TOC, Selection(), database="shop", is_partial=True).entries


def test_what_is_not_there_is_named() -> None:
    """Names are exact: no restore of nothing, and none of half of what was asked for."""
    selection = Selection(tables=(TablePattern.parse("orders"), TablePattern.parse("Orders")))
    found = choose(TOC, selection, database="shop")

    with pytest.raises(UsageError, match="'Orders'"):
        require_matches(selection, found.matched)


@pytest.mark.parametrize(
    ("text", "schema", "table", "is_meant"),
    [
        ("orders", "any", "orders", True),
        ("public.orders", "public", "orders", True),
        ("public.orders", "app", "orders", False),
        ("app.*", "app", "a\nb", True),
        ('"a.b"."c""d*"', "a.b", 'c"d*', True),
        ('"a.b"."c""d*"', "a.b", 'c"dd', False),
        ("Orders", "public", "orders", False),
    ],
)
def test_a_pattern_means_what_it_says(text: str, schema: str, table: str, is_meant: bool) -> None:
    """Quotes take a part to the letter, case counts, stars stand for anything."""
    assert TablePattern.parse(text).matches(schema, table) is is_meant


@pytest.mark.parametrize("text", ["", "a.b.c", ".", "a.", '"a', 'x"y"'])
def test_a_pattern_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        TablePattern.parse(text)


def test_classes_are_restored_in_order_of_priority() -> None:
    """Definitions, the first class with its indexes, the second, the rest; what ties two classes waits for both."""
    classes = (
        RankedClass("second", 2, (TablePattern.parse("events"),)),
        RankedClass("first", 1, (TablePattern.parse("orders"),)),
    )
    whole = choose(TOC, Selection(), database="shop")

    runs = ranks(whole, whole.listed(), classes, "shop")

    assert runs[1] == [41, 43, 51, 55, 57]
    assert runs[2] == [42, 52, 53, 54]
    assert {40, 44, 50, 56, 59} <= set(runs[3])
    assert sorted(each for run in runs for each in run) == sorted(whole.entries)


def test_without_classes_it_is_one_run() -> None:
    """And the list names every entry once, in order."""
    whole = choose(TOC, Selection(), database="shop")

    (run,) = ranks(whole, whole.listed(), (), "shop")

    assert list_file(run).splitlines()[:2] == ["10;", "11;"]

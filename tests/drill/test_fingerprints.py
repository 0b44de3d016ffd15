from __future__ import annotations

from pgvault.drill.fingerprints import judge
from pgvault.repository.tables import TableKind, TableRecord

DIGITS = "9a71bb4c00112233445566778899aabb"
OTHER = "0" * 32


def table(name: str, rows: int | None = 3, fingerprint: str | None = DIGITS, why: str | None = None) -> TableRecord:
    return TableRecord("public", name, TableKind.TABLE, rows, fingerprint, why)


def test_equal_tables_pass() -> None:
    """And the report says how much was compared."""
    compared = judge("shop", [table("a"), table("b", 4)], [table("b", 4), table("a")], took=0.5)

    assert compared.check.passed
    assert compared.check.name == "fingerprints:shop"
    assert compared.check.detail == "2 tables with 7 rows compared"
    assert compared.not_tested == ()


def test_every_kind_of_difference_is_counted_and_shown() -> None:
    """A table that is gone, one row less, other bytes, and one that nobody expected."""
    expected = [table("gone"), table("short", 3), table("other")]
    found = [table("short", 2, OTHER), table("other", 3, OTHER), table("extra")]

    compared = judge("shop", expected, found, took=0)

    assert not compared.check.passed
    assert compared.check.measured == 4
    assert [line.split()[0] for line in compared.check.sample] == [
        "public.extra",
        "public.gone",
        "public.other",
        "public.short",
    ]
    assert compared.check.detail.endswith("(and 3 more)")


def test_what_can_not_be_compared_is_said() -> None:
    """A table that the role could not read at the source is no finding, and not passed over either."""
    unknown = table("secret", None, None, "permission denied for table secret")

    compared = judge("shop", [table("a"), unknown], [table("a"), table("secret")], took=0)

    assert compared.check.passed
    assert "1 of them not by content" in compared.check.detail
    assert "permission denied for table secret" in compared.not_tested[0]


def test_nothing_comparable_is_no_pass() -> None:
    """If no table at all has a fingerprint, nothing is proven."""
    unknown = table("secret", None, None, "permission denied for table secret")

    compared = judge("shop", [unknown], [table("secret")], took=0)

    assert (compared.check.passed, compared.check.measured) == (False, None)
    assert "no table could be compared" in compared.check.detail


def test_a_database_without_tables_passes() -> None:
    """Beside others; a backup without any is for `holds_tables`."""
    assert judge("empty", [], [], took=0).check.passed


def test_a_class_knows_its_own_tables_only() -> None:
    """Others are there without rows; one that has some, or one of its own that has none, is a finding."""
    expected, rest = [table("vital")], table("rest", 0)

    assert judge("shop", expected, [table("vital"), rest], took=0, is_class=True).check.passed
    assert not judge("shop", expected, [table("vital"), rest], took=0).check.passed
    assert not judge("shop", expected, [table("vital"), table("rest")], took=0, is_class=True).check.passed
    assert not judge("shop", expected, [table("vital", 0), rest], took=0, is_class=True).check.passed
    assert not judge("shop", expected, [rest], took=0, is_class=True).check.passed
    unread = table("rest", None, None, "it is locked")
    assert not judge("shop", expected, [table("vital"), unread], took=0, is_class=True).check.passed


def test_no_large_objects_make_no_pass() -> None:
    """That there are none, as before, says nothing of tables that could not be compared."""
    none = TableRecord("", "", TableKind.LARGE_OBJECTS, 0, "0" * 32, None)
    unknown = table("secret", None, None, "permission denied for table secret")

    assert not judge("shop", [unknown, none], [table("secret"), none], took=0).check.passed
    assert judge("shop", [none], [none], took=0).check.passed

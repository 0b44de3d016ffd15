from __future__ import annotations

from dataclasses import replace

import pytest

from pgvault.checks.result import CheckResult, NotTested
from pgvault.drill.collations import NONE, IndexAtRisk, Mismatch, find_mismatches, judge_collations
from pgvault.postgres.inventory import CollationEntry
from tests.repository.entries import COLLATION, DATABASE

SAME = replace(COLLATION, recorded="153.120")
SAME_DATABASE = replace(DATABASE, recorded="2.36")
CHANGED = Mismatch(16390, "public.german", "153.14", "153.120", 'ALTER COLLATION "public"."german" REFRESH VERSION')
GOOD = IndexAtRisk("shop", "public.users_name", None, is_checked=True)


@pytest.mark.parametrize(
    ("here", "noted", "was"),
    [
        (SAME, None, None),
        (SAME, SAME, None),
        (COLLATION, None, "153.14"),  # recorded at the source, another one here
        (COLLATION, COLLATION, "153.14"),  # at the source it was so already
        (SAME, replace(SAME, actual="154"), "154"),  # what the source had, whatever was recorded
        (replace(SAME, recorded=None, actual=None), None, None),  # C has no version
    ],
)
def test_versions_that_differ_are_found(here: CollationEntry, noted: CollationEntry | None, was: str | None) -> None:
    """From what is recorded, and from what production had when it was backed up."""
    known = {} if noted is None else {noted.oid: noted}

    found = find_mismatches(SAME_DATABASE, [here], noted_database=None, noted=known)

    assert [mismatch.was for mismatch in found] == ([] if was is None else [was])


def test_the_default_of_a_database_counts() -> None:
    """Most indexes on text are sorted by it."""
    (found,) = find_mismatches(DATABASE, [], noted_database=None, noted={})

    assert found.oid == 100
    assert found.refresh == 'ALTER DATABASE "postgres" REFRESH COLLATION VERSION'


def only(results: list[CheckResult | NotTested]) -> CheckResult:
    (result,) = results
    assert isinstance(result, CheckResult)
    return result


def test_collations_as_recorded_pass() -> None:
    """If there are any: C has no version, and nothing to prove."""
    assert only(judge_collations(3, [], [], seconds=0)).passed
    assert judge_collations(0, [], [], seconds=0) == [NONE]


def test_indexes_in_order_are_told_with_what_to_do() -> None:
    """The data is right, so nothing is blocked."""
    result = only(judge_collations(3, [CHANGED], [GOOD], seconds=0))

    assert result.failed
    assert not result.is_blocking
    assert "public.german has version 153.120, not 153.14" in result.detail
    assert result.detail.endswith('ALTER COLLATION "public"."german" REFRESH VERSION')
    assert result.sample == ("shop: public.users_name",)


def test_an_index_out_of_order_fails() -> None:
    """It is named with what amcheck says of it."""
    bad = replace(GOOD, name="public.users_mail", problem='item order invariant violated for index "users_mail"')

    result = only(judge_collations(3, [CHANGED], [GOOD, bad], seconds=0))

    assert result.is_blocking
    assert "1 of 2 indexes are out of order, first public.users_mail in 'shop': item order" in result.detail
    assert result.sample == (f"shop: public.users_mail: {bad.problem}",)


def test_indexes_that_nothing_can_check_are_not_tested() -> None:
    """GiST and the like."""
    told, result = judge_collations(3, [CHANGED], [replace(GOOD, is_checked=False)], seconds=0)

    assert isinstance(told, NotTested)
    assert isinstance(result, CheckResult)
    assert "public.users_name" in told.what


def test_a_database_keeps_what_it_is() -> None:
    """Without a version there is nothing that could differ."""
    plain = replace(DATABASE, recorded=None, actual=None)

    assert find_mismatches(plain, [], noted_database=plain, noted={}) == []

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest

from pgvault.checks.matching import Compared, Finding, Kind, NotInOrder, Row, Tally, match_rows
from pgvault.config import Tolerance

AMOUNT = Compared("amount", Kind.NUMBER)


def row(key: str, amount: str | None = "1", *, in_flight: bool = False) -> Row:
    return Row((key.encode(),), (amount,), in_flight)


def match(left: list[Row], right: list[Row], *columns: Compared) -> Tally:
    return match_rows(iter(left), iter(right), columns or (AMOUNT,), ["id"], is_all=False)


def test_matching_in_one_pass_finds_what_matching_in_memory_finds() -> None:
    """Over random rows: keys missing on either side, twice, different, in flight."""
    chance = random.Random(6)
    for _ in range(300):
        one, other = (
            sorted(
                (
                    row(str(chance.randrange(12)), str(chance.randrange(2)), in_flight=chance.random() < 0.1)
                    for _ in range(chance.randrange(12))
                ),
                key=lambda each: each.key or (),
            )
            for _ in range(2)
        )
        sides = (one, other)
        found = match(one, other)
        in_flight = {each.key for side in sides for each in side if each.is_in_flight}
        left, right = ([each for each in side if each.key not in in_flight] for side in sides)
        counts = Counter(each.key for each in left), Counter(each.key for each in right)
        values = {each.key: each.values for each in left}, {each.key: each.values for each in right}
        repeated = {key for count in counts for key, number in count.items() if number > 1}
        both = values[0].keys() & values[1].keys() - repeated

        assert found.counts[Finding.REPEATED] == len(repeated)
        assert found.counts[Finding.MISSING] == len(values[0].keys() - values[1].keys() - repeated)
        assert found.counts[Finding.EXTRA] == len(values[1].keys() - values[0].keys() - repeated)
        assert found.counts[Finding.DIFFERENT] == sum(values[0][key] != values[1][key] for key in both)
        assert found.matched_count == sum(values[0][key] == values[1][key] for key in both)
        assert (found.left.row_count, found.right.row_count) == (len(left), len(right))
        assert found.left.sums == [sum((Decimal(each.values[0] or 0) for each in left), Decimal(0))]


def test_rows_that_are_not_in_order_are_refused() -> None:
    """Two orders that differ would pair nothing, or the wrong rows."""
    with pytest.raises(NotInOrder, match="the right side's rows"):
        match([row("a"), row("b")], [row("b"), row("a")])


def test_keys_are_ordered_by_bytes() -> None:
    """As the server and SQLite sort them."""
    keys = sorted(["B", "a", "Ä", "z", "🐘", "é", "10", "9"], key=str.encode)

    assert match([row(key) for key in keys], [row(key) for key in keys]).matched_count == len(keys)


@pytest.mark.parametrize(
    ("column", "left", "right", "is_same"),
    [
        (AMOUNT, "10.00", "1e1", True),
        (AMOUNT, "10.00", " 10", True),
        (AMOUNT, "10.00", "10.01", False),
        (AMOUNT, "10.00", "ten", False),
        (AMOUNT, "NaN", "NaN", True),
        (AMOUNT, "Infinity", "1", False),
        (AMOUNT, "Infinity", "-Infinity", False),
        (AMOUNT, None, None, True),
        (AMOUNT, None, "0", False),
        (AMOUNT, "1" + "0" * 60 + ".01", "1" + "0" * 60 + ".02", False),
        (Compared("a", Kind.NUMBER, Tolerance(absolute=Decimal("0.1"))), "0.3", "0.2", True),
        (Compared("a", Kind.NUMBER, Tolerance(share=Decimal("0.1"))), "-100", "-90", True),
        (Compared("a", Kind.NUMBER, Tolerance(share=Decimal("0.1"))), "-100", "-89.99", False),
        (Compared("a", Kind.NUMBER, Tolerance(share=Decimal("0.1"))), "0", "0.001", False),
        (Compared("a", Kind.TEXT), "007", "7", False),
        (Compared("a", Kind.TEXT), "", None, False),
        (Compared("a", Kind.TEXT, is_blank_null=True), "", None, True),
        (Compared("a", Kind.TIME), "2026-01-01 12:00:00+00", "2026-01-01T14:00:00+02:00", True),
        (Compared("a", Kind.TIME), "2026-01-01 12:00:00+00", "2026-01-01 12:00", True),
        (Compared("a", Kind.TIME), "2026-01-01 12:00:00+00", "2026-01-01T12:00:01Z", False),
        (Compared("a", Kind.TIME), "2026-01-01", "yesterday", False),
        (Compared("a", Kind.TRUTH), "true", "1", True),
        (Compared("a", Kind.TRUTH), "true", "f", False),
        (Compared("a", Kind.TRUTH), "true", "maybe", False),
    ],
)
def test_values_are_compared_by_what_they_mean(
    column: Compared, left: str | None, right: str | None, is_same: bool
) -> None:
    """Numbers as numbers, exactly; texts as they are."""
    assert column.is_same(left, right) is is_same


def test_memory_does_not_grow_with_the_rows() -> None:
    """Of a hundred times as many rows, and of one key a hundred times more often, no more is held."""

    def peak(count: int) -> int:
        def rows(step: int) -> Iterator[Row]:
            return (row(f"{number // 2 * step:09}", str(number)) for number in range(count))

        tracemalloc.start()
        try:
            match_rows(rows(1), rows(2), (AMOUNT,), ["id"], is_all=True)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4000) < 2 * peak(200)

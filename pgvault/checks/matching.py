"""Two systems' rows, matched by key in one pass: what one lacks, what differs, and how many there were.

    left  ─► rows in the order of their keys ─┐
                                              ├─► one group of equal keys at a time ─► Tally
    right ─► rows in the order of their keys ─┘

Keys are compared as bytes. One row of each side is held, and the first findings of each kind; so memory does not grow
with the tables. A key that is in flight on either side says nothing: it is left out of everything, counts and sums too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Context, Decimal
from enum import StrEnum
from itertools import groupby

from pgvault.checks.result import SAMPLE_ROWS
from pgvault.config import Tolerance

# Exact sums of whatever numeric holds; what is not finite is told, not raised.
EXACT = Context(prec=200_000, traps=[])
EXACTLY = Tolerance()
TRUE, FALSE = frozenset({"t", "true", "1", "y", "yes", "on"}), frozenset({"f", "false", "0", "n", "no", "off"})


class Kind(StrEnum):
    """How a column's values, which come as texts, are compared."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    TRUTH = "truth"


@dataclass(frozen=True, slots=True)
class Compared:
    """A column that both sides have, and how nearly it must agree."""

    name: str
    kind: Kind
    tolerance: Tolerance = EXACTLY
    is_blank_null: bool = False  # a file that writes NULL as nothing has no empty text

    def is_same(self, left: str | None, right: str | None) -> bool:
        """Tell whether two values agree; NULL agrees with NULL alone."""
        if self.is_blank_null:
            left, right = left or None, right or None
        if left == right:
            return True
        if left is None or right is None:
            return False
        match self.kind:
            case Kind.NUMBER:
                return self.is_near(number(left), number(right))
            case Kind.TIME:
                times = instant(left), instant(right)
                return None not in times and times[0] == times[1]
            case Kind.TRUTH:
                words = {left.strip().lower(), right.strip().lower()}
                return words <= TRUE or words <= FALSE
            case Kind.TEXT:
                return False

    def is_near(self, left: Decimal, right: Decimal) -> bool:
        """Tell whether two numbers are no farther apart than the tolerance; what is not finite never is."""
        if not left.is_finite() or not right.is_finite():
            return False
        allowed = max(self.tolerance.absolute, EXACT.multiply(self.tolerance.share, abs(left)))
        return abs(EXACT.subtract(left, right)) <= allowed


def number(text: str) -> Decimal:
    """Read a number; NaN where there is none."""
    return EXACT.create_decimal(text.strip())


def instant(text: str) -> datetime | None:
    """Read a time as PostgreSQL or ISO 8601 writes it, in UTC where it says no zone; None where there is none."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a side."""

    key: tuple[bytes, ...] | None  # None: a part of it is NULL, so it can not be matched
    values: tuple[str | None, ...]  # of the compared columns
    is_in_flight: bool = False  # younger than the cut-off


class Finding(StrEnum):
    """What can be wrong with a key."""

    MISSING = "missing"  # on the right
    EXTRA = "extra"  # on the right
    DIFFERENT = "different"
    REPEATED = "repeated"  # on either side, so that nobody can say which row belongs to which
    WITHOUT_KEY = "without key"


@dataclass(slots=True)
class SideTally:
    """What one side had, less what is in flight."""

    row_count: int = 0
    in_flight_count: int = 0
    sums: list[Decimal] = field(default_factory=list)  # of the compared columns; zero for those that are no numbers


@dataclass(slots=True)
class Tally:
    """What came of matching."""

    columns: Sequence[Compared]
    left: SideTally = field(default_factory=SideTally)
    right: SideTally = field(default_factory=SideTally)
    matched_count: int = 0
    counts: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(Finding, 0))
    samples: dict[Finding, list[str]] = field(default_factory=lambda: {each: [] for each in Finding})

    def __post_init__(self) -> None:
        for side in (self.left, self.right):
            side.sums = [Decimal(0)] * len(self.columns)

    @property
    def disagreement_count(self) -> int:
        """Keys, or rows without one, that are not as they should be."""
        return sum(self.counts.values())

    def sums_apart(self) -> Iterator[str]:
        """Yield for each column of numbers whose sums are farther apart than its tolerance what they are."""
        for column, left, right in zip(self.columns, self.left.sums, self.right.sums, strict=True):
            if column.kind is Kind.NUMBER and not column.is_near(left, right):
                yield f"sum of {column.name} {left:f} against {right:f}"


class NotInOrder(Exception):
    """A side's rows did not come in the order of their keys."""


@dataclass(frozen=True, slots=True)
class _Group:
    key: tuple[bytes, ...]
    first: tuple[str | None, ...]
    row_count: int
    is_in_flight: bool
    sums: list[Decimal]


def match_rows(
    left: Iterator[Row], right: Iterator[Row], columns: Sequence[Compared], names: Sequence[str], *, is_all: bool
) -> Tally:
    """Match two sides whose rows come in the order of their keys; `names` are the key's. Raises NotInOrder.

    Of what is found, keys are told, and with `is_all` values too.
    """
    tally = Tally(columns)
    lefts, rights = _groups(left, tally.left, tally, "left"), _groups(right, tally.right, tally, "right")
    one, other = next(lefts, None), next(rights, None)
    while one is not None or other is not None:
        is_left = other is None or (one is not None and one.key <= other.key)
        is_right = one is None or (other is not None and other.key <= one.key)
        _judge(tally, one if is_left else None, other if is_right else None, names, is_all=is_all)
        one = next(lefts, None) if is_left else one
        other = next(rights, None) if is_right else other
    return tally


def add_up(left: Iterator[Row], right: Iterator[Row], columns: Sequence[Compared]) -> Tally:
    """Count and add up two sides whose rows come in any order."""
    tally = Tally(columns)
    for rows, side in ((left, tally.left), (right, tally.right)):
        for row in rows:
            if row.is_in_flight:
                side.in_flight_count += 1
            else:
                side.row_count += 1
                _add(side.sums, _numbers(row, columns))
    return tally


def _groups(rows: Iterator[Row], side: SideTally, tally: Tally, name: str) -> Iterator[_Group]:
    """Yield the rows of each key as one; those without a key are counted on the way."""
    before: tuple[bytes, ...] | None = None
    for key, group in groupby(_with_key(rows, side, tally, name), key=lambda row: row.key):
        if key is None or (before is not None and key < before):
            raise NotInOrder(f"the {name} side's rows did not come in the order of their keys")
        before, first, count, is_in_flight = key, None, 0, False
        sums = [Decimal(0)] * len(tally.columns)
        for row in group:
            first = row.values if first is None else first
            count += 1
            is_in_flight |= row.is_in_flight
            _add(sums, _numbers(row, tally.columns))
        yield _Group(key, first or (), count, is_in_flight, sums)


def _with_key(rows: Iterator[Row], side: SideTally, tally: Tally, name: str) -> Iterator[Row]:
    for row in rows:
        if row.key is not None:
            yield row
        elif row.is_in_flight:
            side.in_flight_count += 1
        else:
            side.row_count += 1
            _add(side.sums, _numbers(row, tally.columns))
            _note(tally, Finding.WITHOUT_KEY, f"{Finding.WITHOUT_KEY} on the {name}")


def _judge(tally: Tally, one: _Group | None, other: _Group | None, names: Sequence[str], *, is_all: bool) -> None:
    groups = [(side, group) for side, group in ((tally.left, one), (tally.right, other)) if group is not None]
    if any(group.is_in_flight for _, group in groups):
        for side, group in groups:
            side.in_flight_count += group.row_count
        return
    for side, group in groups:
        side.row_count += group.row_count
        _add(side.sums, group.sums)
    apart = [] if one is None or other is None else _apart(tally, one, other, is_all=is_all)
    finding = _finding(one, other, is_apart=bool(apart))
    if finding is None:
        tally.matched_count += 1
        return
    told = ", ".join(f"{name}={_readable(part)}" for name, part in zip(names, groups[0][1].key, strict=True))
    details = f": {', '.join(apart)}" if finding is Finding.DIFFERENT else ""
    _note(tally, finding, f"{finding} {told}{details}")


def _finding(one: _Group | None, other: _Group | None, *, is_apart: bool) -> Finding | None:
    if any(group is not None and group.row_count > 1 for group in (one, other)):
        return Finding.REPEATED
    if other is None:
        return Finding.MISSING
    if one is None:
        return Finding.EXTRA
    return Finding.DIFFERENT if is_apart else None


def _apart(tally: Tally, one: _Group, other: _Group, *, is_all: bool) -> list[str]:
    values = zip(tally.columns, one.first, other.first, strict=True)
    apart = [(column.name, left, right) for column, left, right in values if not column.is_same(left, right)]
    return [f"{name} {_said(left)} against {_said(right)}" if is_all else name for name, left, right in apart]


def _note(tally: Tally, finding: Finding, told: str) -> None:
    tally.counts[finding] += 1
    if len(tally.samples[finding]) < SAMPLE_ROWS:
        tally.samples[finding].append(told[:500])


def _numbers(row: Row, columns: Sequence[Compared]) -> list[Decimal]:
    values = zip(columns, row.values, strict=True)
    return [number(value) if column.kind is Kind.NUMBER and value else Decimal(0) for column, value in values]


def _add(sums: list[Decimal], more: Sequence[Decimal]) -> None:
    for at, value in enumerate(more):
        sums[at] = EXACT.add(sums[at], value)


def _said(value: str | None) -> str:
    return "NULL" if value is None else _readable(value.encode("utf-8", "surrogateescape"))


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")

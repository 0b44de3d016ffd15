"""The types of integrity checks: what each of them asks of a table, or of two systems.

A table is named as `orders` or `shop.orders`, exactly (nothing is folded to lower case); a name that holds a dot is
quoted as in SQL, or the parts are a list. `where` narrows the rows that are looked at, in SQL. Columns are names,
never expressions. All but `sql`, `aggregate` and `cross_system` measure the number of offending rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, WrapValidator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from pgvault.config.checks import CheckBase, CheckConfig
from pgvault.config.crosssystem import CrossSystemCheck
from pgvault.config.names import Column, Columns, Table
from pgvault.config.sections import Duration, Section
from pgvault.errors import PlainSecret, UsageError
from pgvault.instants import parse_duration

PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", re.ASCII)
AS_OF = re.compile(r":as_of(?:\s*([+-])\s*(.+))?", re.ASCII)

Format = Literal["email", "uuid", "url", "phone", "ipv4", "date", "currency", "country"]


class TableCheck(CheckBase):
    """What is asked of the rows of one table."""

    table: Table
    where: str | None = Field(default=None, min_length=1)


class CompletenessCheck(TableCheck):
    """No row lacks a value in one of the columns."""

    type: Literal["completeness"]
    columns: Columns
    blank: Literal["present", "missing"] = "present"  # what a text of nothing but spaces is


class UniquenessCheck(TableCheck):
    """No two rows have the same values in the columns; a row with NULL in one of them is like no other, as in SQL."""

    type: Literal["uniqueness"]
    columns: Columns
    ignore_case: bool = False


class References(Section):
    """What is referred to."""

    table: Table
    columns: Columns
    where: str | None = Field(default=None, min_length=1)


class ReferentialCheck(TableCheck):
    """Each row's columns are found in the other table; a row with NULL in one of them refers to nothing."""

    type: Literal["referential"]
    columns: Columns
    references: References

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        here, there = len(self.columns), len(self.references.columns)
        if here != there:
            raise ValueError(f"{here} columns can not refer to {there}")
        return self


class AsOf(Section):
    """The moment that is looked at, `:as_of`, or one that long before or after it."""

    offset: timedelta = timedelta()


def _bound(value: object) -> object:
    """Read `:as_of - 7d`; every other value is left to the server."""
    if not isinstance(value, str) or not value.lstrip().startswith(":as_of"):
        return value
    match = AS_OF.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not ':as_of', ':as_of - 7d' or ':as_of + 1h'")
    try:
        offset = timedelta() if match[1] is None else parse_duration(match[2])
    except UsageError as error:
        raise ValueError(f"{error}. {error.hint}") from error
    return AsOf(offset=-offset if match[1] == "-" else offset)


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are no bounds")  # noqa: TRY004 - pydantic wants ValueError
    return value


Bound = Annotated[AsOf | int | Decimal | datetime | date | str, BeforeValidator(_no_truth), BeforeValidator(_bound)]


class RangeCheck(TableCheck):
    """No value of the column is outside of the bounds: numbers, dates, texts, `:as_of - 7d`. NULL and NaN are no
    values: NULL is left to completeness, NaN is outside of numbers.
    """

    type: Literal["range"]
    column: Column
    min: Bound | None = None
    max: Bound | None = None
    above: Bound | None = None  # as min, but not the bound itself
    below: Bound | None = None  # as max, but not the bound itself

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if all(bound is None for bound in (self.min, self.max, self.above, self.below)):
            raise ValueError("one of min, max, above, below must be given")
        if None not in (self.min, self.above) or None not in (self.max, self.below):
            raise ValueError("min and above are one bound, max and below the other: give one of each")
        return self


class FormatCheck(TableCheck):
    """Each value matches, as a whole: a regular expression of PostgreSQL's, or one of the formats that have a name."""

    type: Literal["format"]
    column: Column
    pattern: str | None = Field(default=None, min_length=1)
    format: Format | None = None
    ignore_case: bool = False

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.pattern is None) == (self.format is None):
            raise ValueError("either pattern or format must be given, not both")
        return self


class CrossFieldCheck(TableCheck):
    """An SQL expression over the columns of one row is true of every row; where it is NULL, `null` decides."""

    type: Literal["cross_field"]
    expression: str = Field(min_length=1)
    null: Literal["fail", "pass"] = "pass"  # as in a CHECK constraint: not yet shipped is not shipped too early


def _share(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    match = PERCENT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{str(value)!r} is not a share: write 10%")
    return Decimal(match[1]) / 100


Share = Annotated[Decimal, BeforeValidator(_share)]


class AggregateCheck(CheckBase):
    """The last period's count, sum, … is within ±x % of the average of the periods before it.

    Periods of length `per` are counted back from :as_of, so that the last is never one that has only begun; `window` is
    what lies before it. The measure is |last - average| / |average|.
    """

    type: Literal["aggregate"]
    table: Table | None = None
    query: str | None = Field(default=None, min_length=1)  # instead of a table: rows that have `time` and `column`
    where: str | None = Field(default=None, min_length=1)
    function: Literal["count", "sum", "avg", "min", "max"]
    column: Column | None = None
    time: Column
    per: Duration = timedelta(days=1)
    window: Duration = timedelta(days=30)
    tolerance: Share

    @model_validator(mode="before")
    @classmethod
    def _threshold(cls, value: object) -> object:
        """The tolerance is the threshold; it goes by a name that says what of."""
        if not isinstance(value, Mapping) or "tolerance" not in value:
            return value
        if "threshold" in value:
            raise ValueError("tolerance is the threshold here: give that alone")
        return {**value, "threshold": float(str(_share(value["tolerance"])))}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("either table or query must be given, not both")
        if self.query is not None and self.where is not None:
            raise ValueError("where is for a table: a query has its own")
        if (self.column is None) != (self.function == "count"):
            raise ValueError("column must be given" if self.column is None else "count counts rows, not a column")
        if self.window < self.per:
            raise ValueError("window must hold at least one period")
        return self


def _type_of(value: object) -> str:
    """Without a type it is the author's own query, as before there were types."""
    return str(value.get("type", "sql")) if isinstance(value, Mapping) else str(getattr(value, "type", "sql"))


TYPES = {
    "sql": CheckConfig,
    "completeness": CompletenessCheck,
    "uniqueness": UniquenessCheck,
    "referential": ReferentialCheck,
    "range": RangeCheck,
    "format": FormatCheck,
    "cross_field": CrossFieldCheck,
    "aggregate": AggregateCheck,
    "cross_system": CrossSystemCheck,
}


def _named(value: object, validate: Any) -> Any:
    """Put the check's name into the place of whatever is wrong with it: who has fifty does not count them."""
    name = value.get("name") if isinstance(value, Mapping) else None
    place = () if not isinstance(name, str) else (name,)
    try:
        return validate(value)
    except PlainSecret as error:
        raise PlainSecret(f"check {name!r}: {error}", hint=error.hint) from None
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            error.title,
            [
                InitErrorDetails(
                    type=PydanticCustomError(problem["type"], problem["msg"]),
                    loc=(*place, *problem["loc"][1 if problem["loc"][:1] and problem["loc"][0] in TYPES else 0 :]),
                    input=None,
                )
                for problem in error.errors(include_url=False, include_input=False)
            ],
        ) from None


AnyCheck = Annotated[
    Annotated[CheckConfig, Tag("sql")]
    | Annotated[CompletenessCheck, Tag("completeness")]
    | Annotated[UniquenessCheck, Tag("uniqueness")]
    | Annotated[ReferentialCheck, Tag("referential")]
    | Annotated[RangeCheck, Tag("range")]
    | Annotated[FormatCheck, Tag("format")]
    | Annotated[CrossFieldCheck, Tag("cross_field")]
    | Annotated[AggregateCheck, Tag("aggregate")]
    | Annotated[CrossSystemCheck, Tag("cross_system")],
    Discriminator(
        _type_of, custom_error_type="check_type", custom_error_message=f"type must be one of {', '.join(TYPES)}"
    ),
    WrapValidator(_named),
]

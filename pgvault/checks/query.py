"""What every check that asks one database becomes: a query, and how its result is measured.

A query is one statement, or several of which the last returns something; it runs in one read-only transaction.
`:as_of` stands for the moment that the data are of (`Moment`). What a query must not rely on:

* the wall clock (`now()`, `current_date`): in a drill of an older moment that check is not proven, so write `:as_of`;
* that PostgreSQL reads rows where a constraint answers: from 17 on `col IS NULL` of a NOT NULL column is `false`
  without a look (`num_nulls(col) > 0` looks), and a valid index may be asked in place of the table (`settings` turn
  that off).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Measure = Literal["auto", "value", "rows"]
Null = Literal["fail", "pass"]

# For a query that must not believe an index.
NO_INDEXES: Mapping[str, str] = {"enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off"}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one database."""

    text: str
    measure: Measure = "auto"  # auto: one row with one number is the value, anything else counts its rows
    null: Null = "fail"  # whether a value that is NULL passes
    settings: Mapping[str, str] = field(default_factory=dict)  # of the session, besides the engine's own
    subject: str | None = None  # asks for one truth: is there any row that could be wrong? without one it is empty


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment that the data are of."""

    at: datetime | None = None  # None: now on a live server; in a drill not known
    is_restored: bool = False  # whether these are restored data, in a drill


NOW = Moment()

"""A check across two systems: what one holds and the other must hold, too.

- name: orders_against_payments
type: cross_system
left: {query: "SELECT id, total_amount AS amount, ordered_at AS at FROM orders"}        # of this cluster
right: {dsn: "host=ledger dbname=pay", password: "file:/etc/pgvault/ledger", query: "SELECT …"}
key: id                           # rows are matched by it; without one, only counts and sums are compared
columns: {amount: 0.01}           # what must agree, and how nearly: exact, 0.01, 0.5%; none: all both have
time: at                          # in both; rows younger than the cut-off may be in one system alone
cutoff: 5m
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from pgvault.config.checks import CheckBase
from pgvault.config.names import Column, Columns
from pgvault.config.sections import Duration, Secret, Section, require_no_password, secret

NEARLY = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)\s*(%?)", re.ASCII)
THIS = "this"

Part = Literal["count", "sum", "rows"]


class Tolerance(Section):
    """How far two values may be apart: the larger of a number and a share of the left one's size."""

    absolute: Decimal = Decimal(0)
    share: Decimal = Decimal(0)


def _tolerance(value: object) -> object:
    if isinstance(value, Tolerance | Mapping):
        return value
    text = "0" if value == "exact" else str(value).strip()
    match = NEARLY.fullmatch(text)
    if match is None:
        raise ValueError(f"{str(value)!r} is no tolerance: write exact, 0.01 or 0.5%")
    return Tolerance(share=Decimal(match[1]) / 100) if match[2] else Tolerance(absolute=Decimal(match[1]))


def _exactly(value: object) -> object:
    """Let a list of columns stand for all of them, exact."""
    names = [value] if isinstance(value, str) else value
    return dict.fromkeys(names, "exact") if isinstance(names, list | tuple) else names


class Side(Section):
    """One of the two: a query of this cluster (`dsn: this`), a query of another server, or a CSV file with a header."""

    dsn: str = THIS
    password: Annotated[Secret, secret("password")] | None = None
    database: str | None = None
    query: str | None = Field(default=None, min_length=1)
    csv: Path | None = None  # relative to the configuration file
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8-sig"
    null: str = ""  # what the file has for NULL
    rename: dict[str, Column] = Field(default_factory=dict)  # the file's column → its name in the check

    @field_validator("dsn")
    @classmethod
    def _dsn(cls, value: str) -> str:
        return require_no_password(value)

    @field_validator("csv")
    @classmethod
    def _path(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else Path((info.context or {}).get("directory", ".")) / value

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise ValueError(f"unknown encoding {value!r}") from error
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.query is None) == (self.csv is None):
            raise ValueError("either query or csv must be given, not both")
        given = self.model_fields_set
        if self.csv is not None and (wrong := given & {"dsn", "password", "database"}):
            raise ValueError(f"{min(wrong)} is for a query, not for a file")
        if self.csv is None and (wrong := given & {"delimiter", "encoding", "null", "rename"}):
            raise ValueError(f"{min(wrong)} is for a file, not for a query")
        if self.is_this and self.password is not None:
            raise ValueError("password is for another server: this cluster has its own")
        return self

    @property
    def is_this(self) -> bool:
        """Whether it is asked of the cluster that is checked: live, or what a drill restored."""
        return self.csv is None and self.dsn == THIS


class CrossSystemCheck(CheckBase):
    """Two systems agree: in the count of rows, in sums, and row by row, matched by a key."""

    type: Literal["cross_system"]
    left: Side
    right: Side
    key: Columns | None = None
    columns: Annotated[
        dict[Column, Annotated[Tolerance, BeforeValidator(_tolerance)]] | None, BeforeValidator(_exactly)
    ] = None
    compare: tuple[Part, ...] = Field(default=("count", "sum", "rows"), min_length=1)
    time: Column | None = None
    cutoff: Duration | None = None

    @property
    def asks_another_server(self) -> bool:
        """Whether a session beside that with this cluster is needed."""
        return any(side.csv is None and not side.is_this for side in (self.left, self.right))

    @field_validator("compare", mode="before")
    @classmethod
    def _parts(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.left.is_this and not self.right.is_this:
            raise ValueError("one of left and right must be this cluster: a query without a dsn")
        if "rows" in self.compare and self.key is None:
            raise ValueError("rows are matched by a key: give key, or compare: [count, sum]")
        if self.cutoff is not None and self.time is None:
            raise ValueError("a cutoff needs time, the column that says how old a row is")
        if self.columns and (twice := {*(self.key or ()), *([self.time] if self.time else [])} & self.columns.keys()):
            raise ValueError(f"column {min(twice)!r} is the key or the time: it is not compared besides")
        return self

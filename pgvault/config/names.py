"""Names of tables and columns as an operator writes them, kept exactly: `Orders` is not `orders`.

orders · shop.orders · "odd.name" · shop."an ""odd"" one" · [shop, odd.name]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

PART = r'(?:"(?:[^"]|"")+"|[^".]+)'
TABLE = re.compile(rf"({PART})(?:\.({PART}))?")


def _table(value: object) -> object:
    """Read a table's name as its parts: schema and name, or the name alone."""
    if not isinstance(value, str):
        return value
    match = TABLE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is neither 'table' nor 'schema.table'")
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in match.groups() if part)


def _usable(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError("a name must not be empty")
    return value


def _columns(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _each_once(value: Sequence[str]) -> Sequence[str]:
    for name in value:
        if value.count(name) > 1:
            raise ValueError(f"column {name!r} is given twice")
    return value


Name = Annotated[str, AfterValidator(_usable)]
Column = Name
Columns = Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(_columns), AfterValidator(_each_once)]
Table = Annotated[tuple[Name, ...], Field(min_length=1, max_length=2), BeforeValidator(_table)]

"""The definitions of a database, object by object, by the names that pg_dump writes above each of them.

    --
    -- Name: orders; Type: TABLE; Schema: public; Owner: shop
    --

What lies between such a line and the next belongs to the object, and so does the tablespace that the line names. Lines
that look like one within quoted text (the body of a function) are none. Table access methods are not compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgvault.logical.definitions import TOKENS, normalised

HEADING = re.compile(
    rb"-- Name: (?P<name>.*); Type: (?P<type>.*?); Schema: (?P<schema>.*?); Owner: .*?(?:; Tablespace: (?P<space>.*))?"
)
# Stands before the heading of the first object that it is for, and so belongs to none.
STANDING = re.compile(rb"^SET default_table[^\n]*;$", re.MULTILINE)
NO_SCHEMA = "-"
# Whose loss is a loss of rows.
HOLDING_ROWS = frozenset({"TABLE", "MATERIALIZED VIEW"})


@dataclass(frozen=True, order=True, slots=True)
class ObjectName:
    """What pg_dump calls an object."""

    type: str  # TABLE, CONSTRAINT, FUNCTION, …
    schema: str  # NO_SCHEMA: in none
    name: str  # with the table that it is of, or the arguments that it takes

    def __str__(self) -> str:
        return f"{self.type.lower()} {self.name if self.schema == NO_SCHEMA else f'{self.schema}.{self.name}'}"


@dataclass(frozen=True, slots=True)
class PiecesDiffer:
    """What is not the same in later definitions, by names, sorted."""

    missing: tuple[ObjectName, ...]
    extra: tuple[ObjectName, ...]
    changed: tuple[ObjectName, ...]

    @property
    def missing_rows(self) -> tuple[ObjectName, ...]:
        """Those of the missing that held rows."""
        return tuple(each for each in self.missing if each.type in HOLDING_ROWS)


def pieces(sql: bytes) -> dict[ObjectName, bytes]:
    """Return what `pg_dump --schema-only` printed, normalised, object by object."""
    found: dict[ObjectName, bytes] = {}
    name: ObjectName | None = None
    began = 0
    for match in TOKENS.finditer(sql):
        heading = None if match["added"] is None else HEADING.fullmatch(match["added"])
        if heading is None:
            continue
        if name is not None:
            found[name] = found.get(name, b"") + sql[began : match.start()]
        name, began = _name(heading), match.end()
        if heading["space"] is not None:
            found[name] = found.get(name, b"") + b"TABLESPACE " + heading["space"]
    if name is not None:
        found[name] = found.get(name, b"") + sql[began:]
    return {name: normalised(STANDING.sub(b"", text)) for name, text in found.items()}


def compare_pieces(earlier: dict[ObjectName, bytes], later: dict[ObjectName, bytes]) -> PiecesDiffer:
    """Return what is missing from, new, or other in the later definitions."""
    return PiecesDiffer(
        missing=tuple(sorted(earlier.keys() - later.keys())),
        extra=tuple(sorted(later.keys() - earlier.keys())),
        changed=tuple(sorted(name for name in earlier.keys() & later.keys() if earlier[name] != later[name])),
    )


def _name(heading: re.Match[bytes]) -> ObjectName:
    type_, schema, name = (heading[part].decode("utf-8", "backslashreplace") for part in ("type", "schema", "name"))
    return ObjectName(type_, schema, name)

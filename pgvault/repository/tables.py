"""Rows and fingerprints of the tables of one database: a file of a logical backup, one JSON document a line.

    {"schema": "public", "table": "orders", "kind": "table", "rows": 40, "fingerprint": "9a71…", "why": null}

A fingerprint says what rows a table holds, in whatever order (postgres/fingerprint.py says how it is computed). Where
it could not be computed it is null and `why` says the reason; `rows` is null then, too, unless they were counted.
Lines are sorted by schema and table, as bytes. Fields that are not known are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pgvault.errors import ObjectCorrupt
from pgvault.repository.fields import read_count, read_text

FINGERPRINT = re.compile(r"[0-9a-f]{32}")


class TableKind(StrEnum):
    """What the rows belong to."""

    TABLE = "table"  # with rows of its own: an ordinary table or a leaf partition
    LARGE_OBJECTS = "large objects"  # all of the database together; schema and table are empty


@dataclass(frozen=True, slots=True)
class TableRecord:
    """What one table held in the snapshot."""

    schema: str
    table: str
    kind: TableKind
    rows: int | None
    fingerprint: str | None  # 32 hexadecimal digits
    why: str | None = None  # why there is no fingerprint

    @property
    def name(self) -> str:
        """For people: schema.table, or what else it is."""
        return f"{self.schema}.{self.table}" if self.kind is TableKind.TABLE else str(self.kind)


def encode_tables(records: Iterable[TableRecord]) -> bytes:
    """Return the file's content."""
    return b"".join(_encode(record) for record in sorted(records, key=_order))


def decode_tables(content: bytes, *, where: str) -> Iterator[TableRecord]:
    """Yield the records of a file. Raises ObjectCorrupt."""
    for line in content.splitlines():
        try:
            document = json.loads(line)
            fingerprint, rows, why = document["fingerprint"], document["rows"], document["why"]
            record = TableRecord(
                schema=read_text(document["schema"]),
                table=read_text(document["table"]),
                kind=TableKind(document["kind"]),
                rows=None if rows is None else read_count(rows),
                fingerprint=None if fingerprint is None else _read_fingerprint(fingerprint),
                why=None if why is None else read_text(why),
            )
            _require_reason(record)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ObjectCorrupt(f"table list {where!r} holds a malformed line") from error
        yield record


def _order(record: TableRecord) -> tuple[bytes, bytes]:
    # A database without an encoding (SQL_ASCII) has names that are no text; they survive as surrogate escapes.
    return record.schema.encode("utf-8", "surrogateescape"), record.table.encode("utf-8", "surrogateescape")


def _encode(record: TableRecord) -> bytes:
    document = {
        "schema": record.schema,
        "table": record.table,
        "kind": str(record.kind),
        "rows": record.rows,
        "fingerprint": record.fingerprint,
        "why": record.why,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _require_reason(record: TableRecord) -> None:
    """What is not known must say why: else a comparison would pass over it without a word."""
    if record.fingerprint is None and not record.why:
        raise ValueError(f"{record.name} has no fingerprint and does not say why")
    if record.fingerprint is not None and record.rows is None:
        raise ValueError(f"{record.name} has a fingerprint of rows that were not counted")


def _read_fingerprint(value: object) -> str:
    text = read_text(value)
    if not FINGERPRINT.fullmatch(text):
        raise ValueError(f"{text!r} is not a fingerprint")
    return text

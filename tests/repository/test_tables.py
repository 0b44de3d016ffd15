from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt
from pgvault.repository.tables import TableKind, TableRecord, decode_tables, encode_tables

FINGERPRINT = "9a71bb4c00112233445566778899aabb"
LINE: dict[str, Any] = {
    "schema": "public",
    "table": "orders",
    "kind": "table",
    "rows": 40,
    "fingerprint": FINGERPRINT,
    "why": None,
}

# Names as servers have them: any character but NUL, and bytes that are no text where a database has no encoding.
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.binary(
    max_size=8
).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
counts = st.integers(0, 2**63)
fingerprints = st.integers(0, 2**128 - 1).map(lambda value: f"{value:032x}")
known = st.builds(TableRecord, names, names, st.sampled_from(TableKind), counts, fingerprints, st.none())
unknown = st.builds(
    TableRecord, names, names, st.sampled_from(TableKind), st.none() | counts, st.none(), st.text(min_size=1)
)


def as_bytes(record: TableRecord) -> tuple[bytes, bytes]:
    return record.schema.encode("utf-8", "surrogateescape"), record.table.encode("utf-8", "surrogateescape")


def line(**changes: object) -> bytes:
    return json.dumps(LINE | changes).encode() + b"\n"


@given(st.lists(known | unknown, max_size=6))
def test_records_are_read_as_they_were_written(records: list[TableRecord]) -> None:
    """Whatever the names hold, in order of schema and table as bytes; one line each."""
    content = encode_tables(records)

    found = list(decode_tables(content, where="x"))

    assert content.count(b"\n") == len(records)
    assert sorted(found, key=repr) == sorted(records, key=repr)
    assert [as_bytes(record) for record in found] == sorted(map(as_bytes, records))


def test_a_line_is_that_of_format_1() -> None:
    """Pinned."""
    record = TableRecord("public", "orders\nKäse", TableKind.TABLE, 40, FINGERPRINT)
    objects = TableRecord("", "", TableKind.LARGE_OBJECTS, None, None, "permission denied")

    assert encode_tables([record, objects]) == (
        b'{"schema":"","table":"","kind":"large objects","rows":null,"fingerprint":null,"why":"permission denied"}\n'
        b'{"schema":"public","table":"orders\\nK\\u00e4se","kind":"table","rows":40,'
        b'"fingerprint":"9a71bb4c00112233445566778899aabb","why":null}\n'
    )


def test_fields_of_a_later_minor_are_ignored() -> None:
    """A line may grow."""
    assert list(decode_tables(line(bytes=8192), where="x")) == list(decode_tables(line(), where="x"))


@pytest.mark.parametrize("field", list(LINE))
def test_a_line_that_lacks_a_field_is_corrupt(field: str) -> None:
    """Nothing may be missing, null or not."""
    document = {name: value for name, value in LINE.items() if name != field}

    with pytest.raises(ObjectCorrupt, match="x"):
        list(decode_tables(json.dumps(document).encode(), where="x"))


@pytest.mark.parametrize("value", [None, True, 1.5, -1, [], {}, "", "view"])
@pytest.mark.parametrize("field", list(LINE))
def test_a_line_with_a_field_of_another_type_is_corrupt(field: str, value: object) -> None:
    """No field may be anything else than it is."""
    if (field in ("schema", "table", "why") and isinstance(value, str)) or (field == "why" and value is None):
        value = 7
    with pytest.raises(ObjectCorrupt):
        list(decode_tables(line(**{field: value}), where="x"))


@pytest.mark.parametrize(
    "fingerprint",
    [FINGERPRINT[:-1], FINGERPRINT + "0", FINGERPRINT.upper(), "0x" + FINGERPRINT[2:], "+" + FINGERPRINT[1:], "g" * 32],
)
def test_a_malformed_fingerprint_is_corrupt(fingerprint: str) -> None:
    """Two spellings of one value would not compare as equal."""
    with pytest.raises(ObjectCorrupt):
        list(decode_tables(line(fingerprint=fingerprint), where="x"))


@pytest.mark.parametrize("changes", [{"fingerprint": None}, {"fingerprint": None, "why": ""}, {"rows": None}])
def test_what_is_not_known_says_why(changes: dict[str, object]) -> None:
    """A table without a fingerprint and without a reason would be compared with nothing, in silence."""
    with pytest.raises(ObjectCorrupt):
        list(decode_tables(line(**changes), where="x"))


@pytest.mark.parametrize(
    "content", [b"{}\n", b"[]\n", b"7\n", b"not json\n", b"\n", line() + b"\n", b"[" * 5000, b"\xff"]
)
def test_junk_is_corrupt(content: bytes) -> None:
    """Whatever stands there."""
    with pytest.raises(ObjectCorrupt):
        list(decode_tables(content, where="x"))


def test_names_are_for_people() -> None:
    """Large objects have none."""
    assert TableRecord("public", "orders", TableKind.TABLE, 1, FINGERPRINT).name == "public.orders"
    assert TableRecord("", "", TableKind.LARGE_OBJECTS, 1, FINGERPRINT).name == "large objects"

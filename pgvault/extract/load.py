"""One table into another server: definition and rows under a new name, in one transaction, compared before it counts.

    scratch ──COPY──► target: BEGIN; is the name free? CREATE TABLE; COPY; indexes, keys; fingerprint; COMMIT

What exists is not touched: no lock is taken on any table but the new one, and when anything is not as it should be,
nothing is there. The new table belongs to the role that loads it, and to nobody else: what default privileges would
give away is taken back, since the rows may be those that row security hides in the table they come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from pgvault.errors import RecoveryFailed, Refused, ServerUnfit
from pgvault.extract.names import Name, Session, Source, find_relation
from pgvault.extract.twin import Twin
from pgvault.postgres.fingerprint import (
    TableFacts,
    TableName,
    are_comparable,
    ask,
    encoded,
    encoding_of,
    fingerprint_table,
    number,
    quote,
    said,
    text,
)

# What decides how values are written as text; on both sides.
TEXT_SETTINGS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A table that is there."""

    name: Name
    rows: int
    fingerprint: str | None  # None: `why`
    why: str | None


def load(scratch: Session, target: Session, twin: Twin) -> Loaded:
    """Make the table in the target. Raises Refused when the name is taken, ServerUnfit, RecoveryFailed.

    `scratch` and `target` are prepared as for fingerprints; both commit each statement.
    """
    source = twin.source
    expected = fingerprint_table(scratch, _table(source.oid, source.name), has_children=bool(source.below))
    encoding = encoding_of(scratch)
    try:
        ask(target, "SELECT set_config('default_transaction_read_only', 'off', false)")
        with target.transaction():
            require_free(target, twin.name)
            _make(target, twin.before)
            copied = _copy(scratch, target, source, twin.name, encoding=encoding.name)
            _place_sequences(target, twin)
            _make(target, twin.after)
            oid = _take_back(target, twin.name)
            found = fingerprint_table(target, _table(oid, twin.name))
            is_comparable = are_comparable(encoding, encoding_of(target))
            _require_same(twin.name, expected, found, copied=copied, is_comparable=is_comparable)
    except psycopg.Error as error:
        raise ServerUnfit(
            f"table '{twin.name}' can not be made: {said(error)}",
            hint="Nothing was changed. What it needs (types, functions, extensions, a schema) must be there before.",
        ) from error
    is_proven = is_comparable and expected.fingerprint is not None
    why = None if is_proven else expected.why or "the databases' encodings do not compare"
    return Loaded(twin.name, copied, expected.fingerprint if is_proven else None, why)


def _table(oid: int, name: Name) -> TableName:
    return TableName(oid, name.schema, name.table, 0)


def require_free(target: Session, name: Name) -> None:
    """Raise Refused when something in the target has that name."""
    if find_relation(target, name) is not None:
        raise Refused(f"'{name}' exists in the target, and is left alone", hint="Choose another name with --as.")


def _make(target: Session, statements: str) -> None:
    if statements:
        target.execute(encoded(statements))


def _copy(scratch: Session, target: Session, source: Source, name: Name, *, encoding: str) -> int:
    """Stream the rows; return how many came. No byte is held back but one block."""
    for session in (scratch, target):
        for setting, value in TEXT_SETTINGS.items():
            ask(session, f"SELECT set_config('{setting}', '{value}', false)")
        ask(session, f"SELECT set_config('client_encoding', '{encoding}', false)")
    columns = ", ".join(quote(column) for column in source.columns)
    out, into = scratch.cursor(), target.cursor()
    reading = encoded(f"COPY (SELECT {columns} FROM {source.name.quoted}) TO STDOUT")
    writing = encoded(f"COPY {name.quoted} ({columns}) FROM STDIN")
    with out.copy(reading) as rows, into.copy(writing) as sink:
        for block in rows:
            sink.write(block)
    return into.rowcount


def _place_sequences(target: Session, twin: Twin) -> None:
    for column, value, is_called in twin.positions:
        target.execute(
            b"SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence(%s, %s), %s, %s)",
            [twin.name.quoted, column, value, is_called],
        )


def _take_back(target: Session, name: Name) -> int:
    """Revoke what default privileges gave to others; return the table's oid."""
    ((oid,),) = target.execute(b"SELECT %s::regclass::oid::bigint", [name.quoted]).fetchall()
    grantees = ask(
        target,
        "SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
        f" FROM pg_catalog.pg_class c, aclexplode(c.relacl) a WHERE c.oid = {number(oid)} AND a.grantee <> c.relowner",
    )
    for (grantee,) in grantees:
        target.execute(encoded(f"REVOKE ALL ON {name.quoted} FROM {text(grantee)}"))
    return number(oid)


def _require_same(name: Name, expected: TableFacts, found: TableFacts, *, copied: int, is_comparable: bool) -> None:
    """Raise RecoveryFailed, which rolls back, unless the rows are those of the scratch."""
    if found.rows != expected.rows or copied != expected.rows:
        raise RecoveryFailed(
            f"table '{name}' would have {found.rows} rows, the one it comes from has {expected.rows}",
            hint="Nothing was changed.",
        )
    if is_comparable and None not in (expected.fingerprint, found.fingerprint) and expected != found:
        raise RecoveryFailed(
            f"the {found.rows} rows of '{name}' are not those of the table it comes from", hint="Nothing was changed."
        )

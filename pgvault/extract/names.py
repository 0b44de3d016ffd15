"""Which table, and what the restored one is to be called; the servers themselves read names, quotes and all."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from pgvault.errors import ObjectMissing, UsageError
from pgvault.postgres.fingerprint import ask, encoded, number, quote, text

SUFFIX = "_restored"
NAME_BYTES = 63  # NAMEDATALEN - 1
KINDS = {"r": "table", "p": "partitioned table", "m": "materialized view"}

Session = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Name:
    """A table's name, as it is."""

    schema: str
    table: str

    @property
    def quoted(self) -> str:
        """As SQL names it."""
        return f"{quote(self.schema)}.{quote(self.table)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class Source:
    """A table of the scratch server."""

    oid: int
    name: Name
    kind: str  # pg_class.relkind
    below: tuple[Name, ...]  # tables whose rows are read with its own: partitions, and those that inherit
    columns: tuple[str, ...]  # with values of their own, in order: no generated ones


def read_name(session: Session, given: str, *, schema: str) -> Name:
    """Read a name as SQL does: `orders`, `public.orders`, `"Odd"."name"`. Raises UsageError."""
    try:
        ((parts,),) = session.execute(b"SELECT parse_ident(%s)", [given]).fetchall()
    except psycopg.Error as error:
        raise UsageError(
            f"{given!r} is no name of a table", hint='As in SQL: public.orders, or "Odd"."Name".'
        ) from error
    words = [text(part) for part in parts]  # type: ignore[attr-defined]  # an array
    if len(words) > 2 or not all(words):
        raise UsageError(f"{given!r} is no name of a table", hint="Write schema.table; --database says where.")
    found = Name(*words) if len(words) == 2 else Name(schema, words[0])
    if len(encoded(found.table)) > NAME_BYTES:
        raise UsageError(f"the name {found.table!r} is longer than the {NAME_BYTES} bytes that PostgreSQL keeps")
    return found


def find_relation(session: Session, name: Name) -> tuple[int, str] | None:
    """Return (oid, pg_class.relkind) of whatever has that name, be it a table or not; None where nothing has."""
    query = (
        b"SELECT c.oid::bigint, c.relkind::text FROM pg_catalog.pg_class c"
        b" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
    )
    found = session.execute(query, [name.schema, name.table]).fetchone()
    return None if found is None else (number(found[0]), text(found[1]))


def find_source(session: Session, given: str) -> Source:
    """Return the table of that name. Raises UsageError, ObjectMissing when there is none that has rows."""
    name = read_name(session, given, schema="public")
    found = find_relation(session, name)
    if found is None:
        raise ObjectMissing(
            f"there is no table '{name}' at that moment", hint="Was it made later, or is it in another --database?"
        )
    oid, kind = found
    if kind not in KINDS:
        raise UsageError(
            f"'{name}' is no table whose rows can be extracted", hint="Views and foreign tables have none."
        )
    children = ask(
        session,
        "WITH RECURSIVE below (oid) AS ("
        f"SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = {oid}"
        " UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN below ON below.oid = i.inhparent)"
        " SELECT n.nspname::text, c.relname::text FROM below JOIN pg_catalog.pg_class c USING (oid)"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2",
    )
    columns = ask(
        session,
        f"SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
    )
    below = tuple(Name(text(schema), text(table)) for schema, table in children)
    return Source(oid, name, kind, below, tuple(text(column) for (column,) in columns))


def default_name(source: Name) -> Name:
    """Return what a restored table is called where nobody says."""
    room = NAME_BYTES - len(SUFFIX)
    cut = encoded(source.table)[:room].decode("utf-8", "ignore")
    return Name(source.schema, f"{cut}{SUFFIX}")

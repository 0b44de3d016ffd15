"""The restored table under its new name: its definition, without anything that would touch what is there.

In the scratch server, which is thrown away, an empty twin is made of the table (LIKE … INCLUDING ALL: columns,
defaults, checks, identity, indexes, keys, statistics, comments), and pg_dump writes that down. What a twin leaves out
is said: it has no foreign keys (making one locks the table it points to), no triggers and rules, no row security
policies, no grants, no partitions; and no default that takes numbers from a sequence which belongs to somebody else.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pgvault.extract.names import Name, Session, Source, find_relation
from pgvault.postgres.fingerprint import ask, encoded, number, quote, text
from pgvault.postgres.instance import SERVER_ENVIRONMENT, Instance
from pgvault.process import run

DUMP_SECONDS = 600.0
OPTIONS = (
    "--schema-only",
    "--no-owner",
    "--no-privileges",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-publications",
    "--no-subscriptions",
    "--no-password",
)
FIRST_ENTRY = re.compile(r"^--\n-- Name: ", re.MULTILINE)
# Since 2025 pg_dump ends with a command of psql's.
LAST_COMMAND = re.compile(r"\n\\unrestrict [^\n]*\n\s*\Z")

LEFT_OUT = """
SELECT 'foreign keys', count(*) FROM pg_catalog.pg_constraint WHERE conrelid = {oid} AND contype = 'f'
UNION ALL SELECT 'triggers', count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = {oid} AND NOT tgisinternal
UNION ALL SELECT 'rules', count(*) FROM pg_catalog.pg_rewrite WHERE ev_class = {oid} AND rulename <> '_RETURN'
UNION ALL SELECT 'row security policies', count(*) FROM pg_catalog.pg_policy WHERE polrelid = {oid}
"""
# Of the twin: defaults that need a sequence which is not its own.
BORROWED = """
SELECT DISTINCT a.attname::text FROM pg_catalog.pg_attrdef f
  JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
  JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
 WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND f.adrelid = {oid}
"""
IDENTITIES = b"""
SELECT a.attname::text, pg_catalog.pg_get_serial_sequence(%s, a.attname::text) FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = %s AND a.attidentity <> '' AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class Twin:
    """How to make the table anew."""

    source: Source  # where its rows are, in the scratch
    name: Name
    before: str  # statements, without rows
    after: str  # indexes and keys, once the rows are in
    positions: tuple[tuple[str, int, bool], ...]  # column with identity, its sequence's value, and whether it was used
    notes: tuple[str, ...]


def make_twin(session: Session, instance: Instance, dsn: str, *, source: Source, name: Name) -> Twin:
    """Make an empty twin of `source` in the scratch, and return what makes it elsewhere.

    The session is a superuser's, of the scratch alone, and no trigger of the cluster fires in it. `dsn` leads to the
    same database.
    """
    session.execute(b"SET session_replication_role = replica")  # event triggers of the cluster stay silent
    session.execute(encoded(f"CREATE SCHEMA IF NOT EXISTS {quote(name.schema)}"))
    source = _make_way(session, source, name)
    session.execute(encoded(f"CREATE TABLE {name.quoted} (LIKE {source.name.quoted} INCLUDING ALL)"))
    ((comment,),) = ask(session, f"SELECT quote_literal(obj_description({source.oid}, 'pg_class'))")
    if comment is not None:
        session.execute(encoded(f"COMMENT ON TABLE {name.quoted} IS {text(comment)}"))
    made = find_relation(session, name)
    assert made is not None
    borrowed = [text(column) for (column,) in ask(session, BORROWED.format(oid=made[0]))]
    for column in borrowed:
        session.execute(encoded(f"ALTER TABLE {name.quoted} ALTER {quote(column)} DROP DEFAULT"))
    positions = tuple(_positions(session, source))
    before, after = (_dump(instance, dsn, name, section=section) for section in ("pre-data", "post-data"))
    return Twin(source, name, before, after, positions, tuple(_notes(session, source, borrowed)))


def _make_way(session: Session, source: Source, name: Name) -> Source:
    """Free the name in the scratch; return the table where it is then."""
    if find_relation(session, name) is None:
        return source
    aside = f"pgvault_{secrets.token_hex(8)}"
    if name != source.name:
        session.execute(encoded(f"ALTER TABLE {name.quoted} RENAME TO {quote(aside)}"))
        return source
    session.execute(encoded(f"CREATE SCHEMA {quote(aside)}"))
    session.execute(encoded(f"ALTER TABLE {name.quoted} SET SCHEMA {quote(aside)}"))
    return replace(source, name=Name(aside, name.table))


def _positions(session: Session, source: Source) -> Iterator[tuple[str, int, bool]]:
    for column, sequence in session.execute(IDENTITIES, [source.name.quoted, source.oid]).fetchall():
        ((value, is_called),) = ask(session, f"SELECT last_value, is_called FROM {text(sequence)}")
        yield text(column), number(value), bool(is_called)


def _dump(instance: Instance, dsn: str, name: Name, *, section: str) -> str:
    """Return what pg_dump writes of one section, without its header: who runs it has settings of his own."""
    argv: list[str | Path] = [instance.programs.path("pg_dump"), f"--section={section}", *OPTIONS]
    argv += [f"--table={name.quoted}", f"--dbname={dsn}"]
    command = instance.launcher.command(argv, env=SERVER_ENVIRONMENT)
    written = run(command.argv, timeout=DUMP_SECONDS, env=command.env)
    first = FIRST_ENTRY.search(written)
    return "" if first is None else LAST_COMMAND.sub("\n", written[first.start() :])


def _notes(session: Session, source: Source, borrowed: list[str]) -> Iterator[str]:
    if source.below:
        yield f"it is one table now: the rows of its {len(source.below)} partitions or heirs are in it"
    for what, count in ask(session, LEFT_OUT.format(oid=source.oid)):
        if number(count):
            yield f"left out: {number(count)} {text(what)}"
    for column in borrowed:
        yield f"column {column!r} has no default: it took numbers from a sequence that the existing table may use"

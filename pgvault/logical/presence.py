"""Which objects of a dump does a database have already? Asked of its catalog before anything is done there.

Compared are relations, types, functions, schemas, large objects (by oid) and whatever else has a name of its own;
constraints, triggers, defaults and the like come and go with their table. Of casts, operators and transforms nothing is
asked: CREATE says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pgvault.errors import Refused
from pgvault.logical.select import BELONGING, described
from pgvault.logical.target import Session, numbers
from pgvault.postgres.fingerprint import ask, text
from pgvault.postgres.toc import TocEntry

NAMED_MAX = 5

Key = tuple[str, str]  # schema, or empty; name


def in_schema(catalog: str, prefix: str, name: str | None = None) -> str:
    """Return a query for schema and name of what a catalog holds and users made."""
    name = name or f"{prefix}name::text"
    return (
        f"SELECT n.nspname::text, {name} FROM pg_catalog.{catalog} AS o"
        f" JOIN pg_catalog.pg_namespace AS n ON n.oid = o.{prefix}namespace"
        " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )


def _alone(catalog: str, name: str) -> str:
    return f"SELECT '', {name}::text FROM pg_catalog.{catalog}"


# oidvectortypes writes types as pg_dump does, when the search path is empty.
SIGNATURE = "proname || '(' || oidvectortypes(proargtypes) || ')'"
AGGREGATE = f"CASE WHEN prokind = 'a' AND pronargs = 0 THEN proname || '(*)' ELSE {SIGNATURE} END"
RELATIONS = in_schema("pg_class", "rel")
TYPES = in_schema("pg_type", "typ")
ROUTINES = in_schema("pg_proc", "pro", AGGREGATE)

QUERIES: Mapping[str, str] = {
    "TABLE": RELATIONS,
    "VIEW": RELATIONS,
    "MATERIALIZED VIEW": RELATIONS,
    "FOREIGN TABLE": RELATIONS,
    "SEQUENCE": RELATIONS,
    "INDEX": RELATIONS,
    "TYPE": TYPES,
    "SHELL TYPE": TYPES,
    "DOMAIN": TYPES,
    "FUNCTION": ROUTINES,
    "PROCEDURE": ROUTINES,
    "AGGREGATE": ROUTINES,
    "COLLATION": in_schema("pg_collation", "coll"),
    "CONVERSION": in_schema("pg_conversion", "con"),
    "STATISTICS": in_schema("pg_statistic_ext", "stx"),
    "OPERATOR CLASS": in_schema("pg_opclass", "opc"),
    "OPERATOR FAMILY": in_schema("pg_opfamily", "opf"),
    "TEXT SEARCH CONFIGURATION": in_schema("pg_ts_config", "cfg"),
    "TEXT SEARCH DICTIONARY": in_schema("pg_ts_dict", "dict"),
    "TEXT SEARCH PARSER": in_schema("pg_ts_parser", "prs"),
    "TEXT SEARCH TEMPLATE": in_schema("pg_ts_template", "tmpl"),
    "SCHEMA": _alone("pg_namespace", "nspname"),
    "EXTENSION": _alone("pg_extension", "extname"),
    "ACCESS METHOD": _alone("pg_am", "amname"),
    "PROCEDURAL LANGUAGE": _alone("pg_language", "lanname"),
    "EVENT TRIGGER": _alone("pg_event_trigger", "evtname"),
    "PUBLICATION": _alone("pg_publication", "pubname"),
    "SUBSCRIPTION": (
        "SELECT '', subname::text FROM pg_catalog.pg_subscription"
        " WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    ),
    "FOREIGN DATA WRAPPER": _alone("pg_foreign_data_wrapper", "fdwname"),
    "SERVER": _alone("pg_foreign_server", "srvname"),
}
LARGE_OBJECTS = ("BLOB", "BLOB METADATA")


@dataclass(frozen=True, slots=True)
class Present:
    """What a database has."""

    entries: frozenset[int]  # dump ids of what is there under the same name
    large_objects: frozenset[int]  # their oids, all of them


def look(session: Session, entries: Iterable[TocEntry]) -> Present:
    """Return which of `entries` are there. Each catalog is read once."""
    found: dict[str, frozenset[Key]] = {}
    present: set[int] = set()
    oids = numbers(session, "SELECT oid::bigint FROM pg_catalog.pg_largeobject_metadata")
    for entry in entries:
        if entry.kind in LARGE_OBJECTS:
            if oids and oids & set(large_objects(entry)):
                present.add(entry.dump_id)
        elif entry.kind in QUERIES:
            query = QUERIES[entry.kind]
            if query not in found:
                found[query] = frozenset((text(schema), text(name)) for schema, name in ask(session, query))
            if (entry.schema or "", entry.tag) in found[query]:
                present.add(entry.dump_id)
    return Present(frozenset(present), oids)


def large_objects(entry: TocEntry) -> list[int]:
    """The oids that an entry stands for: one before PostgreSQL 17, a list since."""
    if entry.kind == "BLOB":
        return [int(entry.tag)]
    return [int(word) for line in entry.definition.splitlines() for word in line.split()[:1] if word.isdigit()]


def refuse_present(entries: Iterable[TocEntry], present: Present, *, database: str) -> None:
    """Raise Refused when something that would be made is there. Schema public and extensions may be."""
    there = [entry for entry in entries if entry.dump_id in present.entries and not _may_be_there(entry)]
    if not there:
        return
    first = ", ".join(described(entry) for entry in there[:NAMED_MAX])
    more = f" and {len(there) - NAMED_MAX} more" if len(there) > NAMED_MAX else ""
    raise Refused(
        f"database {database!r} has already: {first}{more}",
        hint="Nothing was done. Restore into another database, or say --clean to drop them first.",
    )


def drop_statements(entries: Iterable[TocEntry], present: Present, *, keeps: Callable[[TocEntry], bool]) -> list[str]:
    """Return what removes those of `entries` that are there, dependents first, as `pg_restore --clean` does."""
    everything = list(entries)
    statements = []
    for entry in reversed(everything):
        if entry.kind in LARGE_OBJECTS:
            doomed = sorted(set(large_objects(entry)) & present.large_objects)
            statements += [f"SELECT pg_catalog.lo_unlink({oid})" for oid in doomed]
        elif entry.drop and not keeps(entry) and _stands_on_present(entry, present):
            statements.append(_if_exists(entry))
    return statements


def _stands_on_present(entry: TocEntry, present: Present) -> bool:
    """Whether an entry is there and has to be dropped by itself.

    Most of what belongs to a table goes with it, and a partition's constraint can not even be dropped alone. But keys
    lead to tables, defaults to sequences, and a view that is part of a circle has to be emptied first.
    """
    breaks_circle = entry.kind in ("DEFAULT", "FK CONSTRAINT") or entry.drop.startswith("CREATE OR REPLACE VIEW")
    if entry.kind in BELONGING and not breaks_circle:
        return False
    if entry.kind in QUERIES:
        return entry.dump_id in present.entries
    return not entry.needs or bool(set(entry.needs) & present.entries)


def _if_exists(entry: TocEntry) -> str:
    statement = entry.drop.strip().removesuffix(";")
    if statement.startswith("ALTER TABLE"):
        statement = "ALTER TABLE IF EXISTS" + statement.removeprefix("ALTER TABLE")
    mark = "DROP CONSTRAINT" if entry.kind.endswith("CONSTRAINT") else f"DROP {entry.kind}"
    if entry.kind == "DEFAULT" or mark not in statement:
        return statement
    return statement.replace(mark, f"{mark} IF EXISTS", 1)


def _may_be_there(entry: TocEntry) -> bool:
    return entry.kind == "EXTENSION" or (entry.kind == "SCHEMA" and entry.tag == "public")

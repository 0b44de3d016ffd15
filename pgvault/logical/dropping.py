"""Drop what is in the way of a restore, and nothing that the backup does not bring back.

DROP takes more than it names: with a partitioned table go its partitions, those too that are newer than the backup, and
a base type can be dropped only with CASCADE. So everything that has a name is listed before and after, in the one
transaction that drops: when something is gone that will not be made again, all of it is taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

import psycopg

from pgvault.errors import Refused
from pgvault.logical.presence import ROUTINES, Key, in_schema
from pgvault.logical.target import Session
from pgvault.postgres.fingerprint import ask, encoded, said, text

# Whoever waits for a table lets everybody else wait behind: production may run on that server.
LOCK_TIMEOUT = timedelta(seconds=10)
HOLDING = "('r', 'p', 'v', 'm', 'f', 'c')"  # relkind: no indexes and sequences, which are their tables'
RELATIONS = in_schema("pg_class", "rel") + f" AND o.relkind IN {HOLDING}"
TYPES = (
    in_schema("pg_type", "typ")
    + " AND o.typtype IN ('b', 'd', 'e', 'r')"
    + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS e WHERE e.typarray = o.oid)"
)
FUNCTIONS = (  # without those that a range type brings along
    ROUTINES
    + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.objid = o.oid"
    + " AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'i')"
)
COLUMNS = (
    in_schema("pg_class", "rel", "o.relname::text, a.attname::text").replace(
        " WHERE ", " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = o.oid WHERE ", 1
    )
    + f" AND o.relkind IN {HOLDING} AND a.attnum > 0 AND NOT a.attisdropped"
)


def drop(session: Session, statements: Iterable[str], *, made_again: Collection[Key], database: str) -> None:
    """Run `statements`, all or none. Raises Refused when they take something else along, or can not be run."""
    try:
        with session.transaction():
            session.execute(encoded(f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT.total_seconds() * 1000)}"))
            before = _Named(session)
            for statement in statements:
                session.execute(encoded(statement))
            if lost := _Named(session).missing(before, made_again):
                raise Refused(
                    f"to drop what is in the way in database {database!r} would drop {lost[0]}, which the backup"
                    " does not bring back",
                    hint="Nothing was dropped. Move it away, restore into another database, or drop by hand.",
                )
    except psycopg.errors.DependentObjectsStillExist as error:
        raise Refused(
            f"what is in the way in database {database!r} can not be dropped: {said(error)}",
            hint=f"Nothing was dropped. {error.diag.message_detail or ''}".strip(),
        ) from error
    except psycopg.errors.LockNotAvailable as error:
        raise Refused(
            f"what is in the way in database {database!r} is in use: {said(error)}",
            hint=f"Nothing was dropped. It was waited for {LOCK_TIMEOUT.total_seconds():g} s.",
        ) from error


class _Named:
    """What a database has, by name."""

    def __init__(self, session: Session) -> None:
        self._kinds = {
            kind: {(text(schema), text(name)) for schema, name in ask(session, query)}
            for kind, query in (("table or view", RELATIONS), ("type", TYPES), ("function", FUNCTIONS))
        }
        self._columns = {tuple(map(text, row)) for row in ask(session, COLUMNS)}

    def missing(self, before: _Named, made_again: Collection[Key]) -> list[str]:
        """Say what was there before and is not now, but for what is made again."""
        lost = [
            f"{kind} {schema}.{name}"
            for kind, found in before._kinds.items()
            for schema, name in sorted(found - self._kinds[kind] - set(made_again))
        ]
        here = set().union(*self._kinds.values())
        columns = sorted(each for each in before._columns - self._columns if (each[0], each[1]) in here)
        return lost + [f"column {'.'.join(each)}" for each in columns]

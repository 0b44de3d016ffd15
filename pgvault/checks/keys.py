"""Which columns of a result tell a row by its key: of a restored row nothing else leaves the scratch."""

from __future__ import annotations

from collections.abc import Sequence

from pgvault.checks.session import Session

# Primary keys first. Not those over some rows alone or over expressions: they tell no row by its columns.
KEYS = """
SELECT indrelid::bigint, indisprimary, (indkey::int2[])[0:indnkeyatts - 1]::int[] FROM pg_catalog.pg_index
WHERE indrelid = ANY (%s::oid[]) AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
ORDER BY indisprimary DESC, indexrelid
"""


def key_columns(session: Session, origins: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the positions of those columns of a result that belong to the key of their table.

    That is the primary key; for a table without one, the first unique index that has a column in the result.
    `origins` are each column's table and its number there, as the server traces them: none for what is computed, and
    a view's for what comes through a view.
    """
    tables = sorted({table for table, _ in origins if table})
    if not tables:
        return ()
    chosen: dict[int, frozenset[int]] = {}
    for table, is_primary, columns in session.execute(KEYS, [tables]).fetchall():
        numbers = frozenset(columns)
        if table not in chosen and (
            is_primary or any(origin == (table, each) for each in numbers for origin in origins)
        ):
            chosen[table] = numbers
    return tuple(at for at, (table, number) in enumerate(origins) if number in chosen.get(table, ()))

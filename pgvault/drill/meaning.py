"""What queries mean by their words in a restored server: as in production, where the cluster's configuration says it.

A drill starts with generated settings. Yet a `timestamp` without a zone is compared with `:as_of` by TimeZone,
'01/02/2026' is read by DateStyle, and `orders` is looked for along search_path. What was set for a database or a role
lies in the catalog, came with the restore, and wins as it does there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg
from psycopg import sql

from pgvault.postgres.fingerprint import said
from pgvault.postgres.server import SESSION_SETTINGS
from pgvault.repository.manifest import Manifest

LISTS = frozenset({"search_path"})  # of names, each quoted where it has to be
NAME = re.compile(r'"(?:[^"]|"")*"|[^,"]+')
RELOAD = "SELECT pg_catalog.pg_reload_conf()"


def wanted_settings(manifest: Manifest) -> Mapping[str, str]:
    """Return what the cluster's configuration said; older backups know the time zone alone."""
    known = {name: value for name, value in manifest.postgres.settings.items() if name in SESSION_SETTINGS}
    return {"TimeZone": manifest.time_zone, **known}


def adopt_meaning(dsn: str, settings: Mapping[str, str]) -> list[str]:
    """Let new sessions of a restored server have these settings; returns what it would not take.

    Not at its start: a time zone that this host does not know would keep it from starting. Raises psycopg.Error when
    the server is gone.
    """
    left = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, value in settings.items():
            try:
                connection.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), _value(name, value))
                )
            except psycopg.Error as error:
                if connection.closed:
                    raise
                left.append(f"the checks run without production's {name} {value!r}: {said(error)}")
        connection.execute(RELOAD)
    return left


def _value(name: str, value: str) -> sql.Composable:
    if name not in LISTS:
        return sql.Literal(value)
    return sql.SQL(", ").join(sql.Literal(part) for part in split_names(value)) if value else sql.Literal("")


def split_names(text: str) -> list[str]:
    """Return the names of a list such as `"$user", public`, as the server reads them."""
    found = (match[0] for match in NAME.finditer(text))
    names = (each[1:-1].replace('""', '"') if each.startswith('"') else each.strip().lower() for each in found)
    return [name for name in names if name]

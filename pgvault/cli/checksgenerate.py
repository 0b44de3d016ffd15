"""`pgvault checks generate`: the constraints of the live server as checks to be edited."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import psycopg
import typer

from pgvault.checks.generate import Document, as_yaml, generate
from pgvault.cli import render
from pgvault.cli.options import ClusterOption, ConfigOption, source_of
from pgvault.config import ClusterConfig
from pgvault.errors import ServerUnfit
from pgvault.postgres.fingerprint import open_session, said

LOCK_TIMEOUT = timedelta(seconds=5)
STATEMENT_TIMEOUT = timedelta(minutes=5)


def generate_checks(
    ctx: typer.Context,
    live: Annotated[
        bool, typer.Option("--live", help="Of the live server: that is where they are read, also without this.")
    ] = True,
    database: Annotated[
        list[str] | None,
        typer.Option("--database", "-d", help="Only this one; can be said again. Else the one that the dsn names."),
    ] = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Print every foreign key, unique, not-null and check constraint as a check, in YAML for `checks:`.

    Reads the catalog only, on `checks_dsn` where that is set, else on `dsn`. A drill asks all constraints by itself;
    these are to be edited, and to be run on the live server.

    Example: pgvault checks generate --database shop > checks.yaml
    """
    del live  # there is no other place to read them from; who says it for `checks run` may say it here
    _, chosen = source_of(ctx, config).load().cluster(cluster)
    documents: list[Document] = []
    untested: list[str] = []
    databases: list[str | None] = [*(database or (None,))]
    for name in databases:
        found, without = _generate(chosen, name)
        documents += found
        untested += without
    render.write_lines(as_yaml(documents, untested).splitlines())


def _generate(chosen: ClusterConfig, database: str | None) -> tuple[list[Document], tuple[str, ...]]:
    dsn, secret = chosen.dsn, chosen.password
    if chosen.checks_dsn is not None:
        dsn, secret = chosen.checks_dsn, chosen.checks_password
    password = None if secret is None else secret.read().decode()
    with open_session(
        dsn, password, database=database, lock_timeout=LOCK_TIMEOUT, statement_timeout=STATEMENT_TIMEOUT
    ) as session:
        try:
            return generate(session, database or session.info.dbname)
        except psycopg.Error as error:
            raise ServerUnfit(f"the catalog could not be read: {said(error)}") from error

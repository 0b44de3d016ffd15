"""`pgvault checks`: what can be asked of live servers; two of them compared."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import psycopg
import typer
from psycopg import conninfo

from pgvault.cli import checksgenerate, livechecks, render
from pgvault.cli.options import ConfigOption, JsonOption, global_config
from pgvault.config import ClusterConfig, Config, find_config, load_config
from pgvault.errors import ConfigInvalid
from pgvault.instants import parse_duration
from pgvault.logical.compare import CompareOrder, Comparison, Relation, Server, compare_servers

checks = typer.Typer(
    name="checks",
    no_args_is_help=True,
    help="Ask live servers whether they hold what they should.\n\nExample: pgvault checks run --live",
)

ServerArgument = Annotated[str, typer.Argument(help="A configured cluster's name, or a dsn.", show_default=False)]
DatabasesOption = Annotated[
    list[str] | None,
    typer.Option("--database", help="Only this one; can be said again. Else that of a dsn which names one, or all."),
]


checks.command()(livechecks.run)
checks.command(name="list")(livechecks.list_checks)
checks.command()(livechecks.show)
checks.command(name="generate")(checksgenerate.generate_checks)


@checks.command()
def compare(
    ctx: typer.Context,
    first: ServerArgument,
    second: ServerArgument,
    config: ConfigOption = None,
    database: DatabasesOption = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Sessions with each server.")] = 2,
    lock_timeout: Annotated[str, typer.Option("--lock-timeout", help="How long to wait for a locked table.")] = "5s",
    statement_timeout: Annotated[
        str | None, typer.Option("--statement-timeout", help="How long one query may take; no limit unless said.")
    ] = None,
    wait: Annotated[str, typer.Option("--wait", help="How long a replica may take to follow.")] = "60s",
    as_json: JsonOption = False,
) -> None:
    """Compare the rows of two live servers: a primary and its replica, or a cluster and a copy of it.

    Reads only, and locks nothing that a query does not lock. Exit 0: equal. 37: something differs for certain.
    21: something could not be compared, or changes too fast.

    Example: pgvault checks compare main "host=replica.internal user=pgvault"
    """
    servers = [_server(ctx, config, each) for each in (first, second)]
    order = CompareOrder(
        _databases(database, (first, second)),
        jobs,
        parse_duration(lock_timeout),
        timedelta(0) if statement_timeout is None else parse_duration(statement_timeout),
        parse_duration(wait),
    )
    with render.showing_progress() as progress:
        comparison = compare_servers(servers[0], servers[1], order, progress=progress)
    if as_json:
        render.write_json(_document(comparison))
    else:
        render.write_lines(_lines(comparison))
    comparison.require_equal()


def _is_dsn(given: str) -> bool:
    return "=" in given or re.match(r"postgres(ql)?://", given) is not None


def _server(ctx: typer.Context, config: ConfigOption, given: str) -> Server:
    """Return the server that an argument names. Raises PlainSecret for a dsn with a password: argv is public."""
    if _is_dsn(given):
        return Server(_public_name(ClusterConfig(dsn=given).dsn), given)
    loaded: Config = load_config(find_config(config or global_config(ctx)))
    name, cluster = loaded.cluster(given)
    password = None if cluster.password is None else cluster.password.read().decode()
    return Server(name, cluster.dsn, password)


def _public_name(dsn: str) -> str:
    parts = _parts(dsn)
    return " ".join(f"{name}={parts[name]}" for name in ("host", "hostaddr", "port", "service") if name in parts) or dsn


def _databases(named: list[str] | None, given: tuple[str, str]) -> tuple[str, ...]:
    """Return the databases that were named, with --database or in a dsn."""
    if named:
        return tuple(named)
    names = [_parts(each).get("dbname") for each in given if _is_dsn(each)]
    return tuple(dict.fromkeys(name for name in names if name))


def _parts(dsn: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    except psycopg.Error:
        # Its message quotes the text, which may hold a secret.
        raise ConfigInvalid("the dsn is neither 'key=value …' nor a postgresql:// address") from None


def _lines(comparison: Comparison) -> list[str]:
    what = "primary and replica" if comparison.relation is Relation.REPLICA else "two servers"
    databases = "1 database" if len(comparison.databases) == 1 else f"{len(comparison.databases)} databases"
    passed = f", {comparison.unlogged_count} unlogged tables passed over" if comparison.unlogged_count else ""
    told = f"{len(comparison.deviations)} not equal" if comparison.deviations else "all equal"
    return [
        *(render.printable(str(deviation)) for deviation in comparison.deviations),
        f"compared {what}: {databases}, {comparison.table_count} tables, {comparison.row_count} rows{passed}: {told}",
    ]


def _document(comparison: Comparison) -> dict[str, object]:
    return {
        "relation": str(comparison.relation),
        "equal": not comparison.deviations and comparison.table_count > 0,
        "databases": comparison.databases,
        "tables": comparison.table_count,
        "rows": comparison.row_count,
        "unlogged_tables": comparison.unlogged_count,
        "deviations": [
            {
                "database": deviation.database,
                "table": deviation.table or None,
                "verdict": str(deviation.verdict),
                "why": deviation.why,
            }
            for deviation in comparison.deviations
        ],
    }

"""`pgvault checks run`, `list` and `show`: the configured checks on the live server, and what they found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict

from pgvault.checks.live import LiveRun, chosen_checks, make_run, run_live, with_password
from pgvault.checks.result import NOT_BLOCKING
from pgvault.cli import render
from pgvault.cli.alert import tell_run
from pgvault.cli.alone import alone_here
from pgvault.cli.auditing import Book, recording
from pgvault.cli.opening import open_from
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.reading import open_cluster_to_read
from pgvault.config import AnyCheck, ClusterConfig, Config
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.repository import layout
from pgvault.repository.checkruns import put_run, read_run, read_runs
from pgvault.repository.repository import Repository

RUNS_MAX = 1000


def run(
    ctx: typer.Context,
    live: Annotated[
        bool, typer.Option("--live", help="On the live server. (A drill runs them in restored data.)")
    ] = False,
    check: Annotated[
        list[str] | None, typer.Option("--check", metavar="NAME", help="Only this one; can be said again.")
    ] = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the configured checks on the live server: on `checks_dsn`, better a replica, else on `dsn`.

    Reads only, over one connection at a time, and waits for no lock for longer than 5 s. The results are kept in the
    repository. Exit 0: all passed. 53: one failed. 21: one could not be proven, for a lock or the like.

    Example: pgvault checks run --live --check orphaned_orders
    """
    if not live:
        raise UsageError("checks are run where?", hint="Say --live, or run `pgvault drill`: it runs them, too.")
    loaded = source_of(ctx, config).load()
    name, chosen = loaded.cluster(cluster)
    checks = chosen_checks(chosen.checks, check or ())
    with alone_here("run of these checks", loaded.repository.copies, name, check or ()):
        found = _run(name, chosen, checks)
    repository = _store(loaded, found)
    if as_json:
        render.write_json(found.to_json())
    elif render.is_success_shown() or any(each["verdict"] != "passed" for each in found.to_json()["results"]):
        write_run(found.to_json())
    tell_run(loaded, found, repository)
    found.require_passed()
    if isinstance(repository, PgvaultError):
        raise repository


def list_checks(
    ctx: typer.Context,
    results: Annotated[
        bool, typer.Option("--results", help="What they found on the live server, newest first.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=RUNS_MAX, help="With --results: how many runs.")] = 20,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the configured checks, or with --results the last runs of them on the live server.

    Example: pgvault checks list --results
    """
    source = source_of(ctx, config)
    if results:
        opened = open_cluster_to_read(source, cluster)
        runs = list(read_runs(opened.repository, opened.name, limit=limit))
        if as_json:
            render.write_json({"cluster": opened.name, "runs": runs})
        else:
            _write_runs(opened.name, runs)
        return
    name, chosen = source.load().cluster(cluster)
    if as_json:
        documents = [check.model_dump(mode="json", exclude_none=True) for check in chosen.checks]
        render.write_json({"cluster": name, "checks": documents})
    else:
        _write_checks(name, chosen.checks)


def show(
    ctx: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="ID", help="The run, as `checks list --results` prints it.")],
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what one run of checks on the live server found.

    Example: pgvault checks show 20260117T050000Z-9c41
    """
    opened = open_cluster_to_read(source_of(ctx, config), cluster)
    document = read_run(opened.repository, opened.name, run_id)
    if as_json:
        render.write_json(document)
    else:
        write_run(document)


def write_run(document: Mapping[str, Any]) -> None:
    """Write the document of one run for people."""
    rows, samples = [], []
    for result in document["results"]:
        found, took = render.printable(result["detail"]), render.duration(result["seconds"])
        word = render.mark(result["verdict"], is_blocking=result["severity"] not in NOT_BLOCKING)
        rows.append((word, result["name"], result["severity"], found, took))
        samples += [f"{result['name']}: {render.printable(row)}" for row in result["sample"]]
    title = f"checks {document['id']} of cluster {document['cluster']}"
    render.write_table(title, ("", "check", "severity", "found", "took"), rows)
    notes = [f"note: {note}" for note in document["notes"]]
    render.write_lines([*samples, *notes, "PASSED" if document["passed"] else "NOT PASSED"])


def _run(name: str, chosen: ClusterConfig, checks: Sequence[AnyCheck]) -> LiveRun:
    """Run checks of a cluster, and tell which server was asked."""
    where, secret = chosen.dsn, chosen.password
    if chosen.checks_dsn is not None:
        where, secret = chosen.checks_dsn, chosen.checks_password
    dsn = with_password(where, None if secret is None else secret.read().decode())
    clock = SystemClock()
    found = make_run(layout.make_label(clock.now(), os.urandom(2)), name, dsn, clock=clock)
    found.notes.append(f"asked {found.server}")
    with render.showing_progress() as progress:
        run_live(found, dsn, checks, progress=progress, database=_database_of(where) or _database_of(chosen.dsn))
    return found


def _store(loaded: Config, found: LiveRun) -> Repository | PgvaultError:
    """Keep what was found; where that fails, say so in it, and return why: what was found is told all the same."""
    try:
        repository = open_from(loaded)
        with recording(Book(repository, loaded.audit, found.cluster), "checks run", asked=_recorded(found)) as event:
            put_run(repository, found.cluster, found.to_json())
            event.judge(found.require_passed)
    except PgvaultError as error:
        found.notes.append(f"these results are not stored: {error}")
        return error
    return repository


def _recorded(found: LiveRun) -> dict[str, Any]:
    """Return what of a run is kept on record: its id, where its results are, and what each check said; no rows."""
    return {
        "id": found.id,
        "server": str(found.server),
        "checks": {result.name: str(result.verdict) for result in found.results},
    }


def _database_of(dsn: str) -> str | None:
    try:
        name = conninfo_to_dict(dsn).get("dbname")
    except psycopg.Error:
        return None  # of a dsn that is needed for nothing else
    return None if name is None else str(name)


def _write_checks(name: str, checks: Sequence[AnyCheck]) -> None:
    rows = [
        (
            check.name,
            check.type,
            check.severity,
            f"{check.threshold:g}",
            check.database or "",
            check.schedule or "",
            check.action or "",
        )
        for check in checks
    ]
    columns = ("check", "type", "severity", "threshold", "database", "schedule", "action")
    render.write_table(f"checks of cluster {name}: {len(rows)}", columns, rows)


def _write_runs(name: str, runs: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            str(run["id"]),
            "passed" if run["passed"] else "NOT PASSED",
            str(len(run["results"])),
            ", ".join([*run["failed"], *(f"{each} (not proven)" for each in run["unproven"])]),
        )
        for run in runs
    ]
    render.write_table(f"runs of checks of cluster {name}, newest first", ("run", "", "checks", "which"), rows)

"""`pgvault extract`: tables as they were at a moment, into new names or a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.auditing import book_of, recording
from pgvault.cli.completing import complete_label
from pgvault.cli.drill import database_of
from pgvault.cli.isolation import isolation_of
from pgvault.cli.logicalrestore import is_passed_on
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.options import (
    ClusterOption,
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    OnlyCopyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_read
from pgvault.cli.signals import leaving_in_order
from pgvault.drill.bringing import Bringing, Planned
from pgvault.drill.isolation import Isolation
from pgvault.drill.scratch import find_place
from pgvault.errors import PgvaultError, UsageError
from pgvault.extract.run import Extracted, ExtractOrder, File, Into, extract, plan_extract
from pgvault.instants import SystemClock
from pgvault.logical.target import Target, holds_password
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import TargetOptions, TargetWords, parse_target, parse_timeline_option
from pgvault.repository.telling import reading_document, reading_lines


def extract_tables(
    ctx: typer.Context,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="As SQL writes it: public.orders; several, by comma or again.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="2025-10-25T10:00, '10 minutes ago', or latest.")] = None,
    to_lsn: Annotated[str | None, typer.Option("--to-lsn", help="A position in the WAL, as 16/B374D848.")] = None,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Stop just before the target.")] = False,
    timeline: Annotated[str | None, typer.Option("--timeline", help="Where the story forks: which way.")] = None,
    backup: Annotated[
        str | None, typer.Option("--backup", help="From this backup, not the best one.", autocompletion=complete_label)
    ] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="The zone of a time without one.")] = None,
    database: Annotated[
        str | None, typer.Option("--database", help="Where the tables were; else the one of the cluster's dsn.")
    ] = None,
    into: Annotated[str | None, typer.Option("--into", metavar="DSN", help="The server that gets new tables.")] = None,
    new_name: Annotated[
        list[str] | None, typer.Option("--as", metavar="NAME", help="The new name, once a table; else …_restored.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Or a file for pg_restore.")] = None,
    scratch: Annotated[Path | None, typer.Option("--scratch", help="Where to make the scratch directory.")] = None,
    isolation: Annotated[Isolation | None, typer.Option("--isolation", help="How the scratch is kept apart.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it costs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    only_copy: OnlyCopyOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring tables back as they were at a moment, beside those that are there.

    Example: pgvault extract --table orders --to 2025-10-25T14:05 --into dbname=shop
    """
    if (into is None) == (file is None):
        raise UsageError("say --into or --file, one of them", hint="--into 'host=… dbname=…', --file orders.dump")
    if file is not None and new_name:
        raise UsageError("--as goes with --into", hint="In a file tables keep their names.")
    if into is not None and holds_password(into):
        raise UsageError("--into holds a password, which every user of this machine could read", hint="Use ~/.pgpass.")
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster, only_copy=only_copy)
    target = parse_target(TargetWords(to=to, lsn=to_lsn), zone=timezone or opened.time_zone, now=SystemClock().now())
    chosen = None if timeline is None else parse_timeline_option(timeline)
    environment = {name: value for name, value in os.environ.items() if is_passed_on(name)}
    order = ExtractOrder(
        cluster=opened.name,
        request=RestoreRequest(target, TargetOptions(timeline=chosen, is_inclusive=not exclusive), backup),
        tables=tuple(split_names(table or [])),
        database=database or database_of(opened.config.dsn) or "postgres",
        destination=File((file or Path()).absolute())
        if into is None
        else Into(Target(into, environment=environment), tuple(new_name or ())),
        bringing=Bringing(
            find_place(scratch or opened.config.drill.scratch),
            opened.config.drill.timeout,
            opened.config.jobs,
            isolation_of(opened.config.drill, isolation),
        ),
    )
    if dry_run:
        planned, notes = plan_extract(opened.repository, order)
        _write(opened, _price(planned, notes), _price_lines(planned, notes), as_json=as_json)
        return

    def confirm(planned: Planned, notes: tuple[str, ...]) -> None:
        for line in () if as_json else _price_lines(planned, notes):
            typer.echo(line, err=True)
        if not (yes or as_json) and planned.plan.other_readings and sys.stdin.isatty():
            typer.confirm(f"Restore to {planned.plan.target}?", err=True, abort=True)

    with (
        recording(book_of(opened), "extract", asked={"tables": list(order.tables), "target": str(target)}) as event,
        leaving_in_order(PgvaultError.exit_code),
        render.showing_progress() as progress,
    ):

        def ask(planned: Planned, notes: tuple[str, ...]) -> None:
            with progress.aside():
                confirm(planned, notes)

        done = extract(opened.repository, order, confirm=ask, progress=progress)
        event.details |= _recorded(done, order)
    _write(opened, _document(done, order), _lines(done, order), as_json=as_json)


def split_names(given: list[str]) -> list[str]:
    """Split names at commas, but not inside of quotes: `a,"b,c"` is two."""
    names: list[str] = []
    for text in given:
        is_quoted, begun = False, 0
        for at, letter in enumerate(text):
            is_quoted ^= letter == '"'
            if letter == "," and not is_quoted:
                names.append(text[begun:at])
                begun = at + 1
        names.append(text[begun:])
    return [name.strip() for name in names]


def _price(planned: Planned, notes: tuple[str, ...]) -> dict[str, Any]:
    plan = planned.plan
    return {
        "backup": plan.backup_label,
        "target": str(plan.target),
        "lsn": str(plan.end_lsn),
        "timeline": plan.timeline,
        "fetch_bytes": plan.fetch_bytes,
        "disk_bytes": plan.disk_bytes,
        "notes": list(notes),
    }


def _price_lines(planned: Planned, notes: tuple[str, ...]) -> list[str]:
    plan = planned.plan
    return [
        f"target      {plan.target}, timeline {plan.timeline}",
        f"backup      {plan.backup_label}",
        "price       the whole cluster is restored into a scratch server, which is removed afterwards",
        f"to fetch    {render.size(plan.fetch_bytes)}; on disk {render.size(plan.disk_bytes)}",
        *(f"note        {note}" for note in notes),
    ]


def _document(done: Extracted, order: ExtractOrder) -> dict[str, Any]:
    return {
        "backup": done.plan.backup_label,
        "target": str(done.plan.target),
        "lsn": str(done.plan.end_lsn),
        "tables": [
            {"from": table, "name": str(each.name), "rows": each.rows, "fingerprint": each.fingerprint}
            for table, each in zip(order.tables, done.tables, strict=False)
        ],
        "file": str(order.destination.path) if isinstance(order.destination, File) else None,
        "file_bytes": done.file_bytes,
        "isolation": done.isolation,
        "seconds": round(done.seconds, 3),
        "notes": list(done.notes),
    }


def _recorded(done: Extracted, order: ExtractOrder) -> dict[str, Any]:
    """Return what of it is kept on record."""
    document = _document(done, order)
    return {name: document[name] for name in ("backup", "lsn", "tables", "file", "isolation")}


def _lines(done: Extracted, order: ExtractOrder) -> list[str]:
    lines = [
        f"made {each.name} with {each.rows} rows"
        + (", compared with what they come from" if each.why is None else f", counted alone: {each.why}")
        for each in done.tables
    ]
    if isinstance(order.destination, File):
        path = order.destination.path
        lines += [f"wrote {path}, {render.size(done.file_bytes or 0)}", f"restore it: pg_restore --dbname=… {path}"]
    return [*lines, *(f"note: {note}" for note in done.notes), f"took {render.duration(done.seconds)}"]


def _write(opened: OpenedCluster, document: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        render.write_json(document | reading_document(opened.repository))
    else:
        render.write_lines([*lines, *(f"note: {each}" for each in reading_lines(opened.repository))])

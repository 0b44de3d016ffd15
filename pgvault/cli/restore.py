"""`pgvault restore` and `pgvault adopt`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.auditing import Need, book_of, recording
from pgvault.cli.completing import complete_label
from pgvault.cli.expecting import expect
from pgvault.cli.invoking import quick_program
from pgvault.cli.logicaloptions import (
    JOBS,
    ClassOption,
    CleanOption,
    CreateOption,
    DatabaseOption,
    FileOption,
    IntoOption,
    LogicalOption,
    LogicalWords,
    NoCompareOption,
    NoGlobalsOption,
    NoOwnerOption,
    SchemaOption,
    TableOption,
    refuse_foreign,
)
from pgvault.cli.opening import OpenedCluster, open_cluster
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
from pgvault.errors import PgvaultError, Refused
from pgvault.instants import SystemClock, iso
from pgvault.recovery.plan import RestorePlan, RestoreRequest
from pgvault.recovery.target import Action, TargetOptions, TargetWords, TimeTarget, parse_target, parse_timeline_option
from pgvault.repository.telling import reading_document, reading_lines
from pgvault.restore.adopt import Adopted
from pgvault.restore.adopt import adopt as adopt_directory
from pgvault.restore.apply import Fetching
from pgvault.restore.files import Effort
from pgvault.restore.run import Ending, Prepared, Restored, RestoreOrder, prepare
from pgvault.restore.run import restore as restore_cluster
from pgvault.restore.tablespaces import parse_mapping

INCLUSIVE = "recovery_target_inclusive"
SUBSCRIPTIONS_NOTE = (
    "note: its enabled subscriptions, if any, log in to their publishers once it is promoted; "
    'to prevent that, start it with -o "-c max_logical_replication_workers=0"'
)
DirectoryArgument = Annotated[
    Path | None, typer.Argument(help="Where to; absent or empty. Without it: a fresh one named after the moment.")
]


def restore(
    ctx: typer.Context,
    directory: DirectoryArgument = None,
    to: Annotated[
        str | None, typer.Option("--to", help="2025-10-25T10:00, '10 minutes ago', latest or last-good.")
    ] = None,
    to_lsn: Annotated[str | None, typer.Option("--to-lsn", help="A position in the WAL, as 16/B374D848.")] = None,
    to_xid: Annotated[str | None, typer.Option("--to-xid", help="A transaction id.")] = None,
    to_name: Annotated[str | None, typer.Option("--to-name", help="A restore point.")] = None,
    immediate: Annotated[bool, typer.Option("--immediate", help="The end of the backup itself.")] = False,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Stop just before the target.")] = False,
    timeline: Annotated[str | None, typer.Option("--timeline", help="Where the story forks: which way.")] = None,
    action: Annotated[Action, typer.Option("--action", help="What the server does at the target.")] = Action.PROMOTE,
    backup: Annotated[
        str | None, typer.Option("--backup", help="From this backup, not the best one.", autocompletion=complete_label)
    ] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="The zone of a time without one.")] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the stopped cluster; its directory is moved aside.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Replay and promote right here.")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="--finish, and the cluster goes on from there.")] = False,
    tablespace_mapping: Annotated[
        list[str] | None, typer.Option("--tablespace-mapping", help="OLD=NEW, for each tablespace.")
    ] = None,
    config_dir: Annotated[
        Path | None, typer.Option("--config-dir", help="For configuration from outside the data directory.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, max=64, help="Files at a time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    only_copy: OnlyCopyOption = None,
    logical: LogicalOption = None,
    into: IntoOption = None,
    file: FileOption = None,
    database: DatabaseOption = None,
    schema: SchemaOption = None,
    table: TableOption = None,
    class_name: ClassOption = None,
    create: CreateOption = False,
    clean: CleanOption = False,
    no_globals: NoGlobalsOption = False,
    no_owner: NoOwnerOption = False,
    no_compare: NoCompareOption = False,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a cluster to a moment; with --logical, databases or tables of a logical backup.

    Example: pgvault restore --to 2025-10-25T10:00 /srv/restored
    """
    refuse_foreign(ctx, is_logical=logical is not None)
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster, only_copy=only_copy)
    if logical is not None:
        from pgvault.cli.logicalrestore import restore_logical

        wanted = LogicalWords(
            label=logical,
            into=into,
            directory=file,
            databases=tuple(database or ()),
            schemas=tuple(schema or ()),
            tables=tuple(table or ()),
            class_name=class_name,
            is_created=create,
            is_cleaned=clean,
            has_globals=not no_globals,
            has_owners=not no_owner,
            is_compared=not no_compare,
            jobs=jobs or JOBS,
            is_dry=dry_run,
        )
        restore_logical(opened, wanted, as_json=as_json)
        return
    words = TargetWords(to, to_lsn, to_xid, to_name, immediate)
    target = parse_target(words, zone=timezone or opened.time_zone, now=SystemClock().now())
    chosen = None if timeline is None else parse_timeline_option(timeline)
    order = RestoreOrder(
        cluster=opened.name,
        request=RestoreRequest(target, TargetOptions(not exclusive, chosen, action), backup),
        fetching=Fetching(program(), source.to_json()),
        directory=directory,
        fresh_in=Path.cwd(),
        live_data=opened.config.data_directory,
        tablespaces=parse_mapping(tablespace_mapping or []),
        config_dir=config_dir,
        ending=Ending.ADOPTED if adopt else Ending.FINISHED if finish else Ending.READY,
        is_in_place=in_place,
    )
    if adopt:
        _ = opened.repository.deciding  # raises: what can not be recorded in the end is not begun
    if dry_run:
        _render_plan(opened, prepare(opened.repository, order, clock=SystemClock()), as_json=as_json)
        return
    asked = {"target": str(target), "adopt": adopt, "in_place": in_place}
    with recording(book_of(opened), "restore", need=Need.BEFORE if adopt else Need.AFTER, asked=asked) as event:
        restored = _carry_out(opened, order, jobs=jobs, confirm=_asking(yes=yes, as_json=as_json))
        event.details |= _recorded(restored)
    _render(opened, restored, as_json=as_json)


def adopt(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="The data directory, recovered and promoted.")],
    new_system: Annotated[
        bool, typer.Option("--new-system", help="It has a new system identifier: pg_upgrade or initdb.")
    ] = False,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a restored cluster go on as the cluster: it archives again, and its history counts.

    Example: pgvault adopt /srv/restored
    """
    opened = open_cluster(source_of(ctx, config), cluster)
    asked = {"directory": str(directory.absolute()), "new_system": new_system}
    with recording(book_of(opened), "adopt", need=Need.BEFORE, asked=asked) as event:
        adopted = adopt_directory(
            opened.repository, opened.name, directory.absolute(), clock=SystemClock(), accepts_new_system=new_system
        )
        event.details |= adopted_document(adopted)
    if as_json:
        render.write_json({"directory": str(directory.absolute()), **adopted_document(adopted)})
    else:
        render.write_lines(_adopted_lines(opened.name, adopted))


def program() -> tuple[str, ...]:
    """How restore_command calls us."""
    return quick_program("fetchprogram.py")


def plan_document(prepared: Prepared) -> dict[str, Any]:
    """The plan, as --dry-run prints it."""
    plan, site = prepared.plan, prepared.site
    return {
        "directory": str(site.final),
        "backup": plan.backup_label,
        "target": target_document(plan),
        "lsn": str(plan.end_lsn),
        "timeline": plan.timeline,
        "system_identifier": str(plan.system_identifier),
        "postgres_major": prepared.manifest.postgres_major,
        "cluster": prepared.manifest.cluster,
        "last_commit_at": None if plan.last_commit is None else iso(plan.last_commit.at),
        "next_commit_at": None if plan.next_commit is None else iso(plan.next_commit.at),
        "landing": prepared.landing,
        "furthest_lsn": None if plan.furthest_lsn is None else str(plan.furthest_lsn),
        "wal": [[each.first.name, each.last.name] for each in plan.segments],
        "fetch_bytes": plan.fetch_bytes,
        "disk_bytes": plan.disk_bytes,
        "tablespaces": {str(oid): str(path) for oid, path in site.tablespaces.items()},
        "other_readings": [{"time_zone": reading.zone_name, "at": iso(reading.at)} for reading in plan.other_readings],
        "notes": list(prepared.notes),
    }


def target_document(plan: RestorePlan) -> dict[str, Any]:
    """The target as it was understood."""
    document: dict[str, Any] = {"description": str(plan.target), "inclusive": plan.settings.get(INCLUSIVE) != "off"}
    if isinstance(plan.target, TimeTarget):
        document |= {"at": iso(plan.target.at), "text": plan.target.text, "time_zone": plan.target.zone_name}
    return document


def adopted_document(adopted: Adopted) -> dict[str, Any]:
    """What was adopted."""
    return {
        "system_identifier": str(adopted.system_identifier),
        "timeline": adopted.timeline,
        "new_system": adopted.is_new_system,
        "needs_restart": adopted.needs_restart,
        "needs_backup": True,
        "notes": list(adopted.notes),
    }


def _carry_out(
    opened: OpenedCluster, order: RestoreOrder, *, jobs: int | None, confirm: Callable[[Prepared], None]
) -> Restored:
    with leaving_in_order(PgvaultError.exit_code), render.showing_progress() as progress:

        def ask(prepared: Prepared) -> None:
            with progress.aside():
                confirm(prepared)

        effort = Effort(jobs or opened.config.jobs, progress)
        return restore_cluster(opened.repository, order, effort=effort, clock=SystemClock(), confirm=ask)


def _asking(*, yes: bool, as_json: bool) -> Callable[[Prepared], None]:
    """Return what shows the plan before anything happens, and asks once where a time can be read in two ways."""

    def confirm(prepared: Prepared) -> None:
        if not as_json:
            for line in _plan_lines(prepared):
                typer.echo(line, err=True)
        elif prepared.plan.other_readings:
            for note in prepared.plan.notes:
                typer.echo(note, err=True)
        if not prepared.plan.other_readings or yes or not sys.stdin.isatty():
            return
        if not typer.confirm(f"Restore to {prepared.plan.target}?", err=True):
            raise Refused("not restored: the time was meant otherwise", hint="Write it with an offset, or --timezone.")

    return confirm


def _render_plan(opened: OpenedCluster, prepared: Prepared, *, as_json: bool) -> None:
    expected = expect(opened, prepared)
    if as_json:
        render.write_json(plan_document(prepared) | expected.to_json() | reading_document(opened.repository))
    else:
        notes = [f"note        {line}" for line in reading_lines(opened.repository)]
        render.write_lines([*_plan_lines(prepared), f"takes       {expected}", *notes])


def _render(opened: OpenedCluster, restored: Restored, *, as_json: bool) -> None:
    if as_json:
        render.write_json(_restored_document(restored) | reading_document(opened.repository))
    else:
        render.write_lines([*_restored_lines(restored), *reading_lines(opened.repository)])


def _restored_document(restored: Restored) -> dict[str, Any]:
    document = plan_document(restored.prepared)
    document |= {"lsn": str(restored.lsn), "notes": list(restored.notes)}
    document["config"] = {old: str(new) for old, new in restored.applied.external.items()}
    document["start"] = _start_line(restored)
    document["moved_aside"] = None if restored.aside is None else str(restored.aside)
    document["finished"] = None
    if restored.finished is not None:
        document["finished"] = {"timeline": restored.finished.timeline, "reason": restored.finished.reason}
    document["adopted"] = None if restored.adopted is None else adopted_document(restored.adopted)
    return document


def _recorded(restored: Restored) -> dict[str, Any]:
    """Return what of a restore is kept on record: from which backup, to which moment, where it lies."""
    plan = restored.prepared.plan
    return {
        "directory": str(restored.directory),
        "backup": plan.backup_label,
        "target": target_document(plan),
        "lsn": str(restored.lsn),
        "timeline": plan.timeline,
        "system_identifier": str(plan.system_identifier),
        "moved_aside": None if restored.aside is None else str(restored.aside),
        "adopted": restored.adopted is not None,
    }


def _plan_lines(prepared: Prepared) -> list[str]:
    plan = prepared.plan
    last = "unknown" if plan.last_commit is None else render.instant(plan.last_commit.at)
    lines = [
        f"target      {plan.target}, timeline {plan.timeline}",
        f"backup      {plan.backup_label}",
        f"WAL         {', '.join(map(str, plan.segments))}",
        f"stops at    {plan.end_lsn}; last commit before it: {last}",
        f"lands       {prepared.landing}",
        f"reachable   up to {plan.furthest_lsn or 'what can not be read'}",
        f"to fetch    {render.size(plan.fetch_bytes)}; on disk {render.size(plan.disk_bytes)}",
        f"directory   {prepared.site.final}",
    ]
    lines += [f"tablespace  {oid} to {path}" for oid, path in prepared.site.tablespaces.items()]
    return [*lines, *(f"note        {note}" for note in prepared.notes)]


def _restored_lines(restored: Restored) -> list[str]:
    lines = [f"restored {restored.directory} from backup {restored.prepared.plan.backup_label}"]
    if restored.finished is not None:
        lines.append(f"recovered to {restored.finished.lsn}, now on timeline {restored.finished.timeline}")
    if restored.aside is not None:
        lines.append(f"the old directory is {restored.aside}: its pg_wal may hold WAL that was never archived")
    lines += [f"configuration {old} is at {new}" for old, new in restored.applied.external.items()]
    lines += [f"note: {note}" for note in restored.applied.notes]
    lines.append(f"start it: {_start_line(restored)}")
    if restored.adopted is not None:
        return [*lines, *_adopted_lines(restored.prepared.manifest.cluster, restored.adopted)]
    lines.append(SUBSCRIPTIONS_NOTE)
    return [*lines, f"It does not archive. If it goes on as the cluster: pgvault adopt {restored.directory}"]


def _adopted_lines(cluster: str, adopted: Adopted) -> list[str]:
    lines = [f"adopted system {adopted.system_identifier}, timeline {adopted.timeline}, as cluster {cluster}"]
    if adopted.needs_restart:
        lines.append("Restart the server: archive_mode takes effect at a start only.")
    lines += [f"note: {note}" for note in adopted.notes]
    return [*lines, f"It has no backup of its own yet: pgvault backup --cluster {cluster}"]


def _start_line(restored: Restored) -> str:
    return f"pg_ctl -D {restored.directory} start"

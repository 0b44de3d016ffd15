"""`pgvault restore --logical`: into a server, or into a directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pgvault.cli import render
from pgvault.cli.auditing import Need, book_of, recording
from pgvault.cli.logicaloptions import LogicalWords
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.signals import leaving_in_order
from pgvault.config import ClusterConfig
from pgvault.errors import ObjectMissing, PgvaultError, UsageError
from pgvault.logical.content import Written
from pgvault.logical.extract import FilesOrder, plan_files, write_archive
from pgvault.logical.restore import LogicalRestored, restore_into
from pgvault.logical.restoreplan import LogicalOrder, LogicalPlan, plan_logical
from pgvault.logical.select import RankedClass, TablePattern
from pgvault.logical.target import holds_password
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.telling import reading_document, reading_lines
from pgvault.restore.files import Effort

LATEST = "latest"
# What libpq may need of our environment, beside PG*; the repository's key is not for programs.
PASSED_ON = ("HOME", "KRB5CCNAME", "KRB5_CONFIG", "LD_LIBRARY_PATH", "PATH", "USER")


def restore_logical(opened: OpenedCluster, words: LogicalWords, *, as_json: bool) -> None:
    """Restore a logical backup as the options say."""
    if (words.into is None) == (words.directory is None):
        raise UsageError("--logical needs --into or --file, one of them", hint="--into 'host=… dbname=…', --file DIR")
    if words.into is not None and holds_password(words.into):
        raise UsageError("--into holds a password, which every user of this machine could read", hint="Use ~/.pgpass.")
    manifest = choose_backup(read_catalog(opened.repository, opened.name), words)
    if words.directory is not None:
        _into_directory(opened, manifest, words, as_json=as_json)
    else:
        _into_server(opened, manifest, words, as_json=as_json)


def choose_backup(catalog: Catalog, words: LogicalWords) -> LogicalManifest:
    """Return the named backup, or the newest that holds what is asked for."""
    if words.label != LATEST:
        return catalog.find_logical(words.label)
    wanted = (None, words.class_name)
    found = [b for b in catalog.logical if b.type is LogicalType.LOGICAL and b.class_name in wanted]
    if not found:
        raise ObjectMissing(
            f"cluster {catalog.cluster!r} has no logical backup", hint="Take one: pgvault backup --type logical"
        )
    return found[-1]


def ranked_classes(config: ClusterConfig) -> dict[str, RankedClass]:
    """The configured data classes."""
    return {
        name: RankedClass(
            name,
            each.priority,
            tuple(map(TablePattern.parse, each.tables)),
            None if each.databases is None else tuple(each.databases),
        )
        for name, each in config.classes.items()
    }


def _class(opened: OpenedCluster, name: str | None) -> RankedClass | None:
    classes = ranked_classes(opened.config)
    if name is not None and name not in classes:
        raise UsageError(f"class {name!r} is not configured", hint=f"Known: {', '.join(classes) or 'none'}")
    return None if name is None else classes[name]


def _into_server(opened: OpenedCluster, manifest: LogicalManifest, words: LogicalWords, *, as_json: bool) -> None:
    order = LogicalOrder(
        dsn=words.into or "",
        environment={name: value for name, value in os.environ.items() if is_passed_on(name)},
        databases=words.databases,
        schemas=words.schemas,
        tables=words.tables,
        of_class=_class(opened, words.class_name),
        classes=tuple(ranked_classes(opened.config).values()),
        jobs=words.jobs,
        is_created=words.is_created,
        is_cleaned=words.is_cleaned,
        has_globals=words.has_globals,
        has_owners=words.has_owners,
        is_compared=words.is_compared,
        spool=opened.config.logical.spool,
        spool_limit=opened.config.logical.spool_limit,
    )
    if words.is_dry:
        plan = plan_logical(opened.repository, manifest, order)
        _write(opened, plan_document(plan), _plan_lines(plan), as_json=as_json)
        return
    asked = {"backup": manifest.label, "logical": True, "clean": words.is_cleaned}
    need = Need.BEFORE if words.is_cleaned else Need.AFTER
    with (
        recording(book_of(opened), "restore", need=need, asked=asked) as event,
        leaving_in_order(PgvaultError.exit_code),
        render.showing_progress() as progress,
    ):
        restored = restore_into(opened.repository, manifest, order, progress=progress)
        event.details["databases"] = {each.name: each.target for each in restored.databases}
    _write(opened, restored_document(restored), _restored_lines(restored), as_json=as_json)


def _into_directory(opened: OpenedCluster, manifest: LogicalManifest, words: LogicalWords, *, as_json: bool) -> None:
    directory = (words.directory or Path()).absolute()
    order = FilesOrder(
        directory, words.databases, words.schemas, words.tables, _class(opened, words.class_name), words.has_globals
    )
    plan = plan_files(opened.repository, manifest, order)
    if words.is_dry:
        done = Written(len(plan.files.records), sum(record.size for record in plan.files.records))
    else:
        asked = {"backup": manifest.label, "logical": True, "directory": str(directory)}
        with (
            recording(book_of(opened), "restore", asked=asked),
            leaving_in_order(PgvaultError.exit_code),
            render.showing_progress() as progress,
        ):
            done = write_archive(opened.repository, manifest, plan, effort=Effort(words.jobs, progress))
    document = {
        "directory": str(directory),
        "backup": manifest.label,
        "files": done.file_count,
        "bytes": done.bytes,
        "notes": list(plan.notes),
        "dry_run": words.is_dry,
    }
    verb = "would write" if words.is_dry else "wrote"
    lines = [f"{verb} {done.file_count} files, {render.size(done.bytes)}, of backup {manifest.label} to {directory}"]
    lines += [f"note: {note}" for note in plan.notes]
    lines += [f"restore it: {command}" for command in plan.commands]
    _write(opened, document, lines, as_json=as_json)


def plan_document(plan: LogicalPlan) -> dict[str, Any]:
    """The plan, as --dry-run prints it."""
    return {
        "backup": plan.manifest.label,
        "server_version": plan.facts.version_num,
        "pg_restore": plan.programs.minor_text,
        "makes_roles": bool(plan.globals_text),
        "options": list(plan.options),
        "databases": [
            {
                "name": each.database.name,
                "into": each.target,
                "is_new": each.is_new,
                "objects": len(each.entries),
                "tables": each.table_count,
                "bytes": each.archive.bytes,
                "spool_bytes": each.archive.spool_bytes,
                "runs": len(each.runs),
                "drops": len(each.drops),
                "notes": list(each.notes),
            }
            for each in plan.databases
        ],
        "notes": list(plan.notes),
    }


def restored_document(restored: LogicalRestored) -> dict[str, Any]:
    """What was restored."""
    return {
        "backup": restored.label,
        "databases": [
            {
                "name": each.name,
                "into": each.target,
                "objects": each.object_count,
                "tables": each.table_count,
                "compared": each.compared_count,
                "rows": each.row_count,
                "bytes": each.bytes,
                "seconds": round(each.seconds, 3),
            }
            for each in restored.databases
        ],
        "roles": list(restored.roles),
        "seconds": round(restored.seconds, 3),
        "notes": list(restored.notes),
    }


def _plan_lines(plan: LogicalPlan) -> list[str]:
    lines = [f"backup    {plan.manifest.label}", f"with      pg_restore {plan.programs.minor_text}"]
    for each in plan.databases:
        how = ", to be made" if each.is_new else f", {len(each.drops)} drops before" if each.drops else ""
        lines.append(
            f"database  {render.printable(each.database.name)} into {render.printable(each.target)}{how}:"
            f" {len(each.entries)} objects, rows of {each.table_count} tables, {render.size(each.archive.bytes)}"
        )
        lines += [f"note      {render.printable(note)}" for note in each.notes]
    return [*lines, *(f"note      {render.printable(note)}" for note in plan.notes)]


def _restored_lines(restored: LogicalRestored) -> list[str]:
    lines = []
    for each in restored.databases:
        compared = f"; {each.compared_count} tables compared, {each.row_count} rows" if each.compared_count else ""
        lines.append(
            f"restored {render.printable(each.name)} into database {render.printable(each.target)}:"
            f" {each.object_count} objects, {render.size(each.bytes)} in {render.duration(each.seconds)}{compared}"
        )
    if restored.roles:
        lines.append(f"made roles: {', '.join(map(render.printable, restored.roles))}")
    return [*lines, *(f"note: {render.printable(note)}" for note in restored.notes)]


def _write(opened: OpenedCluster, document: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        render.write_json(document | reading_document(opened.repository))
    else:
        render.write_lines([*lines, *reading_lines(opened.repository)])


def is_passed_on(name: str) -> bool:
    """Whether programs that connect to the target see that variable of ours."""
    return name in PASSED_ON or (name.startswith("PG") and not name.startswith("PGVAULT"))

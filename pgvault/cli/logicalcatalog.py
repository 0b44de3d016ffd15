"""How `list` and `show` tell of logical and schema backups, and of the files that any backup holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgvault.cli import render
from pgvault.cli.documents import logical_document, readable
from pgvault.cli.drills import mark_document, mark_lines
from pgvault.logical.content import read_whole, records_of
from pgvault.repository.drilled import Drilled
from pgvault.repository.filelist import FileRecord
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableRecord, decode_tables

NAMES_SHOWN = 3


def write_logical(cluster: str, backups: Sequence[LogicalManifest], proven: Mapping[str, str]) -> None:
    """Write a table of them; `proven`: by label, when each was drilled."""
    columns = (
        "label",
        "type",
        "stopped at",
        "took",
        "size",
        "stored",
        "databases",
        "tables",
        "rows",
        "class",
        "drilled",
    )
    rows = [
        (
            backup.label,
            str(backup.type),
            render.instant(backup.stopped_at),
            render.duration(backup.stopped_at - backup.started_at),
            render.size(backup.total_bytes),
            render.size(backup.stored_bytes),
            _names([database.name for database in backup.databases]),
            str(sum(database.table_count for database in backup.databases)),
            str(sum(database.row_count for database in backup.databases)),
            backup.class_name or "-",
            proven[backup.label],
        )
        for backup in backups
    ]
    render.write_table(f"logical backups of {cluster}", columns, rows)


def show_logical(
    repository: Repository, manifest: LogicalManifest, drilled: Sequence[Drilled], *, as_json: bool
) -> None:
    """Write all about one: databases, tables with their rows and fingerprints, files."""
    records = records_of(repository, manifest)
    tables = read_tables(repository, manifest, records)
    document = logical_document(manifest) | {
        "server_version_num": manifest.version_num,
        "file_count": manifest.file_count,
        "written_by": manifest.written_by,
    }
    if as_json:
        for database in document["databases"]:
            database["contents"] = [_table_document(record) for record in tables[database["oid"]]]
        document["drilled"] = [mark_document(mark) for mark in drilled]
        render.write_json(document | {"files": [file_document(record) for record in records.values()]})
        return
    del document["databases"]
    render.write_lines([f"{name.replace('_', ' ')}: {value}" for name, value in document.items()])
    render.write_lines(list(mark_lines(drilled)))
    for each in manifest.databases:
        rows = [
            (render.printable(r.name), _text(r.rows), render.printable(r.fingerprint or r.why or "-"))
            for r in tables[each.oid]
        ]
        render.write_table(f"database {render.printable(each.name)}", ("table", "rows", "fingerprint"), rows)
    write_files(records.values())


def read_tables(
    repository: Repository, manifest: LogicalManifest, records: Mapping[bytes, FileRecord]
) -> dict[int, list[TableRecord]]:
    """Return what each database's tables held, by its oid; nothing where the backup does not say."""
    tables = {}
    for database in manifest.databases:
        record = records.get(database.tables_path)
        content = b"" if record is None else read_whole(repository, manifest, record)
        tables[database.oid] = list(decode_tables(content, where=database.tables_path.decode()))
    return tables


def write_files(records: Iterable[FileRecord]) -> None:
    """Write a table of the files of a backup, of whatever type."""
    rows = [
        (render.printable(file_name(record)), record.kind.value, render.size(record.size), f"{record.mode:04o}")
        for record in records
    ]
    render.write_table("files", ("path", "kind", "size", "mode"), rows)


def file_document(record: FileRecord) -> dict[str, Any]:
    """One file, for machines."""
    return {
        "path": file_name(record),
        "kind": record.kind.value,
        "size_bytes": record.size,
        "mode": f"{record.mode:04o}",
    }


def file_name(record: FileRecord) -> str:
    """A path for people and JSON: bytes that are not UTF-8 are escaped, so that nothing is lost on the way."""
    return os.fsdecode(record.path).encode("utf-8", "backslashreplace").decode()


def _table_document(record: TableRecord) -> dict[str, Any]:
    return {
        "schema": readable(record.schema),
        "table": readable(record.table),
        "kind": str(record.kind),
        "rows": record.rows,
        "fingerprint": record.fingerprint,
        "why": record.why,
    }


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(render.printable(name) for name in names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _text(rows: int | None) -> str:
    return "?" if rows is None else str(rows)

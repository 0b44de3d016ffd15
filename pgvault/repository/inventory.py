"""The inventory of a physical backup: what the server held, a JSON line for each thing (FORMAT.md, section 20).

    server ─► roles ─► database ─► its extensions, collations, relations ─► database ─► …

Lines are cut into objects of a few MiB as they come, and read the same way: neither side holds it whole, whatever the
number of databases and tables. Restoring needs none of it. Lines of kinds that are not known are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pgvault.errors import ObjectCorrupt
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.postgres.inventory import (
    CollationEntry,
    DatabaseEntry,
    ExtensionEntry,
    RelationEntry,
    RoleEntry,
    ServerEntry,
    UnreadEntry,
)
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.fields import read_count, read_instant, read_list, read_text
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored, put_plain, read_plain
from pgvault.repository.repository import Repository

OBJECT_BYTES = 8 << 20  # of lines; one object is held whole while it is made, or read

Entry = ServerEntry | RoleEntry | DatabaseEntry | UnreadEntry | ExtensionEntry | CollationEntry | RelationEntry


def put_inventory(repository: Repository, cluster: str, label: str, entries: Iterable[Entry]) -> tuple[Stored, ...]:
    """Store the entries as they come; what `entries` raises goes through."""
    stored: list[Stored] = []
    lines = bytearray()

    def put() -> None:
        path = layout.inventory(cluster, label, len(stored))
        stored.append(put_plain(repository, path, Kind.INVENTORY, plain=bytes(lines)))
        lines.clear()

    for entry in entries:
        lines += encode_entry(entry)
        if len(lines) >= OBJECT_BYTES:
            put()
    if lines:
        put()
    return tuple(stored)


def read_inventory(repository: Repository, manifest: Manifest) -> Iterator[Entry]:
    """Yield the entries of a backup, none where it has no inventory. Raises ObjectMissing, ObjectCorrupt."""
    for stored in manifest.inventory:
        plain = read_plain(repository, stored.path, Kind.INVENTORY, expected=stored)
        for line in plain.splitlines():
            if (entry := decode_entry(line, where=stored.path)) is not None:
                yield entry


def encode_entry(entry: Entry) -> bytes:
    """Return an entry's line."""
    document: dict[str, Any]
    match entry:
        case ServerEntry():
            document = _server(entry)
        case RoleEntry():
            document = {
                "is": "role",
                "name": entry.name,
                "attributes": list(entry.attributes),
                "connection_limit": entry.connection_limit,
                "member_of": list(entry.member_of),
                "settled": entry.is_settled,
            }
        case DatabaseEntry():
            document = {"is": "database", **{name: getattr(entry, name) for name in DatabaseEntry.__dataclass_fields__}}
        case UnreadEntry():
            document = {"is": "unread", "database": entry.database, "why": entry.why}
        case ExtensionEntry():
            document = {
                "is": "extension",
                "database": entry.database,
                "name": entry.name,
                "version": entry.version,
                "schema": entry.schema,
                "available": entry.available,
                "settled": entry.is_settled,
            }
        case CollationEntry():
            fields = CollationEntry.__dataclass_fields__
            document = {"is": "collation", **{name: getattr(entry, name) for name in fields}}
        case RelationEntry():
            document = _relation(entry)
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def decode_entry(line: bytes, *, where: str) -> Entry | None:
    """Read a line; None for one of a kind that is not known. Raises ObjectCorrupt."""
    try:
        document = json.loads(line)
        read = READERS.get(read_text(document["is"]))
        return None if read is None else read(document)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"inventory {where!r} holds a malformed line: {error}") from error


def _server(entry: ServerEntry) -> dict[str, Any]:
    return {
        "is": "server",
        "version": entry.version,
        "read_at": iso(entry.read_at),
        "lsn": str(entry.lsn),
        "next_xid": entry.next_xid,
        "settings": dict(entry.settings),
        "libc": entry.libc,
        "icu": entry.icu,
    }


def _relation(entry: RelationEntry) -> dict[str, Any]:
    return {
        "is": "relation",
        "database": entry.database,
        "oid": entry.oid,
        "filenode": entry.filenode,
        "kind": entry.kind,
        "schema": entry.schema,
        "name": entry.name,
        "rows": entry.rows,
        "live": entry.live,
        "pages": entry.pages,
        "logged": entry.is_logged,
        "settled": entry.is_settled,
    }


def _read_server(document: Mapping[str, Any]) -> ServerEntry:
    return ServerEntry(
        version=read_text(document["version"]),
        read_at=read_instant(document["read_at"]),
        lsn=Lsn.parse(read_text(document["lsn"])),
        next_xid=read_count(document["next_xid"]),
        settings={name: read_text(value) for name, value in document["settings"].items()},
        libc=_text_or_none(document["libc"]),
        icu=_text_or_none(document["icu"]),
    )


def _read_role(document: Mapping[str, Any]) -> RoleEntry:
    return RoleEntry(
        name=read_text(document["name"]),
        attributes=_texts(document["attributes"]),
        connection_limit=_integer(document["connection_limit"]),
        member_of=_texts(document["member_of"]),
        is_settled=_truth(document["settled"]),
    )


def _read_database(document: Mapping[str, Any]) -> DatabaseEntry:
    return DatabaseEntry(
        oid=read_count(document["oid"]),
        name=read_text(document["name"]),
        encoding=read_text(document["encoding"]),
        provider=read_text(document["provider"]),
        collate=read_text(document["collate"]),
        ctype=read_text(document["ctype"]),
        locale=_text_or_none(document["locale"]),
        recorded=_text_or_none(document["recorded"]),
        actual=_text_or_none(document["actual"]),
        connects=_truth(document["connects"]),
    )


def _read_unread(document: Mapping[str, Any]) -> UnreadEntry:
    return UnreadEntry(read_count(document["database"]), read_text(document["why"]))


def _read_extension(document: Mapping[str, Any]) -> ExtensionEntry:
    return ExtensionEntry(
        database=read_count(document["database"]),
        name=read_text(document["name"]),
        version=read_text(document["version"]),
        schema=read_text(document["schema"]),
        available=_text_or_none(document["available"]),
        is_settled=_truth(document["settled"]),
    )


def _read_collation(document: Mapping[str, Any]) -> CollationEntry:
    return CollationEntry(
        database=read_count(document["database"]),
        oid=read_count(document["oid"]),
        schema=read_text(document["schema"]),
        name=read_text(document["name"]),
        provider=read_text(document["provider"]),
        recorded=_text_or_none(document["recorded"]),
        actual=_text_or_none(document["actual"]),
    )


def _read_relation(document: Mapping[str, Any]) -> RelationEntry:
    rows = document["rows"]
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int | float)):
        raise ValueError(f"{rows!r} is not a number of rows")
    return RelationEntry(
        database=read_count(document["database"]),
        oid=read_count(document["oid"]),
        filenode=read_count(document["filenode"]),
        kind=read_text(document["kind"]),
        schema=read_text(document["schema"]),
        name=read_text(document["name"]),
        rows=None if rows is None else float(rows),
        live=read_count(document["live"]),
        pages=read_count(document["pages"]),
        is_logged=_truth(document["logged"]),
        is_settled=_truth(document["settled"]),
    )


READERS: Mapping[str, Callable[[Mapping[str, Any]], Entry]] = {
    "server": _read_server,
    "role": _read_role,
    "database": _read_database,
    "unread": _read_unread,
    "extension": _read_extension,
    "collation": _read_collation,
    "relation": _read_relation,
}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(read_text, read_list(value)))


def _text_or_none(value: object) -> str | None:
    return None if value is None else read_text(value)


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not an integer")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - one error for all that is malformed
    return value
